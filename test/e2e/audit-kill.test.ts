/**
 * The audit service killed fifty times while it is written to, handed over under load between two processes,
 * and out of room. An append that was acknowledged must be in the log, once, at the place that was told. What a
 * kill cannot show is the loss of what the kernel had not written yet: that takes a power cut.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawnSync } from "node:child_process";
import { createPublicKey, hash } from "node:crypto";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type AuditReceipt, openAuditClient } from "../../compose/services/service-kit/src/audit-client.ts";
import { parseLogKey } from "../../installer/audit/checkpoint.ts";
import { verifyAuditLog } from "../../installer/audit/verify-log.ts";
import { testKey } from "../compose/services/audit/audit-directory.ts";
import { type AuditGround, auditGround, peerOf, until } from "../compose/services/audit/audit-instance.ts";
import { type AuditProcess, killAll, startAuditProcess } from "../compose/services/audit/audit-process.ts";
import { PRINCIPAL, testSigner } from "../support/test-principals.ts";

const KILLS = 50;
const WRITERS = 16;
const SEED = Number(process.env["SEED"] ?? 20_261_121);

const key = parseLogKey(
  createPublicKey(testKey.export({ format: "pem", type: "pkcs8" }))
    .export({ format: "pem", type: "spki" })
    .toString(),
  "key",
);

interface Load {
  readonly receipts: AuditReceipt[];
  /** Of the appends so far, in milliseconds. */
  readonly longestGap: () => number;
  stop(): Promise<void>;
}

/** Services that append one event after the other and never give up. `more` are further members of each. */
async function load(
  t: TestContext,
  ground: AuditGround,
  ports: () => (number | undefined)[],
  more: Readonly<Record<string, unknown>> = {},
): Promise<Load> {
  const peer = await peerOf(t, ground.identities, "gateway", ports);
  const client = openAuditClient({ peer, service: "gateway", signer: testSigner("audit"), holdMs: 60_000 });
  const { tenant, actor, role } = PRINCIPAL;
  const receipts: AuditReceipt[] = [];
  let isOver = false;
  let last = performance.now();
  let gap = 0;
  const writer = async (number: number): Promise<void> => {
    for (let i = 0; !isOver; i += 1) {
      const requestId = `r-${number}-${i}`;
      const event = { type: "request.allowed", requestId, tenant, actor, role, bytes: i, ...more };
      receipts.push(await client.append(event, { ...PRINCIPAL, requestId }));
      gap = Math.max(gap, performance.now() - last);
      last = performance.now();
    }
  };
  const writers = Array.from({ length: WRITERS }, (_, i) => writer(i));
  return {
    receipts,
    longestGap: () => gap,
    async stop() {
      isOver = true;
      await Promise.all(writers);
    },
  };
}

/** Every entry of the log, read from the bundles by their format alone. */
async function entriesOf(directory: string, size: number): Promise<Buffer[]> {
  const entries: Buffer[] = [];
  for (let bundle = 0; entries.length < size; bundle += 1) {
    const group = String(bundle % 1000).padStart(3, "0");
    const name = bundle < 1000 ? group : `x${String(Math.floor(bundle / 1000)).padStart(3, "0")}/${group}`;
    const width = Math.min(256, size - bundle * 256);
    const bytes = await readFile(join(directory, "tile/entries", width < 256 ? `${name}.p/${width}` : name));
    for (let at = 0; at < bytes.length; ) {
      const end = at + 2 + bytes.readUInt16BE(at);
      entries.push(bytes.subarray(at + 2, end));
      at = end;
    }
  }
  return entries;
}

/** Each acknowledged event is where its receipt says, and none is there twice. */
async function requireAll(directory: string, receipts: readonly AuditReceipt[]): Promise<number> {
  const { entries: size } = verifyAuditLog(directory, { key });
  const entries = await entriesOf(directory, size);
  const ids = entries.map((entry) => (JSON.parse(entry.toString()) as { id: string }).id);
  assert.equal(new Set(ids).size, size, "an event is there twice");
  for (const { id, index, leafHash } of receipts) {
    assert.equal(ids[index], id, `entry ${index}`);
    const hashed = hash("sha256", Buffer.concat([Buffer.of(0), entries[index] ?? Buffer.alloc(0)]), "base64");
    assert.equal(hashed, leafHash, `entry ${index}`);
  }
  return size;
}

test(`${KILLS} kills under load lose no acknowledged event`, async (t) => {
  const ground = await auditGround(t);
  const environment = { ...ground.environment, CHECKPOINT_ENTRIES: "100", CHECKPOINT_SECONDS: "1" };
  const all = new Set<ChildProcess>();
  t.after(() => killAll(all));
  let audit: AuditProcess | undefined;
  const writers = await load(t, ground, () => [audit?.hasEnded ? undefined : audit?.port]);
  const checkpoints: Buffer[] = [];
  let seed = SEED;
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  let early = 0;
  for (let i = 0; i < KILLS; i += 1) {
    audit = startAuditProcess(environment, all);
    const running = audit;
    if (i % 5 === 4) {
      // While it starts and recovers, or just after.
      await sleep(random(400));
      if (running.port === undefined) early += 1;
    } else {
      const before = writers.receipts.length;
      await until(() => writers.receipts.length > before, 20_000);
      await sleep(random(150));
    }
    await running.kill("SIGKILL");
    const note = await readFile(join(ground.directory, "checkpoint")).catch(() => undefined);
    if (note) checkpoints.push(note);
  }
  audit = startAuditProcess(environment, all);
  const before = writers.receipts.length;
  await until(() => writers.receipts.length > before, 20_000);
  await writers.stop();
  assert.equal(await audit.kill("SIGTERM"), 0);
  const size = await requireAll(ground.directory, writers.receipts);
  for (const [i, note] of checkpoints.entries()) {
    verifyAuditLog(ground.directory, { key, from: { note, name: `checkpoint after kill ${i + 1}` } });
  }
  t.diagnostic(`${writers.receipts.length} events acknowledged, ${size} in the log, ${early} kills before it served`);
  assert.ok(writers.receipts.length > KILLS * 10);
  assert.ok(checkpoints.length >= KILLS - 1);
});

test("a log handed over between processes under load loses nothing and is away for less than two seconds", async (t) => {
  const ground = await auditGround(t);
  const all = new Set<ChildProcess>();
  t.after(() => killAll(all));
  const running = [startAuditProcess(ground.environment, all)];
  const writers = await load(t, ground, () =>
    running.map(({ port, hasEnded }) => (hasEnded ? undefined : port)).reverse(),
  );
  await until(() => writers.receipts.length > 2_000, 30_000);
  const gaps: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    const next = startAuditProcess(ground.environment, all);
    running.push(next);
    await until(() => next.port !== undefined, 20_000);
    const taken = writers.receipts.length;
    await until(() => writers.receipts.length > taken + 500, 20_000);
    assert.equal(await running[0]?.kill("SIGTERM"), 0);
    running.shift();
    gaps.push(writers.longestGap());
  }
  await writers.stop();
  for (const process of running) await process.kill("SIGTERM");
  const size = await requireAll(ground.directory, writers.receipts);
  assert.equal(size, writers.receipts.length);
  t.diagnostic(
    `5 hand-overs with ${WRITERS} writers, ${size} events, longest pause ${Math.max(...gaps).toFixed(0)} ms`,
  );
  assert.ok(Math.max(...gaps) < 2_000);
});

const mounts = spawnSync("unshare", ["--mount", "true"]).status === 0;

test("on a disk that is really full appends wait, and go on when there is room", {
  skip: mounts ? false : "needs root and mount namespaces",
}, async (t) => {
  const ground = await auditGround(t);
  const all = new Set<ChildProcess>();
  t.after(() => killAll(all));
  // A file system of its own, which only this process and those that look through it see.
  const script = 'mount -t tmpfs -o size=96m tmpfs "$LOG_DIRECTORY" && exec "$@"';
  const environment = { PATH: process.env["PATH"] ?? "", ...ground.environment, CHECKPOINT_ENTRIES: "500" };
  const audit = startAuditProcess(environment, all, ["unshare", "--mount", "sh", "-c", script, "sh"]);
  const inside = join("/proc", `${audit.pid}`, "root", ground.directory);
  const ready = async (): Promise<boolean> =>
    (await fetch(`http://127.0.0.1:${audit.adminPort}/readyz`)).status === 200;
  // Large ones, so that the segments that were prepared are soon used up.
  const counts = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`${"n".repeat(29)}${i}`, 1_000_000_000_000]));
  const writers = await load(t, ground, () => [audit.port], { counts });
  await until(() => writers.receipts.length > 100, 20_000);
  const ballast = join(inside, "ballast");
  await assert.rejects(writeFile(ballast, Buffer.alloc(96 * 1024 * 1024)), { code: "ENOSPC" });
  await until(async () => !(await ready()), 40_000);
  assert.ok(audit.logged.some(({ event, code }) => event === "log-full" && code === "ENOSPC"));
  const taken = writers.receipts.length;
  await sleep(300);
  assert.equal(writers.receipts.length, taken, "nothing is acknowledged");
  await rm(ballast);
  await until(ready, 10_000);
  await until(() => writers.receipts.length > taken + 200, 20_000);
  await writers.stop();
  const copy = join(ground.directory, "..", "copy");
  await until(async () => {
    await rm(copy, { recursive: true, force: true });
    await cp(inside, copy, { recursive: true, filter: (path) => !path.endsWith("hand-over") });
    const { entries, behindCheckpoint } = verifyAuditLog(copy, { key });
    return entries + behindCheckpoint === writers.receipts.length;
  });
  assert.equal(await audit.kill("SIGTERM"), 0);
  t.diagnostic(`${taken} events before it was full, ${writers.receipts.length} in the end`);
});
