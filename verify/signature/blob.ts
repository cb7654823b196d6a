/**
 * One Sigstore bundle over one artifact, judged with the one key that a person names: `sealift verify-blob
 * --key`. Pure; loads no package, so that it starts fast (witnessed-blob.ts has the rest).
 *
 * Beyond what sigstore-js checks: a message's digest, and a statement's subject, must be the artifact's
 * (it accepts any); the key is the one given, whatever the bundle's hint says.
 */
import type { Bundle, BundleWithPublicKey } from "@sigstore/bundle";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import type { TrustKey } from "../trust/trust.ts";
import { holdsOverDigest } from "./digest-signature.ts";
import { signatureError } from "./error.ts";
import { SHA2_256 } from "./plain-bundle.ts";
import { holdsOver, parseStatement, signedPayload, verifyStatement } from "./statement.ts";

export const BLOB_BUNDLE_MAX_BYTES = 32 * 1024 * 1024;

/** What was signed: its digest is enough, but its bytes, if they are at hand, are verified faster. */
export type Artifact = Digest | HashedBytes;

/** Made by `hashed`, or by whoever hashed `bytes` while reading them. */
export interface HashedBytes {
  readonly bytes: Buffer;
  readonly digest: Digest;
}

export function hashed(bytes: Buffer): HashedBytes {
  return { bytes, digest: digestOf(bytes) };
}

export interface SignedBlob {
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

/**
 * Verifies that `key` signed `artifact`, as a message or as a subject of an in-toto statement.
 * Not checked: when it was signed, log entries and timestamps in the bundle, and anything that a statement
 * says about the artifact.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_UNKNOWN_KEY | SIGNATURE_STATEMENT_REFUSED | SIGNATURE_OTHER_ARTIFACT
 */
export function verifyKeyBlob(bundle: BundleWithPublicKey, artifact: Artifact, key: TrustKey): VerifiedBlob {
  const predicateType = requireArtifact(bundle, digestOfArtifact(artifact));
  requireSignedBy(key, bundle, artifact);
  return { ...describeBlob(predicateType, bundle), keyFingerprint: key.fingerprint, logChecked: false };
}

export function digestOfArtifact(artifact: Artifact): Digest {
  return typeof artifact === "string" ? artifact : artifact.digest;
}

export function describeBlob(predicateType: string | null, bundle: Bundle): Omit<SignedBlob, "logChecked"> {
  const { length } = bundle.verificationMaterial.tlogEntries;
  return { kind: predicateType === null ? "message" : "statement", predicateType, logEntries: length };
}

function requireSignedBy(key: TrustKey, bundle: BundleWithPublicKey, artifact: Artifact): void {
  const { content } = bundle;
  if (content.$case !== "messageSignature") {
    verifyStatement(bundle, [key]);
    return;
  }
  const { signature } = content.messageSignature;
  const holds =
    typeof artifact === "string"
      ? holdsOverDigest(artifact, signature, key.publicKey)
      : holdsOver(artifact.bytes, signature, key);
  if (!holds) {
    throw signatureError("SIGNATURE_UNKNOWN_KEY", "Sigstore bundle: the key given did not make this signature");
  }
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
  const { messageDigest } = content.messageSignature;
  if (messageDigest.algorithm !== SHA2_256) {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want a message digest of algorithm SHA2_256");
  }
  const named = messageDigest.digest.toString("hex");
  if (named !== hexOf(artifact)) throw otherArtifact(`its message digest is sha256:${named}`, artifact);
  return null;
}

function otherArtifact(what: string, artifact: Digest): Error {
  return signatureError("SIGNATURE_OTHER_ARTIFACT", `Sigstore bundle: ${what}, the artifact is ${artifact}`);
}
