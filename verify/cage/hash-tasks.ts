/** Which blobs the hashers read. Imports little, so that hashing starts before the judge has loaded its parsers. */
import type { Layout, LayoutFile } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";

/** A blob that a hasher reads: its bytes and the digest that its name claims. */
export interface HashTask {
  readonly digest: Digest;
  readonly extents: LayoutFile["extents"];
}

/** Blobs up to this size the judge hashes itself; larger ones go to the hashers. */
export const HASHED_BY_JUDGE_MAX_BYTES = 256 * 1024;

/** Of the bundle's own blobs, or of others that its base has. Largest first, so that the last blob to finish is a small one. */
export function hashTasks(layout: Layout, digests: readonly Digest[] = layout.blobDigests()): HashTask[] {
  return digests
    .map((digest) => ({ digest, file: layout.blob(digest) as LayoutFile }))
    .filter(({ file }) => file.size > HASHED_BY_JUDGE_MAX_BYTES)
    .sort((a, b) => b.file.size - a.file.size)
    .map(({ digest, file }) => ({ digest, extents: file.extents }));
}
