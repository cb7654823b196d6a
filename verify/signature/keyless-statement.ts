/** A Sigstore bundle with an in-toto statement that one of some identities signed with a certificate. */
import type { CertificateIdentity } from "../../bundles/model/certificate-identity.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { TrustIdentity } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { verifyKeyless, type WitnessedTime } from "./keyless.ts";
import { parseSigstoreBundle } from "./sigstore-bundle.ts";
import { parseStatement, requireOneSubject, signedPayload, type VerifiedSignature } from "./statement.ts";
import { parseTrustedRoot } from "./trusted-root.ts";

export interface VerifiedKeyless extends VerifiedSignature {
  readonly certificate: CertificateIdentity;
  /** One at least. */
  readonly times: readonly WitnessedTime[];
}

export type KeylessVerifier = (json: Buffer, identities: readonly TrustIdentity[]) => VerifiedKeyless;

/**
 * A verifier by the authorities and logs of `trustedRoot`. It throws SIGNATURE_IDENTITY_REFUSED if none of the
 * identities signed, SIGNATURE_CERTIFICATE_REFUSED | SIGNATURE_WITNESS_REFUSED | SIGNATURE_UNKNOWN_KEY |
 * SIGNATURE_MALFORMED | SIGNATURE_STATEMENT_REFUSED as `verifyKeyless` and `verifySigstoreBundle` do.
 * @throws SIGNATURE_ROOT_MALFORMED
 */
export function keylessVerifier(trustedRoot: Buffer): KeylessVerifier {
  const root = parseTrustedRoot(trustedRoot);
  return (json, identities) => {
    const bundle = parseSigstoreBundle(json);
    const { payload } = signedPayload(bundle);
    let refusal: unknown = signatureError(
      "SIGNATURE_IDENTITY_REFUSED",
      "Sigstore bundle: signed with a certificate, and the release trust names no identity",
    );
    for (const one of identities) {
      const certificate = { identity: one.identity, issuer: one.issuer };
      try {
        const times = verifyKeyless(bundle, digestOf(payload), certificate, root);
        const statement = requireOneSubject(parseStatement(payload));
        return { keyFingerprint: one.fingerprint, holder: one.holder, statement, certificate, times };
      } catch (cause) {
        if (!(cause instanceof SealiftError) || cause.code !== "SIGNATURE_IDENTITY_REFUSED") throw cause;
        refusal = cause;
      }
    }
    throw refusal;
  };
}
