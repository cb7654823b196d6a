/** A log that was restored continues the one before, and both readers say so: the service's and ours. */
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import type { AuditLog } from "../../../compose/services/audit/src/audit-log.ts";
import { CheckpointError, signCheckpoint } from "../../../compose/services/audit/src/checkpoint.ts";
import { beginEpoch, epochEntry, parsePredecessor } from "../../../compose/services/audit/src/epoch.ts";
import { closedEpochPath, verifyEpochs } from "../../../installer/audit/epochs.ts";
import { verifyAuditLog } from "../../../installer/audit/verify-log.ts";
import type { BackupLog } from "../../../installer/backup/backup-manifest.ts";
import { layDownEpochs, requireEpoch } from "../../../installer/lifecycle/restore-log.ts";
import { hostDisk } from "../../../installer/site/disk.ts";
import { entry, openLog } from "../../compose/services/audit/audit-directory.ts";
import { scratch } from "../../support/scratch.ts";

const NOW = new Date("2026-11-21T12:00:00.000Z");

interface OneLog {
  readonly directory: string;
  readonly key: KeyObject;
  readonly origin: string;
}

function throwsCode(code: string, work: () => unknown): void {
  assert.throws(
    work,
    (cause) => (cause instanceof SealiftError ? assert.equal(cause.code, code) : assert.fail(String(cause))) ?? true,
  );
}

async function write(log: OneLog, count: number): Promise<void> {
  const opened = await open(log);
  await beginEpoch(opened, log.directory, NOW);
  await opened.append(Array.from({ length: count }, (_, i) => entry(opened.size + i)));
  await opened.close();
}

function open({ directory, key, origin }: OneLog): Promise<AuditLog> {
  return openLog(directory, { signer: { origin, privateKey: key } });
}

const pem = (key: KeyObject): Buffer =>
  Buffer.from(createPublicKey(key.export({ type: "pkcs8", format: "pem" })).export({ type: "spki", format: "pem" }));

function newLog(directory: string, name: string): OneLog {
  return {
    directory: join(directory, name),
    key: generateKeyPairSync("ed25519").privateKey,
    origin: `site.example/${name}`,
  };
}

/** As it is in a backup: the newest epoch first. */
function logsOf({ directory }: OneLog): BackupLog[] {
  const { closed, ...present } = verifyEpochs(directory);
  const part = (path: string, { origin, entries, root }: typeof present): BackupLog => ({
    path,
    origin,
    size: entries,
    root,
  });
  return [
    part("audit-log", present),
    ...closed.map((one) => part(`audit-log/epochs/${one.epoch}`, { ...present, ...one })),
  ];
}

/** `log` as a backup has it, restored into `next`, which then has `count` entries of its own. */
async function restored(log: OneLog, next: OneLog, count: number): Promise<BackupLog[]> {
  const backup = `${log.directory}-backup`;
  await cp(log.directory, backup, { recursive: true });
  await rm(join(backup, "segments"), { recursive: true });
  await writeFile(join(backup, "key.pub"), pem(log.key));
  const logs = logsOf(log);
  await (await open(next)).close();
  layDownEpochs(hostDisk, next.directory, backup, logs);
  layDownEpochs(hostDisk, next.directory, backup, logs);
  await write(next, count);
  return logs;
}

async function twoEpochs(t: TestContext): Promise<{ first: OneLog; second: OneLog; directory: string }> {
  const directory = await scratch(t);
  const [first, second] = [newLog(directory, "first"), newLog(directory, "second")];
  await write(first, 300);
  await restored(first, second, 10);
  return { first, second, directory };
}

test("a log whose first entry is JSON and no event is a first epoch", async (t) => {
  const log = newLog(await scratch(t), "odd");
  const opened = await open(log);
  await opened.append([Buffer.from("null")]);
  await opened.close();
  assert.deepEqual([verifyEpochs(log.directory).epoch, verifyEpochs(log.directory).entries], [1, 1]);
});

test("a restored log begins with the checkpoint of the one before, and both hold", async (t) => {
  const { first, second, directory } = await twoEpochs(t);
  const seen = new Map<number, number>();
  const found = verifyEpochs(second.directory, {
    key: { publicKey: createPublicKey(pem(second.key)), origin: undefined },
    onClosedEntry: (epoch) => seen.set(epoch, (seen.get(epoch) ?? 0) + 1),
  });
  assert.deepEqual([found.epoch, found.entries, found.origin], [2, 11, second.origin]);
  assert.deepEqual(
    found.closed.map(({ epoch, entries, origin }) => [epoch, entries, origin]),
    [[1, 300, first.origin]],
  );
  assert.deepEqual([...seen], [[1, 300]]);
  requireEpoch(second.directory, logsOf(first));
  // Started once more, it does not begin another.
  const log = await open(second);
  assert.equal(await beginEpoch(log, second.directory, NOW), undefined);
  await log.close();
  const third = newLog(directory, "third");
  await restored(second, third, 5);
  const all = verifyEpochs(third.directory);
  assert.deepEqual(
    [all.epoch, all.entries, all.closed.map(({ epoch, entries }) => [epoch, entries])],
    [
      3,
      6,
      [
        [2, 11],
        [1, 300],
      ],
    ],
  );
});

test("who kept a checkpoint of an older epoch is told whether all that it saw is there", async (t) => {
  const { first, second } = await twoEpochs(t);
  const note = await readFile(join(first.directory, "checkpoint"));
  assert.equal(verifyEpochs(second.directory, { from: { note, name: "kept" } }).continues, 300);
  // The old log went on after the backup.
  await write(first, 20);
  const later = await readFile(join(first.directory, "checkpoint"));
  throwsCode("AUDIT_LOG_REWOUND", () => verifyEpochs(second.directory, { from: { note: later, name: "later" } }));
  const root = Buffer.alloc(32, 7);
  const forged = signCheckpoint({ origin: first.origin, privateKey: first.key }, { size: 100, root });
  throwsCode("AUDIT_LOG_FORKED", () => verifyEpochs(second.directory, { from: { note: forged, name: "forged" } }));
  const other = signCheckpoint({ origin: "site.example/other", privateKey: first.key }, { size: 1, root });
  throwsCode("AUDIT_LOG_FORKED", () => verifyEpochs(second.directory, { from: { note: other, name: "other" } }));
});

test("two hosts that continue one log are two logs, and each tells who kept a checkpoint of the other", async (t) => {
  const { directory, first, second } = await twoEpochs(t);
  const twin = newLog(directory, "twin");
  await restored(first, twin, 10);
  assert.deepEqual(verifyEpochs(twin.directory).closed, verifyEpochs(second.directory).closed);
  for (const [mine, other] of [
    [second, twin],
    [twin, second],
  ] as const) {
    const note = await readFile(join(other.directory, "checkpoint"));
    throwsCode("AUDIT_LOG_FORKED", () => verifyEpochs(mine.directory, { from: { note, name: "of the other" } }));
  }
});

test("an epoch that is gone, shorter, longer or changed is found", async (t) => {
  const { first, second, directory } = await twoEpochs(t);
  const closed = closedEpochPath(second.directory, 1);
  const kept = join(directory, "kept");
  await cp(closed, kept, { recursive: true });
  const put = async (from: string): Promise<void> => {
    await rm(closed, { recursive: true, force: true });
    await cp(from, closed, { recursive: true });
  };
  await rm(closed, { recursive: true });
  throwsCode("AUDIT_EPOCH_MISSING", () => verifyEpochs(second.directory));
  await rm(join(second.directory, "epochs"), { recursive: true });
  throwsCode("AUDIT_EPOCH_MISSING", () => verifyEpochs(second.directory));
  await write(first, 20);
  await writeFile(join(first.directory, "key.pub"), pem(first.key));
  await put(first.directory);
  throwsCode("AUDIT_EPOCH_DIFFERS", () => verifyEpochs(second.directory));
  const short = newLog(directory, "short");
  await write({ ...short, key: first.key, origin: first.origin }, 299);
  await writeFile(join(short.directory, "key.pub"), pem(first.key));
  await put(short.directory);
  throwsCode("AUDIT_EPOCH_DIFFERS", () => verifyEpochs(second.directory));
  await put(kept);
  const bundle = join(closed, "tile/entries/000");
  const bytes = await readFile(bundle);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  await writeFile(bundle, bytes);
  throwsCode("AUDIT_ENTRY_CHANGED", () => verifyEpochs(second.directory));
  await put(kept);
  await writeFile(join(closed, "key.pub"), pem(second.key));
  throwsCode("AUDIT_SIGNATURE_INVALID", () => verifyEpochs(second.directory));
});

test("epochs beside a log that names none are found, and a first entry that names none well", async (t) => {
  const directory = await scratch(t);
  const log = newLog(directory, "log");
  await write(log, 3);
  await mkdir(join(log.directory, "epochs"));
  throwsCode("AUDIT_EPOCH_DIFFERS", () => verifyEpochs(log.directory));
  const bad = newLog(directory, "bad");
  const opened = await open(bad);
  await opened.append([Buffer.from('{"service":"audit","type":"log.epoch","counts":{"epoch":1,"entries":0}}')]);
  await opened.close();
  throwsCode("AUDIT_EPOCH_DIFFERS", () => verifyEpochs(bad.directory));
});

test("a log with entries is not made into another epoch, and one that did not begin is told", async (t) => {
  const { first, second, directory } = await twoEpochs(t);
  const busy = newLog(directory, "busy");
  await write(busy, 1);
  const logs = logsOf(first);
  throwsCode("RESTORE_FAILED", () => layDownEpochs(hostDisk, busy.directory, `${first.directory}-backup`, logs));
  throwsCode("RESTORE_FAILED", () => requireEpoch(busy.directory, logs));
  requireEpoch(busy.directory, []);
  assert.equal(verifyAuditLog(second.directory).entries, 11);
});

test("a predecessor that nobody would write stops the service, and its entry is canonical", () => {
  const root = Buffer.alloc(32, 1);
  const good = { schemaVersion: 1, epoch: 2, origin: "site.example/a", size: 3, root: root.toString("base64") };
  const parsed = parsePredecessor(Buffer.from(JSON.stringify(good)));
  assert.deepEqual(parsed, { epoch: 2, origin: "site.example/a", size: 3, root });
  for (const bad of [
    ...[
      { schemaVersion: 2 },
      { epoch: 1 },
      { epoch: 2.5 },
      { size: -1 },
      { origin: "a b" },
      { origin: 7 },
      { root: "AAAA" },
    ],
  ]) {
    assert.throws(() => parsePredecessor(Buffer.from(JSON.stringify({ ...good, ...bad }))), CheckpointError);
  }
  for (const bad of ["", "null", "[]", "{", " ".repeat(5000)]) {
    assert.throws(() => parsePredecessor(Buffer.from(bad)), CheckpointError);
  }
  const event = JSON.parse(epochEntry(parsed, NOW).toString()) as Record<string, unknown>;
  assert.deepEqual(Object.keys(event), Object.keys(event).sort());
  assert.match(String(event["id"]), /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});
