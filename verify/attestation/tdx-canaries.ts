/** Known-bad TDX quotes for canaries.ts: those that a policy of kind `tdx` is shown before it releases a key. */
import { createHash } from "node:crypto";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { AttestationCase } from "./appraise-evidence.ts";
import type { Canary } from "./canaries.ts";
import { reportDataOf } from "./report-data.ts";
import { simulatedTdxPolicyFor } from "./simulated-tdx-policy.ts";
import { type QuoteFields, TD_ATTRIBUTES, TdxSimulator, TEE_TCB_SVN } from "./tdx-simulator.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const NONCE = Buffer.alloc(32, 0x5a);
/** Within the TD's MRTD, in a quote of version 4. */
const MR_TD_OFFSET = 48 + 136;

/** What is shown, and for what each must be refused. The first two are judged by `policyBytes`. */
export function makeTdxCanaries(policyBytes: Buffer, at: Date): { control: AttestationCase; canaries: Canary[] } {
  const notBefore = new Date(at.getTime() - DAY_MS);
  const by = new TdxSimulator({ notBefore });
  const impostor = new TdxSimulator({ notBefore, impostor: true });
  const ownPolicy = canonicalJson(simulatedTdxPolicyFor(by, true));
  const ask = (simulator: TdxSimulator, policy: Buffer, fields: QuoteFields = {}): AttestationCase => ({
    evidence: simulator.quote({ reportData: reportDataOf(NONCE), ...fields }),
    collateral: simulator.collateral(),
    policyBytes: policy,
    nonce: NONCE,
    time: { at: at.toISOString(), source: "host-clock" },
  });
  const own = (fields: QuoteFields): AttestationCase => ask(by, ownPolicy, fields);
  const control = own({});
  const changed = Buffer.from(control.evidence);
  changed.writeUInt8(changed.readUInt8(MR_TD_OFFSET) ^ 1, MR_TD_OFFSET);
  const revoked = { platform: by.revocationList("platform", { revoked: [by.leafCertificate] }) };
  const enclave = createHash("sha256").update("another key").digest();
  return {
    control,
    canaries: [
      { name: "simulated", question: ask(by, policyBytes), code: "ATTEST_ROOT_UNKNOWN" },
      { name: "impostor", question: ask(impostor, policyBytes), code: "ATTEST_ROOT_UNKNOWN" },
      { name: "impostor-named", question: ask(impostor, ownPolicy), code: "ATTEST_ROOT_UNKNOWN" },
      { name: "debug-on", question: own({ tdAttributes: TD_ATTRIBUTES | 1n }), code: "ATTEST_DEBUG_ALLOWED" },
      { name: "other-software", question: own({ mrTd: Buffer.alloc(48, 1) }), code: "ATTEST_MEASUREMENT_UNKNOWN" },
      {
        name: "other-question",
        question: own({ reportData: reportDataOf(Buffer.alloc(32, 1)) }),
        code: "ATTEST_NONCE_MISMATCH",
      },
      { name: "old-module", question: own({ teeTcbSvn: TEE_TCB_SVN.with(0, 5) }), code: "ATTEST_TCB_OLD" },
      { name: "other-key", question: own({ qe: { reportData: enclave } }), code: "ATTEST_SIGNATURE_INVALID" },
      { name: "changed-byte", question: { ...control, evidence: changed }, code: "ATTEST_SIGNATURE_INVALID" },
      {
        name: "revoked",
        question: { ...control, collateral: by.collateral(revoked) },
        code: "ATTEST_CERTIFICATE_REVOKED",
      },
    ],
  };
}
