/**
 * What @sigstore/verify is given to judge, with its two gaps closed: it hashes an artifact itself, from
 * memory, and it reads the time of an RFC 3161 timestamp only with no digit behind the point or three.
 */
import type { KeyObject } from "node:crypto";
import { p256, p384 } from "@noble/curves/nist.js";
import { type Bundle, isBundleWithMessageSignature } from "@sigstore/bundle";
import { ASN1Obj, type RFC3161Timestamp } from "@sigstore/core";
import { type SignedEntity, toSignedEntity } from "@sigstore/verify";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";

const CURVES = { "P-256": p256, "P-384": p384 } as const;

/**
 * Whether `signature` (DER) is `key`'s ECDSA over a SHA-256 that is `artifact`. Node verifies over the
 * message only, not over its digest. Both halves of S are valid ECDSA, and cosign uses both.
 */
export function holdsOverDigest(artifact: Digest, signature: Buffer, key: KeyObject): boolean {
  try {
    const { crv, x = "", y = "" } = key.export({ format: "jwk" });
    const curve = CURVES[crv as keyof typeof CURVES];
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
    const options = { prehash: false, lowS: false, format: "der" } as const;
    return curve.verify(signature, Buffer.from(hexOf(artifact), "hex"), point, options);
  } catch {
    // No curve of the two, or no signature in DER.
    return false;
  }
}

/** `bundle` for sigstore-js, with the artifact's digest in the artifact's place. Throws many kinds of error. */
export function signedEntity(bundle: Bundle, artifact: Digest): SignedEntity {
  const entity = toSignedEntity(bundle);
  const overDigest = isBundleWithMessageSignature(bundle)
    ? { verifySignature: (key: KeyObject) => holdsOverDigest(artifact, entity.signature.signature, key) }
    : {};
  return {
    ...entity,
    signature: Object.assign(Object.create(entity.signature) as typeof entity.signature, overDigest),
    timestamps: entity.timestamps.map((item) =>
      item.$case === "timestamp-authority" ? { ...item, timestamp: withExactTime(item.timestamp) } : item,
    ),
  };
}

/** Index of `genTime` in TSTInfo (RFC 3161, section 2.4.2). */
const GEN_TIME = 4;
/** GeneralizedTime with the fraction that RFC 3161 allows. */
const GENERALIZED_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d{1,9})?Z$/;

/** The instant, to the millisecond. Throws if it is none. */
export function parseGeneralizedTime(text: string): Date {
  const [, year, month, day, hour, minute, second, fraction = ""] = GENERALIZED_TIME.exec(text) ?? [];
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}${fraction.slice(0, 4)}Z`);
  if (Number.isNaN(time.getTime())) throw new RangeError(`timestamp: ${JSON.stringify(text)} is not a time`);
  return time;
}

function withExactTime(timestamp: RFC3161Timestamp): RFC3161Timestamp {
  const info = ASN1Obj.parseBuffer(Buffer.from(timestamp.tstInfo.raw));
  const signingTime = parseGeneralizedTime(info.subs[GEN_TIME]?.value.toString("latin1") ?? "");
  return Object.defineProperty(Object.create(timestamp) as RFC3161Timestamp, "signingTime", { value: signingTime });
}
