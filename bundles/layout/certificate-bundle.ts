/** The one form in which a bundle holds a signature that was made with a certificate. */
import { bundleFromJSON, bundleToJSON } from "@sigstore/bundle";
import { canonicalJson } from "../model/canonical-json.ts";
import { SIGSTORE_BUNDLE } from "../model/media-types.ts";

/**
 * Whether a Sigstore bundle says that a certificate signed it. Nothing is verified, and it may be malformed
 * otherwise.
 */
export function isCertificateBundle(json: Buffer): boolean {
  try {
    const { verificationMaterial } = JSON.parse(json.toString("utf8")) as { verificationMaterial: object };
    return "certificate" in verificationMaterial;
  } catch {
    return false;
  }
}

/**
 * The same bundle (v0.3, one certificate) with the members that the format has and no others, as canonical
 * JSON; undefined if it is none. What a log or an authority wrote in it stays, and `verify` judges it.
 */
export function renderCertificateBundle(json: Buffer): Buffer | undefined {
  try {
    const bundle = bundleFromJSON(JSON.parse(json.toString("utf8")));
    const isOne = bundle.mediaType === SIGSTORE_BUNDLE && bundle.verificationMaterial.content.$case === "certificate";
    return isOne ? canonicalJson(bundleToJSON(bundle)) : undefined;
  } catch {
    return undefined;
  }
}
