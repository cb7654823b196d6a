/**
 * Loaded before the product by `node --import` (kill-at.ts, running-operation.ts): counts the writes to the
 * operation's journal and ends the process with SIGKILL at one of them, or pauses it when a step begins. The product writes its journal with writeSync and fsyncSync of
 * node:fs; their ES module bindings are made to follow the patched module.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const {
  SEALIFT_TEST_KILL_AT: at = "0",
  SEALIFT_TEST_KILL_WHEN: when,
  SEALIFT_TEST_PAUSE_STEP: step,
  SEALIFT_TEST_KILL_DELAY_MS: delay = "0",
  SEALIFT_TEST_COUNT_FILE: file,
  SEALIFT_TEST_KILL_COUNTS: counts = "journal",
} = process.env;
const journals = new Set<number>();
const { openSync, closeSync, writeSync, fsyncSync } = fs;
let writes = 0;
let isDying = false;
let isPausing = false;

/** Stops, as with Ctrl-Z, until somebody sends SIGCONT. */
function pause(): void {
  process.kill(process.pid, "SIGSTOP");
}

function die(): void {
  process.kill(process.pid, "SIGKILL");
  // The signal comes when the kernel likes; nothing more may be done meanwhile.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** A change of the directory in which a site is put together. */
function placing(path: unknown): void {
  if (counts !== "placing" || !/\.restore(?:\/|$)/.test(String(path))) return;
  writes += 1;
  if (writes === Number(at)) die();
}

fs.openSync = (path, flags, mode) => {
  if ((Number(flags) & fs.constants.O_CREAT) !== 0) placing(path);
  const descriptor = openSync(path, flags, mode);
  if (String(path).endsWith("/journal/open")) journals.add(descriptor);
  return descriptor;
};

fs.closeSync = (descriptor) => {
  journals.delete(descriptor);
  closeSync(descriptor);
};

function isIntent(name: string, record: unknown): boolean {
  const text = Buffer.isBuffer(record) ? record.toString() : "";
  return text.includes(`"step":${JSON.stringify(name)},`) && text.includes('"type":"intent"');
}

const countedWrite = (descriptor: number, ...rest: readonly unknown[]): number => {
  if (counts === "journal" && journals.has(descriptor)) {
    writes += 1;
    if (file !== undefined) fs.appendFileSync(file, ".");
    isDying = writes === Number(at);
    isPausing = step !== undefined && isIntent(step, rest[0]);
    if (isDying && when === "before") die();
  }
  return Reflect.apply(writeSync, fs, [descriptor, ...rest]) as number;
};
fs.writeSync = countedWrite as typeof writeSync;

fs.fsyncSync = (descriptor) => {
  fsyncSync(descriptor);
  if (isPausing && journals.has(descriptor)) {
    isPausing = false;
    pause();
  }
  if (!isDying || !journals.has(descriptor)) return;
  isDying = false;
  if (delay === "0") die();
  setTimeout(die, Number(delay)).unref();
};

const { renameSync, mkdirSync, rmdirSync, unlinkSync } = fs;
fs.renameSync = (from, to) => {
  placing(from);
  renameSync(from, to);
  // What it becomes may be the state itself: the next moment is one of its own.
  placing(from);
};
fs.mkdirSync = ((path: string, ...rest: readonly unknown[]) => {
  placing(path);
  return Reflect.apply(mkdirSync, fs, [path, ...rest]) as unknown;
}) as typeof mkdirSync;
fs.rmdirSync = (path, ...rest) => {
  placing(path);
  rmdirSync(path, ...rest);
};
fs.unlinkSync = (path) => {
  placing(path);
  unlinkSync(path);
};

syncBuiltinESMExports();
