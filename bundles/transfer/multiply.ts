/**
 * Blocks of open files as sums of multiples of other blocks: the one calculation of which parity is made
 * and lost blocks are made again. It goes column by column through all blocks at once, so memory depends
 * on how many blocks are made, 24 MiB at most, and not on how large they are.
 */
import { readAt } from "../layout/read-at.ts";
import { STEP_BYTES, TABLE_BYTES, threadKernel, writeTable } from "./gf16-kernel.ts";

/** Bytes in an open file; where fewer than a whole block, zeros follow when it is read. */
export interface Block {
  readonly fd: number;
  readonly position: number;
  readonly length: number;
}

export interface Sums {
  readonly blockBytes: number;
  readonly from: readonly Block[];
  readonly to: readonly Block[];
  /** Of `from[j]` in `to[i]`: at `i * from.length + j`. */
  readonly factors: Uint16Array;
}

/** Puts bytes of a block of `to` where they belong. */
export type WriteBlock = (fd: number, bytes: Uint8Array, position: number) => void;

const SUMS_MAX_BYTES = 16 * 1024 * 1024;
const COLUMN_MAX_BYTES = 512 * 1024;
/** Blocks that are read before they are added, so that each sum is fetched less often. */
const BATCH = 8;
/** What stays in a core's cache. */
const STRIP_BYTES = 32 * 1024;

function columnBytes({ blockBytes, to }: Sums): number {
  const column = Math.min(COLUMN_MAX_BYTES, SUMS_MAX_BYTES / Math.max(1, to.length), blockBytes);
  return Math.ceil(column / STEP_BYTES) * STEP_BYTES;
}

/** Makes every block of `to`. Each of `from` is read once; `onBytes` is told how many bytes of them were. */
export function multiplyBlocks(sums: Sums, write: WriteBlock, onBytes: (bytes: number) => void): void {
  const { blockBytes, from, to, factors } = sums;
  const width = columnBytes(sums);
  const tables = 0;
  const inputs = tables + BATCH * to.length * TABLE_BYTES;
  const results = inputs + BATCH * width;
  const { memory, multiply } = threadKernel(results + to.length * width);
  for (let column = 0; column < blockBytes; column += width) {
    const length = Math.min(width, blockBytes - column);
    memory.fill(0, results);
    for (let first = 0; first < from.length; first += BATCH) {
      const batch = from.slice(first, first + BATCH);
      for (const [j, block] of batch.entries()) {
        readColumn(block, column, memory.subarray(inputs + j * width, inputs + j * width + width), length);
        for (let i = 0; i < to.length; i++) {
          writeTable(memory, tables + (i * BATCH + j) * TABLE_BYTES, factors[i * from.length + first + j] as number);
        }
      }
      for (let strip = 0; strip < length; strip += STRIP_BYTES) {
        const stripBytes = Math.ceil(Math.min(STRIP_BYTES, length - strip) / STEP_BYTES) * STEP_BYTES;
        for (let i = 0; i < to.length; i++) {
          for (let j = 0; j < batch.length; j++) {
            const table = tables + (i * BATCH + j) * TABLE_BYTES;
            multiply(inputs + j * width + strip, results + i * width + strip, stripBytes, table);
          }
        }
      }
      onBytes(batch.length * length);
    }
    for (const [i, block] of to.entries()) {
      const wanted = Math.min(length, block.length - column);
      const at = results + i * width;
      if (wanted > 0) write(block.fd, memory.subarray(at, at + wanted), block.position + column);
    }
  }
}

/** A medium that ends early reads as zeros: whoever checks the result finds out. */
function readColumn({ fd, position, length }: Block, column: number, into: Uint8Array, wanted: number): void {
  into.fill(0);
  const there = Math.min(wanted, length - column);
  if (there > 0) readAt(fd, into.subarray(0, there), position + column);
}
