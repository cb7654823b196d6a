import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { endOf } from "./command-line.ts";

const shell = (script: string) => spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "pipe"] });

test("what a process said comes with its exit code", async () => {
  const { exit, signal, stdout, stderr } = await endOf(shell("echo out; echo err >&2; exit 3"), ["verb"]);
  assert.deepEqual([exit, signal, stdout, stderr], [3, null, "out\n", "err\n"]);
});

test("a process that stands still fails its test, with what it said", async () => {
  const child = shell("echo so far; exec sleep 60");
  await assert.rejects(endOf(child, ["verb"], 100), /^Error: verb: has not ended after 0\.1 s\nso far\n/);
  assert.equal(child.killed, true);
});

test("a process that leaves its output to another fails its test too", async () => {
  const child = shell("sleep 1 & exit 0");
  await assert.rejects(endOf(child, ["verb"], 200), /verb: has left its output open after 0\.2 s/);
});
