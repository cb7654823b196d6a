/** Cosign 2's signature of an image: a "simple signing" payload (Red Hat's format) and an ECDSA signature over it. */
import { sign } from "node:crypto";
import { canonicalJson } from "../model/canonical-json.ts";
import type { Digest } from "../model/digest.ts";
import type { PrivateKey } from "./key-file.ts";

export interface SimpleSignature {
  readonly payload: Buffer;
  /** Base64 of the DER signature over `payload`. */
  readonly signature: string;
}

export function signSimpleSigning(
  key: PrivateKey,
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
  return { payload, signature: sign("sha256", payload, key).toString("base64") };
}
