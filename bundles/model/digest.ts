/** Content digests as OCI writes them (image-spec v1.1, descriptor.md "Digests"): SHA-256 only. */
// Not imported: that would evaluate every member of the module, Web Crypto among them.
const { createHash } = process.getBuiltinModule("node:crypto");

/** `sha256:` and 64 lower-case hexadecimal digits. Make one with `parseDigest` or `digestOf` only. */
export type Digest = `sha256:${string}` & { readonly brand: "Digest" };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: unknown): text is Digest {
  return typeof text === "string" && DIGEST.test(text);
}

/** The digest written in `text`, or undefined if it is not exactly one SHA-256 digest. */
export function parseDigest(text: unknown): Digest | undefined {
  return isDigest(text) ? text : undefined;
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

/** `hex` must be 64 lower-case hexadecimal digits: the output of a hash, not input from outside. */
export function digestFromHex(hex: string): Digest {
  const digest = `sha256:${hex}`;
  if (!isDigest(digest)) throw new TypeError(`not a SHA-256 in hexadecimal: ${JSON.stringify(hex)}`);
  return digest;
}

/** The 64 hexadecimal digits after `sha256:`. */
export function hexOf(digest: Digest): string {
  return digest.slice("sha256:".length);
}
