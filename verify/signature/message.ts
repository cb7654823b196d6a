/**
 * A key's signature over an artifact as it is, with no statement between: most of what `sealift verify-blob` is called
 * for. Pure; apart from blob.ts and with little beside it, so that it starts fast.
 */
import type { BundleWithMessageSignature, BundleWithPublicKey } from "@sigstore/bundle";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { SHA2_256 } from "./plain-bundle.ts";

// Not imported: that would evaluate every member of the module, Web Crypto among them.
const { verify } = process.getBuiltinModule("node:crypto");

export const BLOB_BUNDLE_MAX_BYTES = 32 * 1024 * 1024;

/** What was signed: its digest is enough, but its bytes, if they are at hand, are verified faster. */
export type Artifact = Digest | HashedBytes;

/** `digest` must be that of `bytes`: it is not computed again. */
export interface HashedBytes {
  readonly bytes: Buffer;
  readonly digest: Digest;
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

type MessageContent = BundleWithMessageSignature["content"];
export type KeyMessage = BundleWithPublicKey & { readonly content: MessageContent };

export function isKeyMessage(bundle: BundleWithPublicKey): bundle is KeyMessage {
  return bundle.content.$case === "messageSignature";
}

export function digestOfArtifact(artifact: Artifact): Digest {
  return typeof artifact === "string" ? artifact : artifact.digest;
}

/**
 * Verifies that `key` signed the bytes of `artifact`. Not checked: when, and log entries and timestamps in the bundle.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_OTHER_ARTIFACT | SIGNATURE_UNKNOWN_KEY
 */
export function verifyMessage(bundle: KeyMessage, artifact: HashedBytes, key: TrustKey): VerifiedBlob {
  requireMessageAbout(bundle.content, artifact.digest);
  if (!holdsOver(artifact.bytes, bundle.content.messageSignature.signature, key)) throw otherKey();
  return verifiedMessage(bundle, key);
}

/** What is said of a message whose signature holds. */
export function verifiedMessage(bundle: KeyMessage, { fingerprint }: TrustKey): VerifiedBlob {
  const { length } = bundle.verificationMaterial.tlogEntries;
  return { kind: "message", predicateType: null, logEntries: length, keyFingerprint: fingerprint, logChecked: false };
}

/**
 * The digest that the bundle names must be the artifact's; sigstore-js accepts any.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_OTHER_ARTIFACT
 */
export function requireMessageAbout({ messageSignature }: MessageContent, artifact: Digest): void {
  const { algorithm, digest } = messageSignature.messageDigest;
  if (algorithm !== SHA2_256) {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want a message digest of algorithm SHA2_256");
  }
  const named = digest.toString("hex");
  if (named !== hexOf(artifact)) throw otherArtifact(`its message digest is sha256:${named}`, artifact);
}

/** Whether `key` signed `message`: ECDSA with SHA-256. Node throws for what is no signature at all. */
export function holdsOver(message: Buffer, signature: Buffer, key: TrustKey): boolean {
  try {
    return verify("sha256", message, key.publicKey, signature);
  } catch {
    return false;
  }
}

export function otherArtifact(what: string, artifact: Digest): Error {
  return signatureError("SIGNATURE_OTHER_ARTIFACT", `Sigstore bundle: ${what}, the artifact is ${artifact}`);
}

export function otherKey(): Error {
  return signatureError("SIGNATURE_UNKNOWN_KEY", "Sigstore bundle: the key given did not make this signature");
}
