/**
 * Blocks of open files as sums of multiples of other blocks: the one calculation of which parity is made
 * and lost blocks are made again. It goes column by column through all blocks at once, so memory depends
 * on how many blocks are made, 32 MiB at most, and not on how large they are.
 */
import { Worker } from "node:worker_threads";
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

/** Bytes of `to` that are there for each column; what is written is bounded by this and no state is kept. */
export type WriteBlock = (fd: number, bytes: Uint8Array, position: number) => void;

const SUMS_MAX_BYTES = 16 * 1024 * 1024;
const COLUMN_MAX_BYTES = 512 * 1024;
/** Blocks that are read before they are added, so that each sum is fetched less often. */
const BATCH = 8;
/** What stays in a core's cache. */
const STRIP_BYTES = 32 * 1024;
/** Below this a thread costs more than it helps. */
const THREAD_MIN_BYTES = 64 * 1024 * 1024;

function columnBytes({ blockBytes, to }: Sums): number {
  const column = Math.min(COLUMN_MAX_BYTES, SUMS_MAX_BYTES / Math.max(1, to.length), blockBytes);
  return Math.ceil(column / STEP_BYTES) * STEP_BYTES;
}

/** The columns from byte `begin` to `end` of every block. `onBytes` is told the bytes that were read. */
export function multiplyColumns(
  sums: Sums,
  begin: number,
  end: number,
  write: WriteBlock,
  onBytes: (bytes: number) => void,
): void {
  const { from, to, factors } = sums;
  const width = columnBytes(sums);
  const tables = 0;
  const inputs = tables + BATCH * to.length * TABLE_BYTES;
  const results = inputs + BATCH * width;
  const { memory, multiply } = threadKernel(results + to.length * width);
  for (let column = begin; column < end; column += width) {
    const length = Math.min(width, end - column);
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

export interface MultiplyOptions {
  readonly write: WriteBlock;
  readonly onBytes: (bytes: number) => void;
  /** Only who gives the host's own `write` may ask for more than one. */
  readonly threads: number;
}

/** All columns. `from` is read once; with several threads each takes a run of columns. */
export async function multiplyBlocks(sums: Sums, { write, onBytes, threads }: MultiplyOptions): Promise<void> {
  const { blockBytes, from, to } = sums;
  const width = columnBytes(sums);
  const columns = Math.ceil(blockBytes / width);
  const wanted = blockBytes * from.length * to.length < THREAD_MIN_BYTES ? 1 : Math.min(threads, columns);
  if (wanted <= 1) {
    multiplyColumns(sums, 0, blockBytes, write, onBytes);
    return;
  }
  const share = Math.ceil(columns / wanted) * width;
  const workers: Promise<void>[] = [];
  for (let begin = 0; begin < blockBytes; begin += share) {
    workers.push(inThread(sums, begin, Math.min(blockBytes, begin + share), onBytes));
  }
  await Promise.all(workers);
}

function inThread(sums: Sums, begin: number, end: number, onBytes: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("multiply-thread.ts", import.meta.url), { workerData: { sums, begin, end } });
    worker.on("message", onBytes);
    worker.once("error", reject);
    worker.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`parity thread ended with ${code}`))));
  });
}
