/** Signatures of people who do not move the site: a verifier's under a receipt, and under a kit of collateral. */
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { COLLATERAL_NAMESPACE } from "../../verify/attestation/collateral-kit.ts";
import { attestationError } from "../../verify/attestation/error.ts";
import { ATTESTATION_NAMESPACE } from "../../verify/attestation/release-file.ts";
import { type Signer, signerLineFor } from "../site/allowed-signers.ts";
import type { Approval } from "./authorization.ts";
import { lifecycleError } from "./error.ts";
import { verifyWithSshKeygen } from "./ssh-keygen.ts";
import { parseSshSignature, type SshSignature } from "./sshsig.ts";

/** What is signed, and how it is said that it is not. */
interface Signed {
  readonly what: string;
  readonly namespace: string;
  readonly invalid: (message: string, cause?: unknown) => Error;
  readonly unknown: (fingerprint: string) => Error;
}

const RECEIPT: Signed = {
  what: "receipt",
  namespace: ATTESTATION_NAMESPACE,
  invalid: (message, cause) => lifecycleError("ATTEST_RECEIPT_SIGNATURE", message, { cause }),
  unknown: (fingerprint) =>
    lifecycleError("ATTEST_VERIFIER_UNKNOWN", `receipt: key ${fingerprint} is no verifier's of this site`, {
      hints: ["sealift policy show prints whose word counts"],
    }),
};

const COLLATERAL: Signed = {
  what: "collateral kit",
  namespace: COLLATERAL_NAMESPACE,
  invalid: (message, cause) => attestationError("ATTEST_COLLATERAL_SIGNATURE", message, { cause }),
  unknown: (fingerprint) =>
    attestationError(
      "ATTEST_COLLATERAL_SIGNER",
      `collateral kit: key ${fingerprint} is none of those that count here`,
      {
        hints: ["on a site an operator signs it; elsewhere --signers names a file with lines of allowed_signers"],
      },
    ),
};

/**
 * One of `verifiers` signed exactly these bytes, in the namespace of attestation, with a key that is valid at `at`
 * and, if it is a hardware key, was touched.
 * @throws ATTEST_RECEIPT_SIGNATURE | ATTEST_VERIFIER_UNKNOWN | SSH_KEYGEN_MISSING
 */
export function checkReceiptSignature(
  { verifiers }: { readonly verifiers: readonly Signer[] },
  receipt: Uint8Array,
  signature: Uint8Array,
  at: Date,
): Promise<Approval> {
  return checkSignature(RECEIPT, verifiers, receipt, signature, at);
}

/** The same for a kit's statement. @throws ATTEST_COLLATERAL_SIGNATURE | ATTEST_COLLATERAL_SIGNER | SSH_KEYGEN_MISSING */
export function checkCollateralSignature(
  signers: readonly Signer[],
  statement: Uint8Array,
  signature: Uint8Array,
  at: Date,
): Promise<Approval> {
  return checkSignature(COLLATERAL, signers, statement, signature, at);
}

async function checkSignature(
  { what, namespace: wanted, invalid: refused, unknown }: Signed,
  signers: readonly Signer[],
  message: Uint8Array,
  signature: Uint8Array,
  at: Date,
): Promise<Approval> {
  const invalid = (problem: string, cause?: unknown): Error => refused(`${what}'s signature: ${problem}`, cause);
  const { key, namespace, touched } = parse(signature, what, invalid);
  if (namespace !== wanted) throw invalid(`got namespace ${JSON.stringify(namespace)}, want "${wanted}"`);
  const signer = signers.find((one) => one.key.base64 === key.base64);
  if (!signer) throw unknown(key.fingerprint);
  if (touched === false) throw invalid(`nobody touched the hardware key ${key.fingerprint}`);
  const verified = await verifyWithSshKeygen({
    message,
    signature,
    principal: signer.principal,
    signers: signers.map((one) => signerLineFor(wanted, one)),
    at,
    namespace: wanted,
  });
  if (!verified.ok) throw invalid(verified.reason);
  return { principal: signer.principal, fingerprint: key.fingerprint };
}

function parse(
  signature: Uint8Array,
  what: string,
  invalid: (problem: string, cause?: unknown) => Error,
): SshSignature {
  try {
    return parseSshSignature(signature, what);
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    // Without its own name for the signature, which `invalid` gives.
    throw invalid(reasonOf(cause.cause ?? cause), cause);
  }
}
