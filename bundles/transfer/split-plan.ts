/** How a bundle is cut: pure arithmetic. */
import { PARTS_MAX, parityName, partName } from "../layout/parts.ts";
import { transferError } from "./error.ts";
import { RECOVERY_HEADER_BYTES, setBytes } from "./par2-packet.ts";

export const PARITY_MAX = 16;
/**
 * Blocks of a part. Damage is made good by the block, so that many parts may have a scratch each; the work of
 * making parity, and the memory that `par2` needs, are the other side of it.
 */
export const BLOCKS_PER_PART = 16;
const BLOCK_MIN_BYTES = 64;

/**
 * Recovery blocks of a parity file: as many as a part has blocks. That any two files can be lost then is a theorem
 * (a Vandermonde matrix with consecutive exponents). With a gap between the exponents about one pattern of losses
 * in 65,536 would have no solution, so from three files on each has one block to spare: one in 2^48.
 */
export function recoveryBlocks(parity: number): number {
  return BLOCKS_PER_PART + (parity > 2 ? 1 : 0);
}

export interface SplitPlan {
  readonly name: string;
  /** Of every part but the last, which may be smaller. */
  readonly partBytes: number;
  readonly parts: readonly { readonly name: string; readonly size: number }[];
  readonly blockBytes: number;
  readonly parity: readonly { readonly name: string; readonly first: number; readonly count: number }[];
}

/**
 * Cuts `bytes` into as few parts of at most `sizeBytes` as can be, which with parity are made equal, so that
 * parity is small; no parity file is larger than `sizeBytes` either.
 * @throws SPLIT_SIZE_UNUSABLE
 */
export function planSplit(name: string, bytes: number, sizeBytes: number, parity: number): SplitPlan {
  const partBytes = parity === 0 ? sizeBytes : BLOCKS_PER_PART * blockSize(name, bytes, sizeBytes, parity);
  const count = Math.ceil(bytes / partBytes);
  if (!(count <= PARTS_MAX))
    throw unusable(sizeBytes, `the bundle has ${bytes} bytes and there are at most ${PARTS_MAX} parts`);
  const recovery = recoveryBlocks(parity);
  return {
    name,
    partBytes,
    parts: Array.from({ length: count }, (_, i) => ({
      name: partName(name, i + 1, count),
      size: Math.min(partBytes, bytes - i * partBytes),
    })),
    blockBytes: partBytes / BLOCKS_PER_PART,
    parity: Array.from({ length: parity }, (_, i) => ({
      name: parityName(name, i * recovery, recovery),
      first: i * recovery,
      count: recovery,
    })),
  };
}

/** Of parts whose largest has `partBytes` bytes. */
export function blockBytesOf(partBytes: number): number {
  return Math.ceil(partBytes / BLOCKS_PER_PART / 4) * 4;
}

/** The smallest block for which there are no more parts than for the largest that fits. */
function blockSize(name: string, bytes: number, sizeBytes: number, parity: number): number {
  for (let count = Math.ceil(bytes / sizeBytes); count <= PARTS_MAX; ) {
    const largest = Math.floor((sizeBytes - parityOverhead(name, count, parity)) / recoveryBlocks(parity) / 4) * 4;
    if (largest < BLOCK_MIN_BYTES) break;
    const needed = Math.ceil(bytes / (largest * BLOCKS_PER_PART));
    if (needed <= count) return blockBytesOf(Math.ceil(bytes / count));
    count = needed;
  }
  throw unusable(sizeBytes, `${parity} parity files for ${bytes} bytes need more`);
}

/** Of a parity file, beside its blocks: the description of the set at its beginning and at its end. */
export function parityOverhead(name: string, parts: number, parity: number): number {
  const nameBytes = partName(name, parts, parts).length;
  return 2 * setBytes(nameBytes, parts, parts * BLOCKS_PER_PART) + recoveryBlocks(parity) * RECOVERY_HEADER_BYTES;
}

function unusable(sizeBytes: number, why: string): Error {
  return transferError("SPLIT_SIZE_UNUSABLE", `size of a part: got ${sizeBytes} bytes; ${why}`, {
    hints: ["a DVD takes --size 4700000000, a Blu-ray disc 25000000000, FAT32 4294967295"],
  });
}
