/**
 * Stages the bundle argv[2] with the trust argv[3] on the small filesystem argv[4], which another writer
 * fills meanwhile, and prints what happened as JSON.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { reasonOf, type SealiftError } from "../../bundles/model/sealift-error.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease, storedReleases } from "../../installer/site/store.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { openAllowed } from "./allowed-bundle.ts";

export interface SmallDiskReport {
  /** Each run's error code, or "done". */
  readonly ends: readonly string[];
  readonly messages: readonly string[];
  /** What the store held after each run. */
  readonly left: readonly (readonly string[])[];
  readonly stored: readonly string[];
}

const [, , path = "", trust = "", root = ""] = process.argv;
const state = join(root, "state");
const filler = join(root, "filler");
mkdirSync(join(state, "store"), { recursive: true });
const { allowed } = await openAllowed({ after: () => {} }, path, readTrustDirectory(trust));

/** Leaves `keepBytes` free. */
function fill(keepBytes: number): void {
  const { bavail, bsize } = statfsSync(root);
  writeFileSync(filler, Buffer.alloc(Math.max(bavail * bsize - keepBytes, 0)));
}

const ends: string[] = [];
const messages: string[] = [];
const left: string[][] = [];
for (const onProgress of [
  (done: number, total: number): void => {
    if (done > total / 3 && !existsSync(filler)) fill(100_000);
  },
  // It is still full: told before anything is written.
  (): void => {},
  (): void => {},
]) {
  if (ends.length === 2) rmSync(filler);
  try {
    await stageRelease(hostDisk, state, allowed, onProgress);
    ends.push("done");
  } catch (error) {
    ends.push((error as SealiftError).code);
    messages.push(reasonOf(error));
  }
  left.push(readdirSync(join(state, "store")));
}
process.stdout.write(JSON.stringify({ ends, messages, left, stored: storedReleases(state) } satisfies SmallDiskReport));
