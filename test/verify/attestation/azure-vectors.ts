/**
 * Genuine evidence of Azure's VMs: envelope, vTPM's quote and the chip's certificate. There is none among the shared
 * vectors yet; SEALIFT_AZURE_VECTORS names a directory with some: `vectors.json` (rows as below) and the files that it names.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import { readEvidence } from "../../../verify/attestation/evidence.ts";
import { parseSnpReport } from "../../../verify/attestation/snp-report.ts";
import { amdCollateral, LEAST_POLICY, SKIP } from "./evidence.ts";

export interface AzureVector {
  readonly id: string;
  /** As `sealift attest azure` writes it. */
  readonly evidence: string;
  readonly vek: string;
  readonly verifyAt: string;
  /** PCR → value, 64 hexadecimal digits. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** Check → code of what must fail; {} if it must be allowed. */
  readonly failures: Readonly<Record<string, string>>;
}

const DIRECTORY =
  process.env["SEALIFT_AZURE_VECTORS"] ?? new URL("../../../../shared/vectors/azure", import.meta.url).pathname;
const isHere = SKIP === false && existsSync(join(DIRECTORY, "vectors.json"));
export const AZURE_SKIP = isHere ? false : "there is no genuine evidence of Azure's vTPMs here";
const file = (name: string): Buffer => readFileSync(join(DIRECTORY, name));
export const azureVectors = (): readonly AzureVector[] =>
  (JSON.parse(file("vectors.json").toString()) as { vectors: AzureVector[] }).vectors;

/** The verdict of a policy that asks for the report's own launch digest and the row's PCRs. */
export function judgeAzureVector({ evidence: name, vek, verifyAt, pcrs }: AzureVector): AttestationVerdict {
  const evidence = file(name);
  const { measurement } = parseSnpReport(readEvidence(evidence).report);
  const values = Object.fromEntries(Object.entries(pcrs).map(([pcr, value]) => [pcr, [value]]));
  const policy = { ...LEAST_POLICY, measurements: [measurement.toString("hex")], vtpm: { pcrs: values } };
  return appraiseEvidence({
    evidence,
    collateral: [...amdCollateral(), { name: "vek", bytes: file(vek) }],
    policyBytes: canonicalJson(policy),
    nonce: null,
    time: { at: verifyAt, source: "option" },
  });
}
