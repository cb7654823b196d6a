/** A signature over a digest, where the bytes that have it are not here or are too many to be read again. */
import type { KeyObject } from "node:crypto";
import { createRequire } from "node:module";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";

/** Loaded when it is asked for: curves in JavaScript take as long to start as Node. */
function curves(): Readonly<Record<string, typeof import("@noble/curves/nist.js").p256>> {
  const load = createRequire(import.meta.url);
  const { p256, p384 } = load("@noble/curves/nist.js") as typeof import("@noble/curves/nist.js");
  return { "P-256": p256, "P-384": p384 };
}

/**
 * Whether `signature` (DER) is `key`'s ECDSA over a SHA-256 that is `artifact`. Node verifies over the
 * message only, not over its digest. Both halves of S are valid ECDSA, and cosign uses both.
 */
export function holdsOverDigest(artifact: Digest, signature: Buffer, key: KeyObject): boolean {
  try {
    const { crv = "", x = "", y = "" } = key.export({ format: "jwk" });
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
    const options = { prehash: false, lowS: false, format: "der" } as const;
    return curves()[crv]?.verify(signature, Buffer.from(hexOf(artifact), "hex"), point, options) ?? false;
  } catch {
    // No signature in DER.
    return false;
  }
}
