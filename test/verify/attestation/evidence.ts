/** Evidence for these tests: the genuine vectors where they are, and one simulator for all that must be made. */
import { existsSync, readFileSync } from "node:fs";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { type AttestationCase, appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import type { AttestationCheck, AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import { SIMULATED_TCB, type SimulatedFields, Simulator } from "../../../verify/attestation/simulator.ts";
import type { SnpProduct, Tcb } from "../../../verify/attestation/snp-product.ts";

const DIRECTORY = new URL("../../../../shared/vectors/snp/", import.meta.url).pathname;

export const SKIP: string | false = existsSync(DIRECTORY) ? false : "the shared SNP vectors are not here";

/** A row of vectors.json, as far as it is used. */
export interface Vector {
  readonly id: string;
  readonly files: { readonly report: string; readonly vek: string };
  readonly verifyAt: string;
  readonly expectChainAndSignature: "valid" | "invalid";
  readonly reportVersion: number;
  readonly vmpl: number;
  readonly guestSvn: number;
  readonly policy: { readonly abi: string; readonly smt: boolean; readonly debug: boolean };
  readonly platformInfo: string;
  readonly measurement: string;
  readonly reportData: string;
  readonly chipId: string;
  readonly tcb: Readonly<Record<"reported" | "current" | "committed" | "launch", RowTcb>>;
  readonly firmware: { readonly current: string; readonly committed: string };
}

interface RowTcb {
  readonly fmc: number | null;
  readonly bl: number;
  readonly tee: number;
  readonly snp: number;
  readonly ucode: number;
}

export function vectors(): readonly Vector[] {
  return (JSON.parse(readFileSync(`${DIRECTORY}vectors.json`, "utf8")) as { snp: Vector[] }).snp;
}

export function vector(id: string): Vector {
  const found = vectors().find((row) => row.id === id);
  if (!found) throw new Error(`there is no vector ${id}`);
  return found;
}

export const vectorFile = (path: string): Buffer => readFileSync(`${DIRECTORY}${path}`);

/** AMD's own certificates of all products, and those revocation lists. */
export function amdCollateral(lists: readonly string[] = []): AttestationCase["collateral"] {
  const names = ["milan", "genoa", "turin"].flatMap((product) => [
    `${product}_ark`,
    `${product}_ask`,
    `${product}_asvk`,
  ]);
  return [...names.map((name) => `roots/${name}.der`), ...lists.map((name) => `crl/${name}.crl`)].map((name) => ({
    name,
    bytes: vectorFile(name),
  }));
}

export const tcbOf = ({ fmc, bl, tee, snp, ucode }: RowTcb): Tcb => ({
  fmc: fmc ?? 0,
  bootloader: bl,
  tee,
  snp,
  microcode: ucode,
});

/** Looks at nothing but what cannot be left out. */
export const LEAST_POLICY: AttestationPolicy = {
  schemaVersion: 1,
  name: "least",
  kind: "sev-snp",
  products: {
    Milan: { minimumTcb: { bootloader: 1, tee: 0, snp: 1, microcode: 1 }, minimumListNumber: 0 },
    Genoa: { minimumTcb: { bootloader: 1, tee: 0, snp: 1, microcode: 1 }, minimumListNumber: 0 },
    Turin: { minimumTcb: { fmc: 0, bootloader: 1, tee: 0, snp: 1, microcode: 1 }, minimumListNumber: 0 },
  },
  revocation: "unchecked",
  reportVersions: [2, 3, 4, 5],
  signers: ["vcek", "vlek"],
  nonce: "unchecked",
  measurements: ["11".repeat(48)],
  rootfs: "unchecked",
  vtpm: "unchecked",
  guest: {
    debug: "refused",
    migration: "unchecked",
    smt: "unchecked",
    cxl: "unchecked",
    singleSocket: "unchecked",
    memoryAes256Xts: "unchecked",
    raplDisabled: "unchecked",
    ciphertextHiding: "unchecked",
    pageSwapDisabled: "unchecked",
    minimumAbi: "unchecked",
    maximumVmpl: "unchecked",
    minimumSvn: "unchecked",
  },
  hostData: "unchecked",
  idKeys: "unchecked",
  authorKeys: "unchecked",
  chips: "unchecked",
  platform: {
    aliasCheck: "unchecked",
    smt: "unchecked",
    tsme: "unchecked",
    ecc: "unchecked",
    raplDisabled: "unchecked",
    ciphertextHiding: "unchecked",
  },
  mitigations: { launch: "unchecked", current: "unchecked" },
  firmware: { provisional: "unchecked", minimum: "unchecked" },
  revoked: { chips: [], keys: [] },
};

/** What each vector must be called, with a policy that asks for its own measurement and refuses debugging. */
export const EXPECTED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "milan-v2-debug-on": { debug: "ATTEST_DEBUG_ALLOWED" },
  "milan-v2": {},
  "milan-v3-ms": {},
  "genoa-v3-ms": {},
  // Its certificate was changed after AMD signed it; openssl verify says so too.
  "milan-wrong-vcek-new": { chain: "ATTEST_CHAIN_INVALID" },
  "milan-v2-azure-HCL": {},
  "sim-simulated": { chain: "ATTEST_ROOT_UNKNOWN" },
  "sim-impostor": { chain: "ATTEST_CHAIN_INVALID" },
};

/** The verdict on a vector's report, with AMD's certificates and its own. */
export function judgeVector(
  row: Vector,
  changes: Partial<AttestationPolicy> = {},
  more: Partial<AttestationCase> = {},
): AttestationVerdict {
  const policy = { ...LEAST_POLICY, measurements: [row.measurement], ...changes };
  return appraiseEvidence({
    evidence: vectorFile(row.files.report),
    collateral: [...amdCollateral(), { name: "vek", bytes: vectorFile(row.files.vek) }],
    policyBytes: canonicalJson(policy),
    nonce: null,
    time: { at: row.verifyAt, source: "option" },
    ...more,
  });
}

/** When the simulator's certificates begin and when tests look at them. */
export const SIMULATED_FROM = new Date("2026-01-01T00:00:00Z");
export const SIMULATED_AT = "2026-07-01T00:00:00.000Z";
export const SIMULATED_MEASUREMENT = Buffer.alloc(48, 7);

const simulators = new Map<string, Simulator>();

/** Made once: its keys take a while. Shorter ones than AMD's, for the same reason. */
export function simulator(product: SnpProduct = "Milan", signer: "vcek" | "vlek" = "vcek"): Simulator {
  const name = `${product} ${signer}`;
  const made = simulators.get(name) ?? new Simulator({ product, signer, rsaBits: 2048, notBefore: SIMULATED_FROM });
  simulators.set(name, made);
  return made;
}

export function simulatedPolicy(by: Simulator, changes: Partial<AttestationPolicy> = {}): AttestationPolicy {
  const measurements = [SIMULATED_MEASUREMENT.toString("hex")];
  return { ...LEAST_POLICY, kind: "sev-snp-simulated", simulatedRoot: by.root, measurements, ...changes };
}

export interface Simulation {
  readonly by?: Simulator;
  readonly fields?: SimulatedFields;
  readonly policy?: Partial<AttestationPolicy>;
  readonly collateral?: AttestationCase["collateral"];
  readonly nonce?: Buffer;
  readonly at?: string;
  /** Instead of a report with `fields`. */
  readonly evidence?: Buffer;
}

export function simulatedCollateral(by: Simulator, tcb: Tcb = SIMULATED_TCB): AttestationCase["collateral"] {
  return [
    { name: "ark.der", bytes: by.rootCertificate },
    { name: "ask.der", bytes: by.intermediateCertificate },
    { name: "vek.der", bytes: by.leafCertificate(tcb) },
  ];
}

export function judgeSimulated(simulation: Simulation = {}): AttestationVerdict {
  const { by = simulator(), fields = {}, policy = {}, nonce = null, at = SIMULATED_AT } = simulation;
  return appraiseEvidence({
    evidence: simulation.evidence ?? by.report({ measurement: SIMULATED_MEASUREMENT, ...fields }),
    collateral: simulation.collateral ?? simulatedCollateral(by, fields.tcb),
    policyBytes: canonicalJson(simulatedPolicy(by, policy)),
    nonce,
    time: { at, source: "option" },
  });
}

/** Check → code of every check that failed. */
export function failures(verdict: AttestationVerdict): Partial<Record<AttestationCheck, string>> {
  const failed = verdict.findings.filter(({ status }) => status === "fail");
  return Object.fromEntries(failed.map(({ check, code }) => [check, code]));
}
