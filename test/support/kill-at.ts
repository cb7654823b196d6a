/**
 * Runs a real verb and ends it with SIGKILL at a chosen write to its operation's journal. Nothing in the
 * product knows of it: a module that Node loads first (kill-preload.ts) stands between it and node:fs.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CommandResult, endOf, startSealift } from "./command-line.ts";

const PRELOAD = new URL("./kill-preload.ts", import.meta.url).href;

export interface KillPoint {
  /** From 1; the first one is the operation's `begin`. With `counts` the number of the call that is counted. */
  readonly journalWrite: number;
  /** Not writes to the journal but what changes the directory in which a site is put together (`.….restore`). */
  readonly counts?: "placing";
  /** Before anything of the record is written, or after it is on stable storage. */
  readonly when: "before" | "after";
  /** With `after`: so much later, in the middle of the step that the record announces. */
  readonly delayMs?: number;
}

export interface KilledResult extends CommandResult {
  /** False if it ended by itself, because it has fewer writes. */
  readonly wasKilled: boolean;
}

export async function runKilledAt(args: readonly string[], point: KillPoint): Promise<KilledResult> {
  return run(args, {
    SEALIFT_TEST_KILL_AT: String(point.journalWrite),
    SEALIFT_TEST_KILL_WHEN: point.when,
    SEALIFT_TEST_KILL_DELAY_MS: String(point.delayMs ?? 0),
    ...(point.counts && { SEALIFT_TEST_KILL_COUNTS: point.counts }),
  });
}

/** Runs it to its end: the journal writes that there are to be killed at. @throws if it does not succeed */
export async function countJournalWrites(args: readonly string[]): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-count-"));
  try {
    const file = join(directory, "writes");
    const { exit, stdout, stderr } = await run(args, { SEALIFT_TEST_COUNT_FILE: file });
    if (exit !== 0) throw new Error(`exit ${exit}\n${stdout}${stderr}`);
    return (await readFile(file, "utf8").catch(() => "")).length;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function run(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<KilledResult> {
  const { signal, ...result } = await endOf(startSealift(args, environment, ["--import", PRELOAD]), args);
  return { ...result, wasKilled: signal === "SIGKILL" };
}
