/**
 * One Sigstore bundle over one artifact, with what a trusted_root.json vouches for: `sealift verify-blob
 * --trusted-root`, for a certificate's identity, or for a key whose log entries and timestamps must hold.
 */
import type { TrustedRoot } from "@sigstore/protobuf-specs";
import type { CertificateIdentity } from "../../bundles/model/certificate-identity.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { TrustKey } from "../trust/trust.ts";
import { describeBlob, requireArtifact, verifyKeyBlob } from "./blob.ts";
import { signatureError } from "./error.ts";
import { verifyKeyless, type WitnessedTime } from "./keyless.ts";
import { type Artifact, digestOfArtifact, type SignedBlob, type VerifiedBlob } from "./message.ts";
import { type KeyBundle, parseKeyBundle, parseSigstoreBundle } from "./sigstore-bundle.ts";
import { parseTrustedRoot } from "./trusted-root.ts";
import { signedEntity, verifierFor } from "./witnesses.ts";

export interface VerifiedKeylessBlob extends SignedBlob {
  readonly certificate: CertificateIdentity;
  /** When it was signed, by the word of a log or a timestamp authority: one at least. */
  readonly times: readonly WitnessedTime[];
}

/**
 * `verifyKeyBlob`, and every log entry and timestamp in the bundle must hold by `trustedRoot` (Sigstore's
 * trusted_root.json); none is demanded, because a key's signature needs no witness of its time.
 * @throws SIGNATURE_WITNESS_REFUSED | SIGNATURE_ROOT_MALFORMED, and what `parseKeyBundle` and `verifyKeyBlob` throw
 */
export function verifyWitnessedBlob(
  json: Buffer,
  artifact: Artifact,
  key: TrustKey,
  trustedRoot: Buffer,
): VerifiedBlob {
  const bundle = parseKeyBundle(json);
  const verified = verifyKeyBlob(bundle, artifact, key);
  verifyWitnesses(bundle, digestOfArtifact(artifact), key, parseTrustedRoot(trustedRoot));
  return { ...verified, logChecked: true };
}

/**
 * Verifies that `who` signed `artifact` with a certificate that `trustedRoot` vouches for, and that a
 * transparency log and a time witness it. Needs no network.
 * Not checked: what a statement says about the artifact, and whether the trusted root is the newest.
 * @throws SIGNATURE_CERTIFICATE_REFUSED | SIGNATURE_IDENTITY_REFUSED, and what `verifyWitnessedBlob` throws
 */
export function verifyKeylessBlob(
  json: Buffer,
  artifact: Digest,
  who: CertificateIdentity,
  trustedRoot: Buffer,
): VerifiedKeylessBlob {
  const bundle = parseSigstoreBundle(json);
  const root = parseTrustedRoot(trustedRoot);
  const predicateType = requireArtifact(bundle, artifact);
  const times = verifyKeyless(bundle, artifact, who, root);
  return { ...describeBlob(predicateType, bundle), certificate: who, times, logChecked: true };
}

/** The signature once more, now with everything that witnesses it. */
function verifyWitnesses(bundle: KeyBundle, artifact: Digest, key: TrustKey, root: TrustedRoot): void {
  try {
    verifierFor(key, root).verify(signedEntity(bundle, artifact));
  } catch (cause) {
    throw signatureError("SIGNATURE_WITNESS_REFUSED", `Sigstore bundle: log entry or timestamp: ${reasonOf(cause)}`, {
      cause,
    });
  }
}
