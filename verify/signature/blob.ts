/**
 * One Sigstore bundle over one artifact, judged with the one key or the one identity that a person names:
 * `sealift verify-blob`. Pure over bytes; the artifact is known by its digest alone, so its size does not
 * matter.
 *
 * Beyond what sigstore-js checks: a message's digest, and a statement's subject, must be the artifact's
 * (it accepts any); the key is the one given, whatever the bundle's hint says.
 */
import { isBundleWithMessageSignature } from "@sigstore/bundle";
import type { TrustedRoot } from "@sigstore/protobuf-specs";
import type { Digest } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { type CertificateIdentity, requireArtifact, verifyKeyless, type WitnessedTime } from "./keyless.ts";
import { verifierFor, verifyStatement } from "./signature.ts";
import { type KeyBundle, parseKeyBundle, parseSigstoreBundle } from "./sigstore-bundle.ts";
import { parseTrustedRoot } from "./trusted-root.ts";
import { holdsOverDigest, signedEntity } from "./witnesses.ts";

export const BLOB_BUNDLE_MAX_BYTES = 32 * 1024 * 1024;

interface SignedBlob {
  readonly kind: "message" | "statement";
  /** Of a statement; null for a message. */
  readonly predicateType: string | null;
  /** Transparency log entries in the bundle, and whether they were verified: with a key only with a trusted root. */
  readonly logEntries: number;
  readonly logChecked: boolean;
}

export interface VerifiedBlob extends SignedBlob {
  readonly keyFingerprint: string;
}

export interface VerifiedKeylessBlob extends SignedBlob {
  readonly certificate: CertificateIdentity;
  /** When it was signed, by the word of a log or a timestamp authority: one at least. */
  readonly times: readonly WitnessedTime[];
}

/**
 * Verifies that `key` signed `artifact`, as a message or as a subject of an in-toto statement. With
 * `trustedRoot` (Sigstore's trusted_root.json) every log entry and timestamp in the bundle must hold
 * too; none is demanded, because a key's signature needs no witness of its time.
 * Not checked: when it was signed, and anything that a statement says about the artifact.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_UNKNOWN_KEY | SIGNATURE_STATEMENT_REFUSED |
 * SIGNATURE_OTHER_ARTIFACT | SIGNATURE_WITNESS_REFUSED | SIGNATURE_ROOT_MALFORMED
 */
export function verifyBlob(json: Buffer, artifact: Digest, key: TrustKey, trustedRoot?: Buffer): VerifiedBlob {
  const bundle = parseKeyBundle(json);
  const predicateType = requireArtifact(bundle, artifact);
  requireSignedBy(key, bundle, artifact);
  if (trustedRoot) verifyWitnesses(bundle, artifact, key, parseTrustedRoot(trustedRoot));
  return {
    ...describe(predicateType, bundle.verificationMaterial.tlogEntries.length),
    keyFingerprint: key.fingerprint,
    logChecked: trustedRoot !== undefined,
  };
}

/**
 * Verifies that `who` signed `artifact` with a certificate that `trustedRoot` vouches for, and that a
 * transparency log and a time witness it. Needs no network.
 * Not checked: what a statement says about the artifact, and whether the trusted root is the newest.
 * @throws SIGNATURE_CERTIFICATE_REFUSED | SIGNATURE_IDENTITY_REFUSED, and what `verifyBlob` throws
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
  const { length } = bundle.verificationMaterial.tlogEntries;
  return { ...describe(predicateType, length), certificate: who, times, logChecked: true };
}

function describe(predicateType: string | null, logEntries: number): Omit<SignedBlob, "logChecked"> {
  return { kind: predicateType === null ? "message" : "statement", predicateType, logEntries };
}

function requireSignedBy(key: TrustKey, bundle: KeyBundle, artifact: Digest): void {
  if (!isBundleWithMessageSignature(bundle)) {
    verifyStatement(bundle, [key]);
  } else if (!holdsOverDigest(artifact, bundle.content.messageSignature.signature, key.publicKey)) {
    throw signatureError("SIGNATURE_UNKNOWN_KEY", "Sigstore bundle: the key given did not make this signature");
  }
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
