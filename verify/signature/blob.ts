/**
 * One Sigstore bundle over one artifact, judged with the one key that a person names: `sealift verify-blob
 * --key`. Pure; loads no package until a bare digest asks for one (witnessed-blob.ts has the rest).
 *
 * Beyond what sigstore-js checks: a message's digest, and a statement's subject, must be the artifact's
 * (it accepts any); the key is the one given, whatever the bundle's hint says.
 */
import type { Bundle, BundleWithPublicKey } from "@sigstore/bundle";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { TrustKey } from "../trust/trust.ts";
import { holdsOverDigest } from "./digest-signature.ts";
import { signatureError } from "./error.ts";
import {
  type Artifact,
  digestOfArtifact,
  type HashedBytes,
  isKeyMessage,
  type KeyMessage,
  otherArtifact,
  otherKey,
  requireMessageAbout,
  type SignedBlob,
  type VerifiedBlob,
  verifiedMessage,
  verifyMessage,
} from "./message.ts";
import { parseStatement, signedPayload, verifyStatement } from "./statement.ts";

export function hashed(bytes: Buffer): HashedBytes {
  return { bytes, digest: digestOf(bytes) };
}

/**
 * Verifies that `key` signed `artifact`, as a message or as a subject of an in-toto statement.
 * Not checked: when it was signed, log entries and timestamps in the bundle, and anything that a statement
 * says about the artifact.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_UNKNOWN_KEY | SIGNATURE_STATEMENT_REFUSED | SIGNATURE_OTHER_ARTIFACT
 */
export function verifyKeyBlob(bundle: BundleWithPublicKey, artifact: Artifact, key: TrustKey): VerifiedBlob {
  if (isKeyMessage(bundle)) {
    return typeof artifact === "string"
      ? verifyMessageOverDigest(bundle, artifact, key)
      : verifyMessage(bundle, artifact, key);
  }
  const predicateType = requireArtifact(bundle, digestOfArtifact(artifact));
  verifyStatement(bundle, [key]);
  return { ...describeBlob(predicateType, bundle), keyFingerprint: key.fingerprint, logChecked: false };
}

function verifyMessageOverDigest(bundle: KeyMessage, artifact: Digest, key: TrustKey): VerifiedBlob {
  requireMessageAbout(bundle.content, artifact);
  if (!holdsOverDigest(artifact, bundle.content.messageSignature.signature, key.publicKey)) throw otherKey();
  return verifiedMessage(bundle, key);
}

export function describeBlob(predicateType: string | null, bundle: Bundle): Omit<SignedBlob, "logChecked"> {
  const { length } = bundle.verificationMaterial.tlogEntries;
  return { kind: predicateType === null ? "message" : "statement", predicateType, logEntries: length };
}

/**
 * What `bundle` is about, unverified: its statement's predicate type, or null for a message.
 * @throws SIGNATURE_OTHER_ARTIFACT | SIGNATURE_STATEMENT_REFUSED | SIGNATURE_MALFORMED
 */
export function requireArtifact(bundle: Bundle, artifact: Digest): string | null {
  const { content } = bundle;
  if (content.$case === "dsseEnvelope") {
    const { subjects, predicateType } = parseStatement(signedPayload(bundle).payload);
    if (!subjects.includes(artifact)) throw otherArtifact(`its statement is about ${subjects[0]}`, artifact);
    return predicateType;
  }
  if (content.$case !== "messageSignature") {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: neither a message signature nor a DSSE envelope");
  }
  requireMessageAbout(content, artifact);
  return null;
}
