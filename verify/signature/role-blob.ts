/** Signatures of a role over one file: `cosign sign-blob --new-bundle-format`, one Sigstore bundle for each key. */
import type { Digest } from "../../bundles/model/digest.ts";
import { isTrustKey, type TrustRole } from "../trust/trust.ts";
import { verifyKeyBlob } from "./blob.ts";
import { signatureError } from "./error.ts";
import { parseKeyBundle } from "./sigstore-bundle.ts";

/**
 * Holders of the role's keys that signed, sorted; empty where fewer did than the role must have, or there is no role
 * to check with. A signature that is there and is of none of its keys is refused.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_UNKNOWN_KEY | SIGNATURE_STATEMENT_REFUSED | SIGNATURE_OTHER_ARTIFACT
 */
export function signersOfBlob(signatures: readonly Buffer[], digest: Digest, role: TrustRole | undefined): string[] {
  if (role === undefined) return [];
  const holders = new Set(signatures.map((signature) => signerOf(signature, digest, role)));
  return holders.size < role.threshold ? [] : [...holders].sort();
}

function signerOf(signature: Buffer, digest: Digest, role: TrustRole): string {
  // Identities are not asked: what they sign is a release, with a certificate that verifyKeyless judges.
  let refusal: unknown = signatureError(
    "SIGNATURE_UNKNOWN_KEY",
    "signature: the role has no key that could have made it",
  );
  for (const key of role.keys.filter(isTrustKey)) {
    try {
      verifyKeyBlob(parseKeyBundle(signature), digest, key);
      return key.holder;
    } catch (cause) {
      refusal = cause;
    }
  }
  throw refusal;
}
