/**
 * The form in which cosign 2, cosign 3 and Sealift write a key's signature as a Sigstore bundle, read without
 * Sigstore's packages: to load those takes longer than everything else that `verify-blob` does.
 */
import type { BundleWithPublicKey } from "@sigstore/bundle";
import type { HashAlgorithm } from "@sigstore/protobuf-specs";
import { hasMoreValues } from "../../bundles/model/count-values.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { SIGSTORE_BUNDLE } from "../../bundles/model/media-types.ts";

/** The form has at most 11. */
const VALUES_MAX = 16;
export const SHA2_256: HashAlgorithm.SHA2_256 = 1;

/**
 * What `parseKeyBundle` makes of `json`, if it has exactly the members of that form, once each, and one spelling of
 * base64. Undefined for everything else, good or bad: then `parseKeyBundle` is to be asked. Nothing is verified.
 */
export function plainKeyBundle(json: Buffer): BundleWithPublicKey | undefined {
  const value = parseOnce(json);
  const bundle =
    members(value, "mediaType", "verificationMaterial", "messageSignature") ??
    members(value, "mediaType", "verificationMaterial", "dsseEnvelope");
  const verificationMaterial = readMaterial(bundle?.["verificationMaterial"]);
  const content = readMessage(bundle?.["messageSignature"]) ?? readEnvelope(bundle?.["dsseEnvelope"]);
  if (bundle?.["mediaType"] !== SIGSTORE_BUNDLE || !verificationMaterial || !content) return undefined;
  return { mediaType: SIGSTORE_BUNDLE, verificationMaterial, content };
}

function parseOnce(json: Buffer): unknown {
  if (hasMoreValues(json, VALUES_MAX)) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(json);
    const value: unknown = JSON.parse(text);
    return duplicateMember(text) === undefined ? value : undefined;
  } catch {
    return undefined;
  }
}

function readMaterial(value: unknown): BundleWithPublicKey["verificationMaterial"] | undefined {
  const ofCosign = members(value, "publicKey");
  const ofSealift = members(value, "publicKey", "timestampVerificationData");
  const hint = members((ofCosign ?? ofSealift)?.["publicKey"], "hint")?.["hint"];
  if (typeof hint !== "string") return undefined;
  if (ofSealift && !members(ofSealift["timestampVerificationData"])) return undefined;
  return {
    content: { $case: "publicKey", publicKey: { hint } },
    tlogEntries: [],
    timestampVerificationData: ofSealift && { rfc3161Timestamps: [] },
  };
}

function readMessage(value: unknown): BundleWithPublicKey["content"] | undefined {
  const message = members(value, "messageDigest", "signature");
  const hash = members(message?.["messageDigest"], "algorithm", "digest");
  const [digest, signature] = [bytes(hash?.["digest"]), bytes(message?.["signature"])];
  if (hash?.["algorithm"] !== "SHA2_256" || !digest || !signature) return undefined;
  return {
    $case: "messageSignature",
    messageSignature: { messageDigest: { algorithm: SHA2_256, digest }, signature },
  };
}

function readEnvelope(value: unknown): BundleWithPublicKey["content"] | undefined {
  const envelope = members(value, "payload", "payloadType", "signatures");
  const signatures = envelope?.["signatures"];
  if (!Array.isArray(signatures) || signatures.length !== 1) return undefined;
  const [payload, payloadType] = [bytes(envelope?.["payload"]), envelope?.["payloadType"]];
  const sig = bytes(members(signatures[0], "sig")?.["sig"]);
  if (!payload || typeof payloadType !== "string" || !sig) return undefined;
  return { $case: "dsseEnvelope", dsseEnvelope: { payload, payloadType, signatures: [{ sig, keyid: "" }] } };
}

/** `value`, from JSON, if it is an object with exactly the members `names`. */
function members(value: unknown, ...names: readonly string[]): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const isExact = Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
  return isExact ? (value as Record<string, unknown>) : undefined;
}

/** The bytes of a text that is base64 as encoders write it, one at least. */
function bytes(text: unknown): Buffer | undefined {
  if (typeof text !== "string" || text === "") return undefined;
  const decoded = Buffer.from(text, "base64");
  return decoded.toString("base64") === text ? decoded : undefined;
}
