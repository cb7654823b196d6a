/** Who signed a verifier's receipt, and whether this site believes them. */
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { ATTESTATION_NAMESPACE } from "../../verify/attestation/release-file.ts";
import { type Signer, signerLineFor } from "../site/allowed-signers.ts";
import type { Approval } from "./authorization.ts";
import { lifecycleError } from "./error.ts";
import { verifyWithSshKeygen } from "./ssh-keygen.ts";
import { parseSshSignature, type SshSignature } from "./sshsig.ts";

/**
 * One of `verifiers` signed exactly these bytes, in the namespace of attestation, with a key that is valid at `at`
 * and, if it is a hardware key, was touched.
 * @throws ATTEST_RECEIPT_SIGNATURE | ATTEST_VERIFIER_UNKNOWN | SSH_KEYGEN_MISSING
 */
export async function checkReceiptSignature(
  { verifiers }: { readonly verifiers: readonly Signer[] },
  receipt: Uint8Array,
  signature: Uint8Array,
  at: Date,
): Promise<Approval> {
  const invalid = (problem: string, cause?: unknown): Error =>
    lifecycleError("ATTEST_RECEIPT_SIGNATURE", `receipt's signature: ${problem}`, { cause });
  const { key, namespace, touched } = parse(signature, invalid);
  if (namespace !== ATTESTATION_NAMESPACE) {
    throw invalid(`got namespace ${JSON.stringify(namespace)}, want "${ATTESTATION_NAMESPACE}"`);
  }
  const signer = verifiers.find((one) => one.key.base64 === key.base64);
  if (!signer) {
    throw lifecycleError("ATTEST_VERIFIER_UNKNOWN", `receipt: key ${key.fingerprint} is no verifier's of this site`, {
      hints: ["sealift policy show prints whose word counts"],
    });
  }
  if (touched === false) throw invalid(`nobody touched the hardware key ${key.fingerprint}`);
  const verified = await verifyWithSshKeygen({
    message: receipt,
    signature,
    principal: signer.principal,
    signers: verifiers.map((one) => signerLineFor(ATTESTATION_NAMESPACE, one)),
    at,
    namespace: ATTESTATION_NAMESPACE,
  });
  if (!verified.ok) throw invalid(verified.reason);
  return { principal: signer.principal, fingerprint: key.fingerprint };
}

function parse(signature: Uint8Array, invalid: (problem: string, cause?: unknown) => Error): SshSignature {
  try {
    return parseSshSignature(signature, "receipt");
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    throw invalid(cause.message, cause);
  }
}
