/** The machines that are none, for attest simulate: a processor of this run, and the one guest that it has started. */
import { createHash } from "node:crypto";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { CollectedReport } from "../../verify/attestation/collect-evidence.ts";
import { simulatedPolicyFor } from "../../verify/attestation/simulated-policy.ts";
import { simulatedTdxPolicyFor } from "../../verify/attestation/simulated-tdx-policy.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { TdxSimulator } from "../../verify/attestation/tdx-simulator.ts";
import { SIMULATED_NAME } from "../../verify/attestation/verify-snp.ts";
import { SIMULATED_INTEL_NAME } from "../../verify/attestation/verify-tdx.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const NO_TABLE = Buffer.alloc(0);

export interface SimulatedMachine {
  /** What its evidence must not be taken for. */
  readonly name: string;
  /** Collateral and policy by path; the policy last: who waits for it finds the others. */
  files(withNonce: boolean): readonly (readonly [string, Uint8Array])[];
  collect(reportData: Buffer): CollectedReport;
}

/** `impostor`: with AMD's own names. */
export function simulatedSnp(impostor: boolean): SimulatedMachine {
  const now = Date.now();
  const notBefore = new Date(now - DAY_MS);
  const by = new Simulator({ notBefore, impostor });
  const measurement = createHash("sha384").update("a guest that never was").digest();
  const list = { number: 1, thisUpdate: notBefore, nextUpdate: new Date(now + 46 * DAY_MS) };
  return {
    name: SIMULATED_NAME,
    files: (withNonce) => [
      ["collateral/ark.der", by.rootCertificate],
      ["collateral/ask.der", by.intermediateCertificate],
      ["collateral/vcek.der", by.leafCertificate()],
      ["collateral/ark.crl", by.revocationList(list)],
      ["policy.json", canonicalJson(simulatedPolicyFor(by, measurement, withNonce))],
    ],
    collect: (reportData) => ({
      provider: "simulator",
      report: by.report({ measurement, reportData }),
      certificateTable: NO_TABLE,
      leftover: null,
    }),
  };
}

/** `impostor`: with Intel's own names. */
export function simulatedTdx(impostor: boolean): SimulatedMachine {
  const by = new TdxSimulator({ notBefore: new Date(Date.now() - DAY_MS), impostor });
  return {
    name: SIMULATED_INTEL_NAME,
    files: (withNonce) => [
      ...by.collateral().map(({ name, bytes }) => [`collateral/${name}`, bytes] as const),
      ["policy.json", canonicalJson(simulatedTdxPolicyFor(by, withNonce))],
    ],
    collect: (reportData) => ({
      provider: "simulator",
      report: by.quote({ version: 5, reportData }),
      certificateTable: NO_TABLE,
      leftover: null,
    }),
  };
}
