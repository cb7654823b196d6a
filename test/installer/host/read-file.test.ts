import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { readBoundedFile, readInChunks } from "../../../installer/host/read-file.ts";
import { scratch } from "../../support/scratch.ts";
import { coded } from "../../support/test-trust.ts";

test("reads a file whole, and none that is a byte too large", async (t) => {
  const path = join(await scratch(t), "file");
  const bytes = Buffer.alloc(2.5 * 1024 * 1024, "sealift");
  await writeFile(path, bytes);
  assert.deepEqual(await readBoundedFile(path, bytes.length), bytes);
  await assert.rejects(readBoundedFile(path, bytes.length - 1), coded("FILE_UNREADABLE"));
  await writeFile(path, "");
  assert.deepEqual(await readBoundedFile(path, 0), Buffer.alloc(0));
});

test("says which file is not there or cannot be read", async (t) => {
  const directory = await scratch(t);
  await assert.rejects(readBoundedFile(join(directory, "none"), 1), coded("FILE_NOT_FOUND"));
  await assert.rejects(readBoundedFile(directory, 1), coded("FILE_UNREADABLE"));
  await assert.rejects(readBoundedFile("a\0b", 1), coded("FILE_UNREADABLE"));
});

test("reads a pipe, and does not follow one without end", async (t) => {
  const directory = await scratch(t);
  const [short, endless] = [join(directory, "short"), join(directory, "endless")];
  execFileSync("mkfifo", [short, endless]);
  const writer = spawn("sh", ["-c", 'printf a >"$0"; yes >"$1"', short, endless], { stdio: "ignore" });
  t.after(() => writer.kill());
  const got: string[] = [];
  readInChunks(short, (chunk) => got.push(chunk.toString()));
  assert.equal(got.join(""), "a");
  await assert.rejects(readBoundedFile(endless, 100_000), coded("FILE_UNREADABLE"));
});

test("gives a pipe up to which nobody writes, and waits for a writer who is slow", async (t) => {
  const directory = await scratch(t);
  const [silent, slow] = [join(directory, "silent"), join(directory, "slow")];
  execFileSync("mkfifo", [silent, slow]);
  const begun = performance.now();
  await assert.rejects(readBoundedFile(silent, 10), { message: /a pipe to which nobody writes/ });
  assert.ok(performance.now() - begun < 10_000);
  const script = 'exec 3>"$0"; sleep 0.2; printf a >&3; sleep 0.2; printf b >&3';
  const writer = spawn("sh", ["-c", script, slow], { stdio: "ignore" });
  t.after(() => writer.kill());
  assert.equal(String(await readBoundedFile(slow, 10)), "ab");
});
