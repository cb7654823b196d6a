/** What a release's lock names: the digest of every input that was chosen before the build, and reviewed as a lock. */
import { DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Digest } from "../../bundles/model/digest.ts";

const SHA256 = /^sha256:([0-9a-f]{64})$/;
/** Subresource integrity, as npm writes it. */
const INTEGRITY = /^sha512-([A-Za-z0-9+/]{86}==)$/;

/** The digests in the lock, in hexadecimal. Which image they are for is not looked at: they are all inputs of the release. */
export function lockedDigests(layout: Layout, lock: Digest): ReadonlySet<string> {
  const found = new Set<string>();
  const open: unknown[] = [parseCanonicalJson(layout.read(lock, DOCUMENT_MAX_BYTES))];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value === "string") {
      const [, hex] = SHA256.exec(value) ?? [];
      const [, base64] = INTEGRITY.exec(value) ?? [];
      if (hex !== undefined) found.add(hex);
      if (base64 !== undefined) found.add(Buffer.from(base64, "base64").toString("hex"));
    } else if (typeof value === "object" && value !== null) open.push(...Object.values(value));
  }
  return found;
}
