/** Media parts of made-up bytes: what is in them matters to nobody who splits or repairs. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TarBytes } from "../../bundles/layout/tar-bytes.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { type RepairOptions, type RepairResult, repairParts } from "../../bundles/transfer/repair.ts";
import { type SplitOptions, type SplitResult, splitBundle } from "../../bundles/transfer/split.ts";
import { random } from "./faulty-disk.ts";

export const PARTS_NAME = "test-1.0.0-12345678";

/** `size` bytes that depend on `seed` alone, in chunks that fit no part. */
export function someBytes(size: number, seed = 1): TarBytes {
  return {
    size,
    *chunks() {
      const next = random(seed);
      for (let left = size; left > 0; ) {
        const chunk = Buffer.alloc(Math.min(left, 7_777));
        for (let i = 0; i < chunk.length; i++) chunk[i] = next() * 256;
        left -= chunk.length;
        yield chunk;
      }
    },
  };
}

/** Rejects where `splitBundle` throws. */
export async function makeParts(out: string, options: Partial<SplitOptions> = {}): Promise<SplitResult> {
  return splitBundle({
    bundle: someBytes(160_000),
    name: PARTS_NAME,
    out,
    sizeBytes: 48_000,
    parity: 2,
    onProgress: () => {},
    ...options,
  });
}

/** Rejects where `repairParts` throws. */
export async function repair(path: string, options: Partial<RepairOptions> = {}): Promise<RepairResult> {
  return repairParts({ path, checkOnly: false, onProgress: () => {}, ...options });
}

/** Names and hashes: what to compare, since a difference of buffers takes node:assert minutes to print. */
export function digests(files: ReadonlyMap<string, Buffer>): string[] {
  return [...files].map(([name, bytes]) => `${digestOf(bytes)} ${name}`).sort();
}

/** Every file of a directory by its name. */
export async function contents(directory: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(directory)).sort();
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)));
}
