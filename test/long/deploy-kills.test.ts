/**
 * SIGKILL of Sealift before and after every journal write of install, upgrade, rollback, config apply, uninstall,
 * rotate, restore and restore --new-host, and once more a moment later, in the middle of what follows; some of the
 * recoveries are killed too. `placing` is a restore to a new host before it has a journal: at every seventh change of
 * the directory in which the site is put together. After each the site is whole: old or new. Writes test/evidence/deploy-kills.json after each kill, and
 * goes on from there if it was stopped. Of the moves between releases the one with the fewest kills so far is next. SEALIFT_TEST_SEED (1)
 * decides the moments, the delays and the recoveries that are killed; another seed begins anew.
 * SEALIFT_TEST_LOCK is a file that others lock too for what makes the machine busy: it is held while kills are
 * made, some minutes at a time. SEALIFT_TEST_SECONDS ends the sitting in order after so long. SEALIFT_TEST_OPERATIONS
 * (`restore,new-host`) are the only ones that this sitting kills.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { random } from "../support/faulty-disk.ts";
import type { KillPoint } from "../support/kill-at.ts";
import { KILLED_OPERATIONS, KillCampaign, type KilledOperation, type KillOutcome } from "../support/kill-campaign.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18_743;
const DELAY_MAX_MS = 3_000;
const RECOVER_WRITES = 8;
/** Then a new site begins, on an engine with the other image store. */
const TURNS_OF_A_SITE = 30;
const FAILURES_MAX = 20;
const EVIDENCE = fileURLToPath(new URL("../evidence/deploy-kills.json", import.meta.url));
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const SITTING_MS = 1_000 * Number(process.env["SEALIFT_TEST_SECONDS"] ?? Number.POSITIVE_INFINITY);
const SHARE_MS = 4 * 60_000;
const ONLY = process.env["SEALIFT_TEST_OPERATIONS"]?.split(",");
/** "later": so many milliseconds after the write. "placing": of `new-host` alone. */
const MOMENTS = ["before", "after", "later", "placing"] as const;
const PLACING_STRIDE = 7;
type Moment = (typeof MOMENTS)[number];

interface Evidence {
  readonly seed: number;
  /** Of each sitting, by its number. */
  readonly commits: Record<string, string>;
  isComplete: boolean;
  readonly counts: { kills: number; recoveriesKilled: number; old: number; new: number; failed: number };
  readonly failures: string[];
  /** By operation, moment and journal write: where the journal stood, and what came of it. */
  readonly points: Record<KilledOperation, Record<Moment, Record<string, string>>>;
  /** What has been killed at all its journal writes, and how many there are. */
  readonly finished: Record<string, number>;
}

inOwnMachine(
  import.meta.url,
  "a site is whole after a kill at any point",
  () => {
    it(`every kill, seed ${SEED}`, async (t) => {
      const evidence = readEvidence();
      const machine = new Machine(t);
      const share = new Share();
      t.after(() => share.release());
      const isOver = (): boolean => ofThisSitting(evidence).length === 0 || performance.now() > SITTING_MS;
      for (let turn = 1; !isOver() && evidence.failures.length < FAILURES_MAX; turn += 1) {
        await share.take();
        if (turn % TURNS_OF_A_SITE === 0) await machine.discard();
        const seed = SEED * 1_000_003 + evidence.counts.kills * 101 + turn;
        await killAndGoOn(evidence, await machine.campaign(), random(seed)).catch(async (cause: unknown) => {
          evidence.counts.failed += 1;
          evidence.failures.push(String(cause instanceof Error ? cause.stack : cause).slice(0, 4_000));
          writeEvidence(evidence);
          // A site that is not whole is of no use any more.
          await machine.discard();
        });
      }
      evidence.isComplete = remaining(evidence).length === 0;
      writeEvidence(evidence);
      assert.deepEqual(evidence.failures, []);
    });
  },
  () => prepareReleases("first", "next"),
  24 * 3_600_000,
);

/** One kill, or, where none is left to make, one operation towards where there is. */
async function killAndGoOn(evidence: Evidence, campaign: KillCampaign, next: () => number): Promise<void> {
  const open = ofThisSitting(evidence);
  const possible = campaign.possible();
  const operation = leastKilled(evidence, open);
  if (!possible.includes(operation)) {
    await campaign.complete(towards(operation, possible));
    return;
  }
  const moments = open.filter((one) => one.operation === operation).map(({ moment }) => moment);
  const moment = moments[Math.floor(next() * moments.length)] ?? "before";
  const made = evidence.points[operation][moment];
  const journalWrite = count(made) + 1;
  const delayMs = moment === "later" ? 1 + Math.floor(next() * DELAY_MAX_MS) : 0;
  const point: KillPoint =
    moment === "placing"
      ? { journalWrite: journalWrite * PLACING_STRIDE, when: "before", counts: "placing" }
      : { journalWrite, when: moment === "before" ? "before" : "after", delayMs };
  const killsRecover = next() < 1 / 3;
  const recoverPoint: KillPoint = { journalWrite: 1 + Math.floor(next() * RECOVER_WRITES), when: "after" };
  const name = `${operation} ${moment} ${journalWrite}${delayMs > 0 ? ` + ${delayMs} ms` : ""}`;
  // It counts as made also if what comes of it is a failure: that one is told by itself.
  made[journalWrite] = "not whole afterwards";
  let outcome: KillOutcome;
  try {
    outcome = await campaign.kill({ operation, point, ...(killsRecover && { recoverPoint }) });
  } catch (cause) {
    throw new Error(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const { wasKilled, wasRecoverKilled, at, result, seconds } = outcome;
  // "later" may come when it is over; only at the others its end says that there are no more writes.
  if (wasKilled || moment === "later") {
    const later = delayMs > 0 ? ` + ${delayMs} ms` : "";
    const recovery = wasRecoverKilled ? `, recover killed at ${recoverPoint.journalWrite}` : "";
    made[journalWrite] = `${at}${later}: ${wasKilled ? result : "had ended"}${recovery}, ${seconds.toFixed(0)} s`;
  } else {
    delete made[journalWrite];
    evidence.finished[`${operation} ${moment}`] = journalWrite - 1;
  }
  if (moment === "later" && journalWrite === evidence.finished[`${operation} after`]) {
    evidence.finished[`${operation} later`] = journalWrite;
  }
  if (wasKilled) {
    evidence.counts.kills += 1;
    evidence.counts[result] += 1;
    if (wasRecoverKilled) evidence.counts.recoveriesKilled += 1;
  }
  writeEvidence(evidence);
}

function ofThisSitting(evidence: Evidence): ReturnType<typeof remaining> {
  return remaining(evidence).filter(({ operation }) => ONLY?.includes(operation) ?? true);
}

/** What is left of every write first, and then of the moments later. */
function remaining({ finished }: Evidence): { operation: KilledOperation; moment: Moment }[] {
  const open = KILLED_OPERATIONS.flatMap((operation) => MOMENTS.map((moment) => ({ operation, moment })))
    .filter(({ operation, moment }) => moment !== "placing" || operation === "new-host")
    .filter(({ operation, moment }) => !(`${operation} ${moment}` in finished));
  const atWrites = open.filter(({ moment }) => moment !== "later");
  return atWrites.length > 0 ? atWrites : open;
}

/**
 * A change of the configuration takes the steps of an upgrade, so it comes behind it; after an uninstall all has to
 * be installed again, so that comes last.
 */
function leastKilled({ points }: Evidence, open: ReturnType<typeof remaining>): KilledOperation {
  const kills = (operation: KilledOperation): number =>
    MOMENTS.reduce((sum, moment) => sum + count(points[operation][moment]), 0);
  const rank = (operation: KilledOperation): number => ["config", "uninstall"].indexOf(operation);
  const [least = "install"] = open
    .map(({ operation }) => operation)
    .toSorted((a, b) => rank(a) - rank(b) || kills(a) - kills(b));
  return least;
}

/** An operation that is possible here and leads to where `wanted` is. */
function towards(wanted: KilledOperation, possible: readonly KilledOperation[]): KilledOperation {
  if (possible.includes("install")) return "install";
  if (!possible.includes("uninstall")) return "new-host";
  if (wanted === "rollback" && possible.includes("upgrade")) return "upgrade";
  if (wanted === "upgrade" && possible.includes("rollback")) return "rollback";
  return "uninstall";
}

/** The machine's turn among others who lock the same file. */
class Share {
  readonly #file = process.env["SEALIFT_TEST_LOCK"];
  #holder: ChildProcess | undefined;
  #until = 0;

  /** Returns when it is held, and will be for the time that one kill takes. */
  async take(): Promise<void> {
    if (this.#file === undefined || (this.#holder && performance.now() < this.#until)) return;
    await this.release();
    const holder = spawn("flock", [this.#file, "sh", "-c", "echo held; read end"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    await once(holder.stdout, "data");
    this.#holder = holder;
    this.#until = performance.now() + SHARE_MS;
  }

  async release(): Promise<void> {
    if (!this.#holder) return;
    const ended = once(this.#holder, "close");
    this.#holder.stdin?.end();
    await ended;
    this.#holder = undefined;
  }
}

/** The engine and the site, made anew when one was found not whole. */
class Machine {
  readonly #context: { after(work: () => Promise<void>): void };
  #directory: string | undefined;
  #site: RunningSite | undefined;
  #campaign: KillCampaign | undefined;
  #count = 0;

  constructor(context: { after(work: () => Promise<void>): void }) {
    this.#context = context;
    context.after(() => this.discard());
  }

  async campaign(): Promise<KillCampaign> {
    if (this.#campaign) return this.#campaign;
    this.#directory ??= await scratch(this.#context);
    this.#count += 1;
    const directory = join(this.#directory, String(this.#count));
    await mkdir(directory);
    this.#site = await RunningSite.start(directory, this.#count % 2 === 1 ? "classic" : "containerd");
    this.#campaign = new KillCampaign(this.#site, directory, PORT);
    return this.#campaign;
  }

  async discard(): Promise<void> {
    await this.#site?.engine.stop();
    if (this.#directory) await rm(join(this.#directory, String(this.#count)), { recursive: true, force: true });
    this.#site = undefined;
    this.#campaign = undefined;
  }
}

function readEvidence(): Evidence {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  const found = existsSync(EVIDENCE) ? (JSON.parse(readFileSync(EVIDENCE, "utf8")) as Evidence) : undefined;
  if (found?.seed === SEED && !found.isComplete) {
    if (!Object.values(found.commits).includes(commit)) found.commits[count(found.commits) + 1] = commit;
    // An operation that joined the campaign when it was under way.
    for (const operation of KILLED_OPERATIONS) found.points[operation] = { ...moments(), ...found.points[operation] };
    return found;
  }
  return {
    seed: SEED,
    commits: { 1: commit },
    isComplete: false,
    counts: { kills: 0, recoveriesKilled: 0, old: 0, new: 0, failed: 0 },
    failures: [],
    points: Object.fromEntries(KILLED_OPERATIONS.map((operation) => [operation, moments()])) as Evidence["points"],
    finished: {},
  };
}

function moments(): Record<Moment, Record<string, string>> {
  return { before: {}, after: {}, later: {}, placing: {} };
}

function count(record: Readonly<Record<string, unknown>>): number {
  return Object.keys(record).length;
}

function writeEvidence(evidence: Evidence): void {
  writeFileSync(`${EVIDENCE}.new`, `${JSON.stringify(evidence, null, 2)}\n`);
  renameSync(`${EVIDENCE}.new`, EVIDENCE);
}
