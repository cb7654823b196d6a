/**
 * Reads a Sigstore bundle (v0.1 to v0.3) so that it means one thing only. `@sigstore/bundle` parses; what it
 * leaves open is refused here: alternatives side by side, members twice, unknown media types, and JSON that
 * would take a gigabyte. Nothing is verified.
 */
import {
  BUNDLE_V01_MEDIA_TYPE,
  BUNDLE_V02_MEDIA_TYPE,
  BUNDLE_V03_LEGACY_MEDIA_TYPE,
  BUNDLE_V03_MEDIA_TYPE,
  type Bundle,
  type BundleWithPublicKey,
  bundleFromJSON,
  isBundleWithPublicKey,
} from "@sigstore/bundle";
import { hasMoreValues } from "../../bundles/model/count-values.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { signatureError } from "./error.ts";

/** Members that exclude each other, of which sigstore-js takes the first and cosign refuses both. */
const ALTERNATIVES = [
  ["messageSignature", "dsseEnvelope"],
  ["publicKey", "certificate", "x509CertificateChain"],
] as const;

const MEDIA_TYPES: readonly string[] = [
  BUNDLE_V01_MEDIA_TYPE,
  BUNDLE_V02_MEDIA_TYPE,
  BUNDLE_V03_LEGACY_MEDIA_TYPE,
  BUNDLE_V03_MEDIA_TYPE,
];

/**
 * A bundle is one long base64 text and some hundred members. Without this bound 32 MiB of brackets, which
 * no key has signed, would become a gigabyte of objects.
 */
const VALUES_MAX = 20_000;

function malformed(what: string, cause?: unknown): Error {
  return signatureError("SIGNATURE_MALFORMED", `Sigstore bundle: ${what}`, { cause });
}

function parseJson(json: Buffer): Record<string, Record<string, unknown>> {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(json);
  const value = JSON.parse(text) as Record<string, Record<string, unknown>>;
  const twice = duplicateMember(text);
  if (twice !== undefined) throw malformed(`member ${JSON.stringify(twice)} is there twice`);
  const members = [...Object.keys(value), ...Object.keys(value["verificationMaterial"] ?? {})];
  for (const names of ALTERNATIVES) {
    const present = names.filter((name) => members.includes(name));
    if (present.length > 1) throw malformed(`holds both ${present.join(" and ")}`);
  }
  return value;
}

/** @throws SIGNATURE_MALFORMED, also for a bundle that can be read in two ways. The caller bounds `json`. */
export function parseSigstoreBundle(json: Buffer): Bundle {
  if (hasMoreValues(json, VALUES_MAX)) throw malformed(`more than ${VALUES_MAX} values`);
  let bundle: Bundle;
  try {
    bundle = bundleFromJSON(parseJson(json));
  } catch (cause) {
    throw cause instanceof SealiftError ? cause : malformed(reasonOf(cause), cause);
  }
  // @sigstore/bundle looks only at how the type begins.
  if (!MEDIA_TYPES.includes(bundle.mediaType)) {
    throw malformed(`media type ${JSON.stringify(bundle.mediaType)} is not known`);
  }
  return bundle;
}

/** A bundle that a key signed, parsed; nothing in it is verified. */
export type KeyBundle = BundleWithPublicKey;

/** @throws SIGNATURE_MALFORMED, also for a bundle that a certificate signed. */
export function parseKeyBundle(json: Buffer): KeyBundle {
  const bundle = parseSigstoreBundle(json);
  if (!isBundleWithPublicKey(bundle)) throw malformed("signed with a certificate, want one signed with a key");
  return bundle;
}
