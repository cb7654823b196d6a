/** What a site's store has of layers and carried files, every byte of it read. */
import { groupBlobs, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, type Layout, openLayout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { storedPath, storedReleases } from "../site/store.ts";

export interface StoredContents {
  readonly release: Digest;
  /** Of layers and carried files that are whole. */
  readonly blobs: readonly Digest[];
  readonly bytes: number;
  /** How many are not, and would be left out of no bundle; all if the release cannot be read. */
  readonly damaged: number | "all";
}

/** Reads the whole store, in which nothing is changed. `onBytes` is told how many bytes a chunk had. */
export async function storedContents(directory: string, onBytes: (bytes: number) => void): Promise<StoredContents[]> {
  const contents: StoredContents[] = [];
  for (const release of storedReleases(directory)) {
    contents.push(await contentsOf(storedPath(directory, release), release, onBytes));
  }
  return contents;
}

async function contentsOf(path: string, release: Digest, onBytes: (bytes: number) => void): Promise<StoredContents> {
  const unreadable: StoredContents = { release, blobs: [], bytes: 0, damaged: "all" };
  let opened: ReturnType<typeof openLayout>;
  try {
    opened = openLayout(path);
  } catch {
    return unreadable;
  }
  const { layout, store } = opened;
  try {
    const payload = payloadOf(layout);
    if (!payload) return unreadable;
    const whole: Digest[] = [];
    for (const digest of payload) if (await isWhole(layout, digest, onBytes)) whole.push(digest);
    const bytes = whole.reduce((sum, digest) => sum + (layout.blob(digest)?.size ?? 0), 0);
    return { release, blobs: whole, bytes, damaged: payload.length - whole.length };
  } finally {
    closeStore(store);
  }
}

function payloadOf(layout: Layout): readonly Digest[] | undefined {
  try {
    return groupBlobs(readRelease(layout, readLayoutIndex(layout).release), []).payload;
  } catch {
    return undefined;
  }
}

async function isWhole(layout: Layout, digest: Digest, onBytes: (bytes: number) => void): Promise<boolean> {
  try {
    for await (const chunk of layout.stream(digest)) onBytes(chunk.length);
    return true;
  } catch {
    return false;
  }
}
