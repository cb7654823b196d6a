/**
 * Known-bad evidence that is shown to the verifier before it releases a key: if it takes one of these, it would take
 * an attacker's, so nothing is released. Beside them goes a control that must not be refused, because a verifier that
 * refuses everything shows nothing. Keys are made in each run, so that nobody can teach a verifier these very files.
 */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { AttestationCase } from "./appraise-evidence.ts";
import { isTdxPolicy, parseAttestationPolicy } from "./attestation-policy.ts";
import type { AttestationVerdict } from "./attestation-verdict.ts";
import { attestationError } from "./error.ts";
import { reportDataOf } from "./report-data.ts";
import { simulatedPolicyFor } from "./simulated-policy.ts";
import { SIMULATED_GUEST_POLICY, SIMULATED_TCB, type SimulatedFields, Simulator } from "./simulator.ts";
import { makeTdxCanaries } from "./tdx-canaries.ts";

export type Appraiser = (question: AttestationCase) => Promise<AttestationVerdict>;

export interface Canary {
  readonly name: string;
  readonly question: AttestationCase;
  /** The code for which it must be refused. */
  readonly code: string;
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** Shorter than AMD's, which take seconds to make. That the root is pinned by its key does not depend on it. */
const CANARY_RSA_BITS = 2048;
const DEBUG_BIT = 1n << 19n;
const NONCE = Buffer.alloc(32, 0x5a);
const MEASUREMENT = Buffer.alloc(48, 0x5a);

/**
 * Shows each canary to `appraise` and returns their names. The first two are judged by `policyBytes`, the policy that
 * is about to release a key; the others by one of which only they break a rule.
 * @throws ATTEST_CANARY_ACCEPTED | ATTEST_CANARY_MISJUDGED, and what `appraise` throws
 */
export async function runCanaries(
  policyBytes: Buffer,
  at: Date,
  appraise: Appraiser,
  { control, canaries } = makeCanaries(policyBytes, at),
): Promise<string[]> {
  const verdict = await appraise(control);
  if (verdict.decision !== "simulated") {
    throw attestationError(
      "ATTEST_CANARY_MISJUDGED",
      `control: got ${verdict.decision}, want simulated: ${why(verdict)}`,
    );
  }
  for (const { name, question, code } of canaries) {
    const { decision, findings } = await appraise(question);
    if (decision !== "deny") {
      throw attestationError("ATTEST_CANARY_ACCEPTED", `canary ${name}: got ${decision}, want deny`, {
        hints: ["this verifier takes what it must refuse: release no key from it, and keep the machine as evidence"],
      });
    }
    if (!findings.some((finding) => finding.status === "fail" && finding.code === code)) {
      throw attestationError("ATTEST_CANARY_MISJUDGED", `canary ${name}: refused, but not with ${code}`);
    }
  }
  return canaries.map(({ name }) => name);
}

function why({ findings }: AttestationVerdict): string {
  const failed = findings.find(({ status }) => status === "fail");
  return failed ? `${failed.check} ${failed.code}` : "a check was not made";
}

/** For tests too: what is shown, and for what each must be refused. */
export function makeCanaries(policyBytes: Buffer, at: Date): { control: AttestationCase; canaries: Canary[] } {
  if (isTdxPolicy(parseAttestationPolicy(policyBytes).policy)) return makeTdxCanaries(policyBytes, at);
  const notBefore = new Date(at.getTime() - DAY_MS);
  const by = new Simulator({ rsaBits: CANARY_RSA_BITS, notBefore });
  const impostor = new Simulator({ rsaBits: CANARY_RSA_BITS, notBefore, impostor: true });
  const ownPolicy = canonicalJson(simulatedPolicyFor(by, MEASUREMENT, true));
  const good: SimulatedFields = { measurement: MEASUREMENT, reportData: reportDataOf(NONCE) };
  const list = { number: 1, thisUpdate: notBefore, nextUpdate: new Date(at.getTime() + DAY_MS) };
  const ask = (simulator: Simulator, policy: Buffer, fields: SimulatedFields = {}): AttestationCase => ({
    evidence: simulator.report({ ...good, ...fields }),
    collateral: collateral(simulator, simulator.leafCertificate(fields.tcb)),
    policyBytes: policy,
    nonce: NONCE,
    time: { at: at.toISOString(), source: "host-clock" },
  });
  const collateral = (simulator: Simulator, leaf: Buffer, revokeIntermediate = false) => [
    { name: "ark", bytes: simulator.rootCertificate },
    { name: "ask", bytes: simulator.intermediateCertificate },
    { name: "vcek", bytes: leaf },
    { name: "crl", bytes: simulator.revocationList({ ...list, revokeIntermediate }) },
  ];
  const own = (fields: SimulatedFields): AttestationCase => ask(by, ownPolicy, fields);
  const control = own({});
  const otherChip = by.leafCertificate(SIMULATED_TCB, Buffer.alloc(by.chipId.length, 0x5a));
  const changed = Buffer.from(control.evidence);
  changed.writeUInt8(changed.readUInt8(0x90) ^ 1, 0x90);
  const leaf = by.leafCertificate();
  return {
    control,
    canaries: [
      { name: "simulated", question: ask(by, policyBytes), code: "ATTEST_ROOT_UNKNOWN" },
      { name: "impostor", question: ask(impostor, policyBytes), code: "ATTEST_ROOT_UNKNOWN" },
      { name: "impostor-named", question: ask(impostor, ownPolicy), code: "ATTEST_ROOT_UNKNOWN" },
      {
        name: "debug-on",
        question: own({ guestPolicy: SIMULATED_GUEST_POLICY | DEBUG_BIT }),
        code: "ATTEST_DEBUG_ALLOWED",
      },
      {
        name: "other-software",
        question: own({ measurement: Buffer.alloc(48, 1) }),
        code: "ATTEST_MEASUREMENT_UNKNOWN",
      },
      {
        name: "other-question",
        question: own({ reportData: reportDataOf(Buffer.alloc(32, 1)) }),
        code: "ATTEST_NONCE_MISMATCH",
      },
      {
        name: "old-firmware",
        question: own({ tcb: { ...SIMULATED_TCB, snp: SIMULATED_TCB.snp - 1 } }),
        code: "ATTEST_TCB_OLD",
      },
      {
        name: "other-chip",
        question: { ...control, collateral: collateral(by, otherChip) },
        code: "ATTEST_CHIP_MISMATCH",
      },
      { name: "changed-byte", question: { ...control, evidence: changed }, code: "ATTEST_SIGNATURE_INVALID" },
      {
        name: "revoked",
        question: { ...control, collateral: collateral(by, leaf, true) },
        code: "ATTEST_CERTIFICATE_REVOKED",
      },
    ],
  };
}
