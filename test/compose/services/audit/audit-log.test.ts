import assert from "node:assert/strict";
import {
  appendFile,
  constants,
  copyFile,
  cp,
  type FileHandle,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AppendRefused, type AuditLog, type RefusalReason } from "../../../../compose/services/audit/src/audit-log.ts";
import { CheckpointError, readCheckpoint } from "../../../../compose/services/audit/src/checkpoint.ts";
import { hostDisk } from "../../../../compose/services/audit/src/durable-files.ts";
import { leafHash, rootOf } from "../../../../compose/services/audit/src/merkle.ts";
import { PAGE_BYTES, SegmentDamagedError } from "../../../../compose/services/audit/src/segment.ts";
import { TreeDamagedError } from "../../../../compose/services/audit/src/tile-tree.ts";
import { scratch } from "../../../support/scratch.ts";
import { breakableDisk, entry, keyFromSeed, ORIGIN, openLog, testKey, treelessDisk } from "./audit-directory.ts";

const signer = { origin: ORIGIN, privateKey: testKey };

async function checkpointOf(directory: string) {
  return readCheckpoint(signer, await readFile(join(directory, "checkpoint")));
}

async function contents(log: AuditLog): Promise<string[]> {
  const found: string[] = [];
  for await (const { index, entry } of log.lastEntries(1_000_000)) {
    assert.equal(index, found.length);
    found.push(entry.toString());
  }
  return found;
}

const refusal = (reason: RefusalReason) => (cause: unknown) =>
  cause instanceof AppendRefused && cause.reason === reason;
const numbers = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);

test("entries are numbered in their order, and a checkpoint covers them when the log is closed", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  assert.equal((await checkpointOf(directory)).size, 0);
  assert.deepEqual(await log.append([entry(0), entry(1)]), [
    { index: 0, leafHash: leafHash(entry(0)) },
    { index: 1, leafHash: leafHash(entry(1)) },
  ]);
  const all = await Promise.all(numbers(998, 2).map((i) => log.append([entry(i)])));
  assert.deepEqual(
    all.map(([appended]) => appended?.index),
    numbers(998, 2),
  );
  await log.close();
  const { size, root } = await checkpointOf(directory);
  assert.equal(size, 1000);
  assert.ok(root.equals(rootOf(numbers(1000).map((i) => leafHash(entry(i))))));
  const again = await openLog(directory);
  assert.deepEqual(
    await contents(again),
    numbers(1000).map((i) => entry(i).toString()),
  );
  assert.deepEqual((await again.append([entry(1000)]))[0]?.index, 1000);
  await again.close();
});

test("what arrives in one turn, or during a write, is written together", async (t) => {
  const disk = breakableDisk();
  const log = await openLog(await scratch(t), { disk, segmentBytes: 1024 * 1024 });
  await sleep(50);
  const { write } = disk;
  let more: Promise<unknown>[] = [];
  disk.write = async (...call) => {
    more = numbers(100, 200).map((i) => log.append([entry(i)]));
    await sleep(5);
    await write(...call);
  };
  const before = disk.calls;
  await Promise.all(numbers(200).map((i) => log.append([entry(i)])));
  disk.write = write;
  assert.equal(disk.calls - before, 1);
  assert.equal(more.length, 100);
  await Promise.all(more);
  assert.equal(disk.calls - before, 2);
  await log.close();
});

test("a checkpoint comes after so many entries and after so long, and partial tiles go when the tile is full", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory, { checkpointEntries: 100, checkpointMs: 50 });
  for (const i of numbers(300)) await log.append([entry(i)]);
  while ((await checkpointOf(directory)).size < 300) await sleep(10);
  // What the checkpoint made needless goes after it.
  await log.close();
  assert.deepEqual((await readdir(join(directory, "tile/0"))).sort(), ["000", "001.p"]);
  assert.deepEqual((await readdir(join(directory, "tile/entries"))).sort(), ["000", "001.p"]);
});

test("segments follow one another and go when the tree has their entries", async (t) => {
  const directory = await scratch(t);
  const disk = treelessDisk();
  const { makeDirectory } = disk;
  const log = await openLog(directory, { disk });
  for (const i of numbers(40)) await log.append([entry(i, 3000)]);
  const segments = async () => (await readdir(join(directory, "segments"))).sort();
  const all = ["0000000000000000", "0000000000000015", "0000000000000030"];
  assert.deepEqual(await segments(), all);
  await assert.rejects(log.checkpoint());
  Object.assign(disk, { makeDirectory: hostDisk.makeDirectory });
  await log.checkpoint();
  // Of those that were left one is the next segment already.
  assert.deepEqual(await segments(), ["0000000000000030", "spare"]);
  const { ino } = await stat(join(directory, "segments/spare"));
  Object.assign(disk, { makeDirectory });
  for (const i of numbers(15, 40)) await log.append([entry(i, 3000)]);
  assert.deepEqual(await segments(), ["0000000000000030", "0000000000000045"]);
  assert.equal((await stat(join(directory, "segments/0000000000000045"))).ino, ino);
  const copy = await crashed(t, directory);
  await log.close();
  const again = await openLog(copy);
  assert.equal((await contents(again)).length, 55, "nothing of what the file held before");
  await again.close();
});

/** A copy of the directory as a power cut would leave it at this moment. */
async function crashed(t: { after(work: () => Promise<void>): void }, directory: string): Promise<string> {
  const copy = join(await scratch(t), "copy");
  await cp(directory, copy, { recursive: true });
  return copy;
}

test("after a crash every acknowledged entry is there, and the next ones follow", async (t) => {
  const directory = await scratch(t);
  const disk = breakableDisk();
  const log = await openLog(directory, { disk });
  for (const i of numbers(20)) await log.append([entry(i, 3000)]);
  await log.checkpoint();
  disk.makeDirectory = treelessDisk().makeDirectory;
  for (const i of numbers(20, 20)) await log.append([entry(i, 3000)]);
  const copy = await crashed(t, directory);
  await log.close();
  const again = await openLog(copy);
  assert.equal(again.size, 40);
  assert.equal((await checkpointOf(copy)).size, 40);
  assert.equal((await again.append([entry(40)]))[0]?.index, 40);
  await again.close();
  assert.equal((await contents(again)).length, 41);
});

test("segments are written past the kernel's copy, or through it where the file system takes no such writes", async (t) => {
  const isDirect = (flags: string | number): boolean => typeof flags === "number" && (flags & constants.O_DIRECT) !== 0;
  const refused = (): never => {
    throw Object.assign(new Error("not direct"), { code: "EINVAL" });
  };
  for (const [refusing, opened] of [
    ["nothing", [true]],
    ["open", [true, false]],
    ["write", [true, false]],
  ] as const) {
    const directory = await scratch(t);
    const disk = breakableDisk();
    const ways: boolean[] = [];
    const direct = new Set<FileHandle>();
    const { open, write } = disk;
    disk.open = async (path, flags) => {
      const isSegment = path.endsWith("spare") && typeof flags === "number";
      if (isSegment) ways.push(isDirect(flags));
      if (refusing === "open" && isDirect(flags)) refused();
      const file = await open(path, flags);
      if (isDirect(flags)) direct.add(file);
      return file;
    };
    disk.write = (file, ...rest) => (refusing === "write" && direct.has(file) ? refused() : write(file, ...rest));
    const log = await openLog(directory, { disk });
    assert.deepEqual(ways, opened, refusing);
    await log.append([entry(0)]);
    await log.close();
    assert.deepEqual(await contents(log), [entry(0).toString()]);
  }
});

test("a frame larger than any before it is whole, and the small one behind it too", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory, { segmentBytes: 1024 * 1024, disk: treelessDisk() });
  const sizes = [40, 3_000, 60_000, 20, 60_000, 40];
  for (const [i, size] of sizes.entries())
    await log.append([entry(i, size), entry(100 + i, size), entry(200 + i, size)]);
  const segment = await readFile(join(directory, "segments/0000000000000000"));
  const copy = await crashed(t, directory);
  await log.close();
  const again = await openLog(copy);
  assert.deepEqual(
    await contents(again),
    sizes.flatMap((size, i) => [0, 100, 200].map((from) => entry(from + i, size).toString())),
  );
  await again.close();
  // Of the frame before nothing is left behind the entries of a small one.
  const last = segment.lastIndexOf("SLFR");
  assert.equal(last % PAGE_BYTES, 0);
  assert.ok(segment.subarray(last + 16 + 32 + segment.readUInt32BE(last + 4)).every((byte) => byte === 0));
});

test("a torn last frame is cut off wherever it was torn, and nothing before it", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  for (const i of numbers(3)) await log.append([entry(i)]);
  await log.append([entry(3, 6000)]);
  const copy = await crashed(t, directory);
  await log.close();
  const segment = join(copy, "segments/0000000000000000");
  const bytes = await readFile(segment);
  const last = 4 * PAGE_BYTES;
  for (const kept of [0, 1, 20, 60, 4095, 4096, 6000]) {
    const torn = join(copy, `${kept}`);
    await mkdir(join(torn, "segments"), { recursive: true });
    await copyFile(join(copy, "checkpoint"), join(torn, "checkpoint"));
    const cut = Buffer.from(bytes);
    cut.fill(0, last + kept, last + 2 * PAGE_BYTES);
    await writeFile(join(torn, "segments/0000000000000000"), cut);
    const again = await openLog(torn);
    assert.equal(again.size, 3, `${kept} bytes kept`);
    assert.equal((await again.append([entry(3)]))[0]?.index, 3);
    await again.close();
  }
  // Torn in another order: the end got out, the beginning did not.
  const cut = Buffer.from(bytes);
  cut.fill(0, last, last + PAGE_BYTES);
  await writeFile(segment, cut);
  const again = await openLog(copy);
  assert.equal(again.size, 3);
  await again.close();
});

test("a segment damaged before its end is refused: what follows may have been acknowledged", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  for (const i of numbers(5)) await log.append([entry(i)]);
  const copy = await crashed(t, directory);
  await log.close();
  const segment = join(copy, "segments/0000000000000000");
  const bytes = await readFile(segment);
  bytes[3 * PAGE_BYTES + 70] = (bytes[3 * PAGE_BYTES + 70] ?? 0) ^ 1;
  await writeFile(segment, bytes);
  await assert.rejects(openLog(copy), SegmentDamagedError);
});

test("segments that are missing, doubled or no segments are refused", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory, { disk: treelessDisk() });
  for (const i of numbers(40)) await log.append([entry(i, 3000)]);
  const missing = await crashed(t, directory);
  const doubled = await crashed(t, directory);
  const foreign = await crashed(t, directory);
  const renamed = await crashed(t, directory);
  await log.close();
  await rm(join(missing, "segments/0000000000000015"));
  await assert.rejects(openLog(missing), SegmentDamagedError);
  await copyFile(join(doubled, "segments/0000000000000015"), join(doubled, "segments/0000000000000016"));
  await assert.rejects(openLog(doubled), SegmentDamagedError);
  await writeFile(join(foreign, "segments/0000000000000030"), Buffer.alloc(64 * 1024));
  await assert.rejects(openLog(foreign), SegmentDamagedError);
  await rm(join(renamed, "segments/0000000000000000"));
  await assert.rejects(openLog(renamed), SegmentDamagedError);
});

test("a checkpoint or tile that was changed is refused at the start", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  await log.append(numbers(300).map((i) => entry(i)));
  await log.close();
  const cases: readonly (readonly [string, (path: string) => Promise<void>, unknown])[] = [
    ["checkpoint", (path) => rm(path), TreeDamagedError],
    ["checkpoint", (path) => truncate(path, 20), CheckpointError],
    ["tile/0/001.p/44", (path) => truncate(path, 32), TreeDamagedError],
    ["tile/0/001.p/44", (path) => writeFile(path, Buffer.alloc(44 * 32)), TreeDamagedError],
    ["tile/1/000.p/1", (path) => rm(path), TreeDamagedError],
    ["tile/entries/001.p/44", (path) => appendFile(path, "x"), TreeDamagedError],
  ];
  for (const [path, change, kind] of cases) {
    const copy = await crashed(t, directory);
    await change(join(copy, path));
    await assert.rejects(openLog(copy), kind as typeof Error, path);
  }
  const other = { origin: ORIGIN, privateKey: keyFromSeed(Buffer.alloc(32, 9)) };
  await assert.rejects(openLog(directory, { signer: other }), CheckpointError);
});

test("after a failed write nothing is acknowledged any more until a new start", async (t) => {
  for (const torn of [false, true]) {
    const directory = await scratch(t);
    const disk = breakableDisk();
    const log = await openLog(directory, { disk });
    await log.append([entry(0)]);
    await sleep(50);
    disk.failing = "EIO";
    disk.torn = torn;
    const waiting = [log.append([entry(1, 6000)]), log.append([entry(2)])];
    for (const append of waiting) await assert.rejects(append, refusal("broken"));
    disk.failing = undefined;
    await assert.rejects(log.append([entry(3)]), refusal("broken"));
    assert.equal(log.state, "broken");
    await log.close();
    assert.equal((await checkpointOf(directory)).size, 1, "what was acknowledged is under a checkpoint");
    const again = await openLog(directory);
    assert.deepEqual(await contents(again), [entry(0).toString()]);
    await again.close();
  }
});

test("on a full disk appends are refused, and taken again when there is room", async (t) => {
  const directory = await scratch(t);
  const disk = breakableDisk();
  const log = await openLog(directory, { disk });
  disk.failing = "ENOSPC";
  const { write } = disk;
  // What lies in a prepared segment needs no room.
  disk.write = (file, bytes, position) => (bytes.length < 20_000 ? hostDisk : { write }).write(file, bytes, position);
  disk.writeHere = hostDisk.writeHere;
  let taken = 0;
  await assert.rejects(async () => {
    for (;;) taken += (await log.append([entry(taken, 3000)])).length;
  }, refusal("full"));
  assert.ok(taken >= 15);
  const state = (): string => log.state;
  assert.equal(state(), "full");
  await assert.rejects(log.append([entry(taken)]), refusal("full"));
  await assert.rejects(log.checkpoint());
  disk.failing = undefined;
  while (state() !== "open") await sleep(20);
  assert.equal((await log.append([entry(taken)]))[0]?.index, taken);
  await log.close();
  assert.equal((await checkpointOf(directory)).size, taken + 1);
});

test("appends wait for a tree that has fallen behind", async (t) => {
  const disk = breakableDisk();
  const slow = {
    ...disk,
    async makeDirectory(path: string) {
      if (path.includes("/tile/")) await sleep(150);
      await disk.makeDirectory(path);
    },
  };
  const log = await openLog(await scratch(t), { segmentBytes: 8 * 1024 * 1024, disk: slow });
  const large = Buffer.alloc(65_000, "x");
  // What may wait, what was being written when that was reached, and what goes with it.
  const mayWait = (16 * 1024 * 1024) / (large.length + 2) + 2;
  for (let i = 0; i < 600; i += 1) {
    await log.append([large]);
    const waiting = log.size - log.checkpointSize;
    assert.ok(waiting <= mayWait, `${waiting} wait for the tree after ${log.size}`);
  }
  assert.equal(log.size, 600);
  await log.close();
});

test("a closed log refuses, and what was queued before is acknowledged", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  const waiting = numbers(50).map((i) => log.append([entry(i)]));
  const closed = log.close();
  await assert.rejects(log.append([entry(50)]), refusal("closed"));
  assert.equal((await Promise.all(waiting)).length, 50);
  await closed;
  assert.equal((await checkpointOf(directory)).size, 50);
});

test("entries of no bytes and of more than 65,535 are refused, and one of 65,535 is not", async (t) => {
  const log = await openLog(await scratch(t), { segmentBytes: 256 * 1024 });
  await assert.rejects(log.append([Buffer.alloc(0)]), RangeError);
  await assert.rejects(log.append([Buffer.alloc(65_536)]), RangeError);
  assert.equal((await log.append([Buffer.alloc(65_535, 1)]))[0]?.index, 0);
  await log.close();
});

// Of 300 entries there are hashes above the first level too, which few appends leave as they are.
for (const size of [0, 300]) {
  test(`whichever call to the disk is the last one, a log of ${size} loses nothing acknowledged and has one history`, async (t) => {
    const grown = await scratch(t);
    const before = numbers(size).map((i) => entry(i));
    if (size > 0) {
      const start = await openLog(grown);
      await Promise.all(before.map((one) => start.append([one])));
      await start.close();
    }
    let isPast = false;
    for (let last = 1; !isPast; last += 1) {
      const directory = await scratch(t);
      await cp(grown, directory, { recursive: true });
      const disk = breakableDisk();
      const acknowledged = before.map(String);
      disk.torn = last % 2 === 0;
      disk.onCall = (calls) => {
        if (calls === last) disk.failing = "EIO";
      };
      const log = await openLog(directory, { disk, checkpointEntries: 5, segmentBytes: 20_000 }).catch(() => {});
      for (let i = 0; log && i < 11; i += 1) {
        const appended = await log.append([entry(i, 1500)]).catch(() => {});
        if (!appended) break;
        acknowledged.push(entry(i, 1500).toString());
      }
      isPast = disk.failing === undefined;
      // Nothing is written any more: as if power had gone.
      disk.failing = "EIO";
      await log?.close();
      const note = await readFile(join(directory, "checkpoint")).catch(() => undefined);
      const again = await openLog(directory);
      const found = await contents(again);
      assert.deepEqual(found.slice(0, acknowledged.length), acknowledged, `call ${last}`);
      assert.ok(found.length <= acknowledged.length + 1, `call ${last}`);
      if (note) {
        const { size, root } = readCheckpoint(signer, note);
        assert.ok(root.equals(rootOf(found.slice(0, size).map((text) => leafHash(Buffer.from(text))))), `call ${last}`);
      }
      await again.append([entry(99)]);
      await again.close();
    }
  });
}
