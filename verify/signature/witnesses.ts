/**
 * What @sigstore/verify is given to judge, with its two gaps closed: it hashes an artifact itself, from
 * memory, and it reads the time of an RFC 3161 timestamp only with no digit behind the point or three.
 */
import type { KeyObject } from "node:crypto";
import { type Bundle, isBundleWithMessageSignature } from "@sigstore/bundle";
import { ASN1Obj, type RFC3161Timestamp } from "@sigstore/core";
import type { TrustedRoot } from "@sigstore/protobuf-specs";
import { type SignedEntity, toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import type { Digest } from "../../bundles/model/digest.ts";
import type { TrustKey } from "../trust/trust.ts";
import { holdsOverDigest } from "./digest-signature.ts";

/**
 * Thresholds 0 are for keys only: with a certificate sigstore-js would then accept it at any time. Any
 * time is valid for the key, because the release trust says whether it counts, and has an expiry itself.
 */
export function verifierFor(key: TrustKey, root: TrustedRoot): Verifier {
  const material = toTrustMaterial(root, () => ({ publicKey: key.publicKey, validFor: () => true }));
  return new Verifier(material, { tlogThreshold: 0, timestampThreshold: 0, ctlogThreshold: 0 });
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
