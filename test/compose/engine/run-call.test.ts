import assert from "node:assert/strict";
import { test } from "node:test";
import { runCall } from "../../../compose/engine/run-call.ts";

const shell = (script: string) => ({ file: "/bin/sh", args: ["-c", script], env: { PATH: "/usr/bin:/bin" } });
const failed = (says: RegExp) => (error: Error & { code?: string }) => {
  assert.equal(error.code, "ENGINE_CALL_FAILED");
  assert.match(error.message, says);
  return true;
};

test("a command gets the environment that it was given, and nothing else; its status is the caller's to judge", async () => {
  const { status, stdout, stderr } = await runCall(shell("env; echo oops >&2; exit 7"), { timeoutMs: 10_000 });
  assert.equal(status, 7);
  const names = stdout.match(/^[A-Z_]+(?==)/gm) ?? [];
  const ofTheShell = ["OLDPWD", "PWD", "SHLVL", "_"];
  assert.deepEqual(
    names.filter((name) => !ofTheShell.includes(name)),
    ["PATH"],
  );
  assert.equal(stderr, "oops\n");
});

test("a command that takes too long, talks too much or is not there is an error", async () => {
  await assert.rejects(runCall(shell("sleep 30"), { timeoutMs: 50 }), failed(/no end after 50 ms$/));
  await assert.rejects(
    runCall(shell("yes"), { timeoutMs: 10_000, maxBytes: 1000 }),
    failed(/more than 1000 characters/),
  );
  await assert.rejects(runCall({ ...shell(""), file: "/nonexistent" }, { timeoutMs: 50 }), failed(/ENOENT/));
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 50);
  await assert.rejects(runCall(shell("sleep 30"), { timeoutMs: 10_000, signal: stop.signal }), failed(/stopped$/));
});

test("what a command leaves running outside of its group does not hold up its end", async () => {
  const started = performance.now();
  await assert.rejects(runCall(shell("setsid sleep 8 & sleep 8"), { timeoutMs: 100 }), failed(/no end after 100 ms$/));
  assert.ok(performance.now() - started < 6_000);
});
