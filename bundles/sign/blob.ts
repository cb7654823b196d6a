/** A signature over one file, as `cosign sign-blob --new-bundle-format` makes it: a Sigstore bundle v0.3. */
import { sign } from "node:crypto";
import { bundleToJSON, toMessageSignatureBundle } from "@sigstore/bundle";
import { canonicalJson } from "../model/canonical-json.ts";
import { digestOf, hexOf } from "../model/digest.ts";
import { keyHint } from "../model/public-key.ts";
import type { PrivateKey } from "./key-file.ts";

/** The bundle, canonical JSON, over `bytes`. Signatures differ from call to call. */
export function signBlob(key: PrivateKey, bytes: Buffer): Buffer {
  const bundle = toMessageSignatureBundle({
    digest: Buffer.from(hexOf(digestOf(bytes)), "hex"),
    signature: sign("sha256", bytes, key),
    keyHint: keyHint(key),
  });
  return canonicalJson(bundleToJSON(bundle));
}
