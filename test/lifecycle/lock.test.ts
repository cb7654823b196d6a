import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { acquireLock } from "../../installer/lifecycle/lock.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const MODULE = new URL("../../installer/lifecycle/lock.ts", import.meta.url).href;

test("one holder at a time; the other is told who, what and since when", async (t) => {
  const path = join(await scratch(t), "lock");
  const lock = acquireLock(path, "upgrade to 1.1.0", new Date("2026-11-21T08:00:00Z"));
  assert.throws(
    () => acquireLock(path, "prune"),
    (error: { code?: string; message: string }) =>
      error.code === "LOCK_HELD" &&
      error.message.includes('"upgrade to 1.1.0" since 2026-11-21T08:00:00.000Z') &&
      error.message.includes(`pid ${process.pid}`),
  );
  lock.release();
  lock.release();
  const next = acquireLock(path, "prune");
  assert.equal(next.abandoned, undefined);
  next.release();
});

test("the lock of a process that was killed is free at once, and it says what that did", async (t) => {
  const path = join(await scratch(t), "lock");
  const code = `const { acquireLock } = await import(${JSON.stringify(MODULE)});
    acquireLock(${JSON.stringify(path)}, "install"); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  assert.throws(() => acquireLock(path, "recover"), coded("LOCK_HELD"));
  child.kill("SIGKILL");
  await once(child, "exit");
  const lock = acquireLock(path, "recover");
  assert.deepEqual([lock.abandoned?.what, lock.abandoned?.pid], ["install", child.pid]);
  lock.release();
});

test("a torn or strange record does not keep anybody out, a link in the lock's place does", async (t) => {
  const directory = await scratch(t);
  const path = join(directory, "lock");
  for (const text of ["", '{"pid":', "null", "\0".repeat(100)]) {
    writeFileSync(path, text);
    const lock = acquireLock(path, "recover");
    assert.equal(lock.abandoned, undefined);
    assert.match(readFileSync(path, "utf8"), /"what":"recover"/);
    lock.release();
  }
  symlinkSync(path, join(directory, "link"));
  assert.throws(() => acquireLock(join(directory, "link"), "x"), coded("LOCK_UNAVAILABLE"));
  assert.throws(() => acquireLock(join(directory, "none", "lock"), "x"), coded("LOCK_UNAVAILABLE"));
});
