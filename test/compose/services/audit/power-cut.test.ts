/**
 * The log on a disk that forgets what was not synced: killed, told of errors, and without power, at every call
 * that it makes to it.
 */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import type { AuditLog, AuditLogOptions } from "../../../../compose/services/audit/src/audit-log.ts";
import { readCheckpoint } from "../../../../compose/services/audit/src/checkpoint.ts";
import { leafHash, rootOf } from "../../../../compose/services/audit/src/merkle.ts";
import { scratch } from "../../../support/scratch.ts";
import { entry, ORIGIN, openLog, testKey } from "./audit-directory.ts";
import { PowerCutDisk, type Survives } from "./power-cut-disk.ts";

const APPENDS = 9;
/** With a SEED of somebody's own every call is tried, else some. */
const SEED = Number(process.env["SEED"] ?? 20_261_121);
const STEP = process.env["SEED"] === undefined ? 5 : 1;
const SMALL: Partial<AuditLogOptions> = { checkpointEntries: 5, segmentBytes: 20_000 };

function randomFrom(start: number): () => number {
  let seed = (start % 2_147_483_646) + 1;
  return () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
}

/** What somebody outside was told, which has to stay true. */
class Told {
  readonly acknowledged: string[] = [];
  readonly #checkpoints: Buffer[] = [];

  async seeCheckpoint(directory: string): Promise<void> {
    const note = await readFile(join(directory, "checkpoint")).catch(() => undefined);
    if (note && !this.#checkpoints.at(-1)?.equals(note)) this.#checkpoints.push(note);
  }

  async requireIn(log: AuditLog, when: string): Promise<void> {
    const found: string[] = [];
    for await (const { entry } of log.lastEntries(1_000_000)) found.push(entry.toString());
    assert.deepEqual(
      this.acknowledged.map((text) => found.includes(text)),
      this.acknowledged.map(() => true),
      when,
    );
    assert.equal(new Set(found).size, found.length, `${when}: an entry is there twice`);
    for (const note of this.#checkpoints) {
      const { size, root } = readCheckpoint({ origin: ORIGIN, privateKey: testKey }, note);
      assert.ok(found.length >= size, `${when}: ${size} entries were under a checkpoint, ${found.length} are there`);
      assert.ok(root.equals(rootOf(found.slice(0, size).map((text) => leafHash(Buffer.from(text))))), when);
    }
  }
}

/** Appends one after the other until one is refused; large enough that segments are left. */
async function appendSome(log: AuditLog, told: Told, directory: string, from: number, count = APPENDS): Promise<void> {
  for (let i = from; i < from + count; i += 1) {
    const appended = await log.append([entry(i, 3_000)]).catch(() => {});
    await told.seeCheckpoint(directory);
    if (!appended) return;
    told.acknowledged.push(entry(i, 3_000).toString());
  }
}

const dead = (): never => {
  throw Object.assign(new Error("dead"), { code: "EIO" });
};

async function emptyDisk(t: TestContext): Promise<{ directory: string; disk: PowerCutDisk }> {
  const directory = join(await scratch(t), "log");
  await mkdir(directory);
  return { directory, disk: new PowerCutDisk(directory) };
}

/** What is left must open, hold all that was told, and take more. */
async function requireAfterCut(
  t: TestContext,
  disk: PowerCutDisk,
  told: Told,
  survives: Survives,
  when: string,
): Promise<void> {
  const left = join(await scratch(t), "left");
  await disk.cutPower(left, survives);
  const log = await openLog(left, SMALL).catch((cause) => {
    throw new Error(`${when}: it does not open: ${cause}`, { cause });
  });
  await told.requireIn(log, when);
  await log.append([entry(1_000)]);
  await log.close();
}

/** Dies at the first call that is `what`, once `before` was called, if it is given. */
function dieAt(disk: PowerCutDisk, what: string, before?: string): void {
  let isNear = before === undefined;
  let isDead = false;
  disk.onCall = (_, call) => {
    isDead ||= isNear && call === what;
    isNear ||= call === before;
    if (isDead) dead();
  };
}

interface Killed {
  readonly directory: string;
  readonly disk: PowerCutDisk;
  readonly told: Told;
  /** False if it came to its end in fewer calls. */
  readonly hasDied: boolean;
}

/** A log that is begun, takes entries and makes a checkpoint, and dies at call `last` of its disk. */
async function killedAt(t: TestContext, last: number): Promise<Killed> {
  const { directory, disk } = await emptyDisk(t);
  const told = new Told();
  disk.onCall = (calls) => {
    if (calls >= last) dead();
  };
  const log = await openLog(directory, { ...SMALL, disk }).catch(() => {});
  if (log) await appendSome(log, told, directory, 0);
  await log?.checkpoint().catch(() => {});
  const hasDied = disk.calls >= last;
  disk.onCall = dead;
  await log?.close();
  await told.seeCheckpoint(directory);
  return { directory, disk, told, hasDied };
}

const ROOT_SYNC = ["sync ", "rename checkpoint"] as const;

test("who starts where a checkpoint can be seen that is not durable makes it durable", async (t) => {
  const { directory, disk } = await emptyDisk(t);
  const told = new Told();
  const killed = await openLog(directory, { ...SMALL, disk });
  await appendSome(killed, told, directory, 0, 2);
  dieAt(disk, ...ROOT_SYNC);
  await assert.rejects(killed.checkpoint());
  await killed.close();
  disk.onCall = () => {};
  const next = await openLog(directory, { ...SMALL, disk });
  await appendSome(next, told, directory, 2, 1);
  disk.onCall = dead;
  await next.close();
  assert.equal(told.acknowledged.length, 3);
  await requireAfterCut(t, disk, told, () => false, "nothing survives");
});

test("a checkpoint that outlives the power has the topmost directory of its tiles", async (t) => {
  const { directory, disk } = await emptyDisk(t);
  const told = new Told();
  const log = await openLog(directory, { ...SMALL, disk });
  await appendSome(log, told, directory, 0, 2);
  dieAt(disk, ...ROOT_SYNC);
  await assert.rejects(log.checkpoint());
  await log.close();
  await requireAfterCut(t, disk, told, (what) => what.includes("checkpoint"), "only the checkpoint survives");
});

test("an entry that was written by one that was killed is durable before a checkpoint covers it", async (t) => {
  const { directory, disk } = await emptyDisk(t);
  const told = new Told();
  const killed = await openLog(directory, { ...SMALL, disk });
  await appendSome(killed, told, directory, 0, 1);
  dieAt(disk, "write segments/0000000000000000");
  await appendSome(killed, told, directory, 1, 1);
  assert.equal(told.acknowledged.length, 1);
  disk.onCall = dead;
  await killed.close();
  dieAt(disk, ...ROOT_SYNC);
  await assert.rejects(openLog(directory, { ...SMALL, disk }));
  await told.seeCheckpoint(directory);
  const note = readCheckpoint({ origin: ORIGIN, privateKey: testKey }, await readFile(join(directory, "checkpoint")));
  assert.equal(note.size, 2);
  await requireAfterCut(t, disk, told, () => false, "nothing survives");
});

test("a segment that is used again is not seen under its old name with its new head", async (t) => {
  const { directory, disk } = await emptyDisk(t);
  const told = new Told();
  const log = await openLog(directory, { ...SMALL, disk });
  await appendSome(log, told, directory, 0, 4);
  await log.checkpoint();
  dieAt(disk, "rename segments/0000000000000006");
  await appendSome(log, told, directory, 4, 4);
  assert.equal(told.acknowledged.length, 6);
  disk.onCall = dead;
  await log.close();
  await requireAfterCut(t, disk, told, () => false, "nothing survives");
});

test("tiles whose checkpoint failed to be synced are not written again: the disk may have it", async (t) => {
  const { directory, disk } = await emptyDisk(t);
  const log = await openLog(directory, { disk });
  await log.append(Array.from({ length: 300 }, (_, i) => entry(i)));
  dieAt(disk, ...ROOT_SYNC);
  await assert.rejects(log.checkpoint());
  assert.equal(log.checkpointSize, 0);
  const calls: string[] = [];
  disk.onCall = (_, call) => void calls.push(call);
  await log.append([entry(300)]);
  await log.checkpoint();
  assert.equal(log.checkpointSize, 301);
  assert.ok(calls.includes("open tile/entries/001.p/45"));
  assert.deepEqual(
    calls.filter((call) => /^open tile.*\/\d{3}$/.test(call)),
    [],
  );
  await log.close();
});

test("whenever power goes, nothing acknowledged is lost and every checkpoint stays true", async (t) => {
  let isPast = false;
  for (let last = 1; !isPast; last += STEP) {
    const { disk, told, hasDied } = await killedAt(t, last);
    isPast = !hasDied;
    const random = randomFrom(SEED + last);
    await requireAfterCut(t, disk, told, () => false, `cut at call ${last}, nothing survives`);
    await requireAfterCut(t, disk, told, () => random() < 0.5, `cut at call ${last}, some survives`);
  }
});

test("whenever it is killed, the next one's word holds through a power cut too", async (t) => {
  let isPast = false;
  for (let last = 1; !isPast; last += STEP) {
    const { directory, disk, told, hasDied } = await killedAt(t, last);
    isPast = !hasDied;
    const random = randomFrom(SEED + last);
    const secondLast = disk.calls + 1 + Math.floor(random() * 90);
    disk.onCall = (calls) => {
      if (calls >= secondLast) dead();
    };
    const next = await openLog(directory, { ...SMALL, disk }).catch(() => {});
    await told.seeCheckpoint(directory);
    if (next) await appendSome(next, told, directory, 100, 4);
    disk.onCall = dead;
    await next?.close();
    await told.seeCheckpoint(directory);
    const when = `killed at call ${last}, cut at ${secondLast}`;
    await requireAfterCut(t, disk, told, () => false, `${when}, nothing survives`);
    await requireAfterCut(t, disk, told, () => random() < 0.5, `${when}, some survives`);
  }
});

test("whichever call fails once, what goes on after it and is cut then loses nothing", async (t) => {
  let isPast = false;
  for (let failing = 1; !isPast; failing += STEP) {
    const { directory, disk } = await emptyDisk(t);
    const told = new Told();
    const random = randomFrom(SEED + failing);
    const last = failing + 1 + Math.floor(random() * 40);
    disk.onCall = (calls) => {
      if (calls === failing) throw Object.assign(new Error("full"), { code: "ENOSPC" });
      if (calls >= last) dead();
    };
    const log = await openLog(directory, { ...SMALL, disk }).catch(() => {});
    for (let i = 0; log && i < 3; i += 1) {
      await appendSome(log, told, directory, i * 10, 3);
      await log.checkpoint().catch(() => {});
      await told.seeCheckpoint(directory);
    }
    isPast = disk.calls < failing;
    disk.onCall = dead;
    await log?.close();
    const when = `call ${failing} failed, cut at ${last}`;
    await requireAfterCut(t, disk, told, () => true, `${when}, all survives`);
    await requireAfterCut(t, disk, told, () => random() < 0.5, `${when}, some survives`);
  }
});
