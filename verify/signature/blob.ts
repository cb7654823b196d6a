/**
 * One Sigstore bundle over one artifact, judged with one key that a person names: `sealift verify-blob`.
 * Pure over bytes; the artifact is known by its digest alone, so its size does not matter.
 *
 * Beyond what sigstore-js checks: a message's digest, and a statement's subject, must be the artifact's
 * (it accepts any in key mode); the key is the one given, whatever the bundle's hint says.
 */

import { p256 } from "@noble/curves/nist.js";
import { isBundleWithDsseEnvelope, isBundleWithMessageSignature } from "@sigstore/bundle";
import { HashAlgorithm, TrustedRoot } from "@sigstore/protobuf-specs";
import { toSignedEntity } from "@sigstore/verify";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { type KeyBundle, parseKeyBundle, verifierFor, verifyStatement } from "./signature.ts";

export const BLOB_BUNDLE_MAX_BYTES = 32 * 1024 * 1024;
export const TRUSTED_ROOT_MAX_BYTES = 4 * 1024 * 1024;

export interface VerifiedBlob {
  readonly kind: "message" | "statement";
  /** Of a statement; null for a message. */
  readonly predicateType: string | null;
  readonly keyFingerprint: string;
  /** Transparency log entries in the bundle, and whether they were verified: only with a trusted root. */
  readonly logEntries: number;
  readonly logChecked: boolean;
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
  const predicateType = isBundleWithDsseEnvelope(bundle) ? verifySubject(bundle, artifact, key) : null;
  if (predicateType === null) verifyMessage(bundle, artifact, key);
  if (trustedRoot) verifyWitnesses(bundle, artifact, key, parseTrustedRoot(trustedRoot));
  return {
    kind: predicateType === null ? "message" : "statement",
    predicateType,
    keyFingerprint: key.fingerprint,
    logEntries: bundle.verificationMaterial.tlogEntries.length,
    logChecked: trustedRoot !== undefined,
  };
}

function verifySubject(bundle: KeyBundle, artifact: Digest, key: TrustKey): string {
  const { subjects, predicateType } = verifyStatement(bundle, [key]);
  if (!subjects.includes(artifact)) throw otherArtifact(`its statement is about ${subjects[0]}`, artifact);
  return predicateType;
}

function otherArtifact(what: string, artifact: Digest): Error {
  return signatureError("SIGNATURE_OTHER_ARTIFACT", `Sigstore bundle: ${what}, the artifact is ${artifact}`);
}

function verifyMessage(bundle: KeyBundle, artifact: Digest, key: TrustKey): void {
  if (!isBundleWithMessageSignature(bundle)) {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: neither a message signature nor a DSSE envelope");
  }
  const { messageDigest, signature } = bundle.content.messageSignature;
  if (messageDigest.algorithm !== HashAlgorithm.SHA2_256) {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want a message digest of algorithm SHA2_256");
  }
  const named = messageDigest.digest.toString("hex");
  if (named !== hexOf(artifact)) throw otherArtifact(`its message digest is sha256:${named}`, artifact);
  if (!holdsOverDigest(artifact, signature, key)) {
    throw signatureError("SIGNATURE_UNKNOWN_KEY", "Sigstore bundle: the key given did not make this signature");
  }
}

/** Node verifies over the message only, not over its digest. Both halves of S are valid ECDSA, and cosign uses both. */
function holdsOverDigest(artifact: Digest, signature: Buffer, key: TrustKey): boolean {
  const { x = "", y = "" } = key.publicKey.export({ format: "jwk" });
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
  try {
    return p256.verify(signature, Buffer.from(hexOf(artifact), "hex"), point, {
      prehash: false,
      lowS: false,
      format: "der",
    });
  } catch {
    return false;
  }
}

/** The signature once more, now with everything that witnesses it. */
function verifyWitnesses(bundle: KeyBundle, artifact: Digest, key: TrustKey, root: TrustedRoot): void {
  try {
    const entity = toSignedEntity(bundle);
    // sigstore-js would hash the artifact itself, from memory.
    const overDigest = isBundleWithMessageSignature(bundle)
      ? { verifySignature: () => holdsOverDigest(artifact, entity.signature.signature, key) }
      : {};
    const signature = Object.assign(Object.create(entity.signature) as typeof entity.signature, overDigest);
    verifierFor(key, root).verify({ ...entity, signature });
  } catch (cause) {
    throw signatureError("SIGNATURE_WITNESS_REFUSED", `Sigstore bundle: log entry or timestamp: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

const ROOT_MEDIA_TYPE = /^application\/vnd\.dev\.sigstore\.trustedroot(?:\+json;version=0\.[12]|\.v0\.[12]\+json)$/;

/**
 * sigstore-js takes a log or authority without a validity as valid at any time, and anything that is not a
 * root as an empty one; both are refused here.
 */
function parseTrustedRoot(bytes: Buffer): TrustedRoot {
  const refuse = (what: string, cause?: unknown): never => {
    throw signatureError("SIGNATURE_ROOT_MALFORMED", `trusted root: ${what}`, { cause });
  };
  let root: TrustedRoot;
  try {
    root = TrustedRoot.fromJSON(JSON.parse(bytes.toString("utf8")));
  } catch (cause) {
    return refuse(reasonOf(cause), cause);
  }
  if (!ROOT_MEDIA_TYPE.test(root.mediaType)) refuse(`media type ${JSON.stringify(root.mediaType)} is not known`);
  const logs = [...root.tlogs, ...root.ctlogs].map((log) => log.publicKey?.validFor);
  const authorities = [...root.certificateAuthorities, ...root.timestampAuthorities].map(({ validFor }) => validFor);
  if ([...logs, ...authorities].some((period) => period?.start === undefined)) {
    refuse("a log or an authority has no start of validity");
  }
  return root;
}
