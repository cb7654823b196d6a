/** Cosign 2's signature of an image: a "simple signing" payload (Red Hat's format) and an ECDSA signature over it. */
import { canonicalJson } from "../model/canonical-json.ts";
import type { Digest } from "../model/digest.ts";
import { type SigningKey, signBytes } from "./signing-key.ts";

export interface SimpleSignature {
  readonly payload: Buffer;
  /** Base64 of the DER signature over `payload`. */
  readonly signature: string;
}

export function signSimpleSigning(
  key: SigningKey,
  image: { readonly dockerReference: string; readonly digest: Digest },
): SimpleSignature {
  const payload = canonicalJson({
    critical: {
      identity: { "docker-reference": image.dockerReference },
      image: { "docker-manifest-digest": image.digest },
      type: "cosign container image signature",
    },
    optional: null,
  });
  return { payload, signature: signBytes(key, payload).toString("base64") };
}
