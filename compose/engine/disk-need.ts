/** How much room an engine needs for the images of a release that it does not have yet: a prediction. */
import { readSync } from "node:fs";
import type { BundleRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import type { ImageStore } from "./engine.ts";

export interface DiskNeed {
  /** Of the layers as they are carried. */
  readonly compressedBytes: number;
  /** Of the layers unpacked; where a layer does not say its size, UNKNOWN_FACTOR times what is carried. */
  readonly unpackedBytes: number;
  /** Layers whose unpacked size is a guess. */
  readonly guessed: number;
  /**
   * The most that is there at one time: both stores hold the carried bytes beside the unpacked ones, the
   * containerd store for good and the classic one until a layer is unpacked; and a tenth more, for file
   * system blocks.
   */
  readonly peakBytes: number;
}

const UNKNOWN_FACTOR = 4;
const HEADER_BYTES = 18;

/**
 * Counts each layer once, also if several images share it, and none of `present`. Reads only the first bytes of each
 * layer, unverified.
 */
export function diskNeed(layout: Layout, release: BundleRelease, present: Iterable<Digest> = []): DiskNeed {
  const seen = new Set<Digest>(present);
  let [compressedBytes, unpackedBytes, guessed] = [0, 0, 0];
  for (const { manifest } of release.images.values()) {
    for (const layer of manifest.layers) {
      if (seen.has(layer.digest)) continue;
      seen.add(layer.digest);
      const size = zstdContentSize(firstBytes(layout, layer.digest));
      compressedBytes += layer.size;
      unpackedBytes += size ?? layer.size * UNKNOWN_FACTOR;
      if (size === undefined) guessed += 1;
    }
  }
  return { compressedBytes, unpackedBytes, guessed, peakBytes: Math.ceil((compressedBytes + unpackedBytes) * 1.1) };
}

/** What stays of that on the engine's disk: the containerd store keeps layers as they are carried, too. */
export function keptBytes({ compressedBytes, unpackedBytes }: DiskNeed, store: ImageStore): number {
  return store === "containerd" ? compressedBytes + unpackedBytes : unpackedBytes;
}

function firstBytes(layout: Layout, digest: Digest): Buffer {
  const [extent] = layout.blob(digest)?.extents ?? [];
  if (!extent) return Buffer.alloc(0);
  const bytes = Buffer.alloc(Math.min(HEADER_BYTES, extent.length));
  return bytes.subarray(0, readSync(extent.fd, bytes, 0, bytes.length, extent.position));
}

/**
 * The unpacked size that a zstd frame says (RFC 8878, 3.1.1.1), or undefined if it says none or is not one.
 * Of the first frame only; a number above 2^53 - 1 is none.
 */
export function zstdContentSize(head: Buffer): number | undefined {
  if (head.length < 6 || head.readUInt32LE(0) !== 0xfd2fb528) return undefined;
  const descriptor = head[4] as number;
  const single = (descriptor & 0x20) !== 0;
  const flag = descriptor >> 6;
  const at = 5 + (single ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] as number);
  const length = flag === 0 ? (single ? 1 : 0) : 1 << flag;
  if (length === 0 || head.length < at + length) return undefined;
  if (length === 8) {
    const size = head.readBigUInt64LE(at);
    return size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : undefined;
  }
  return head.readUIntLE(at, length) + (length === 2 ? 256 : 0);
}
