/**
 * Loaded before the product by `node --import` (kill-at.ts): counts the writes to the operation's journal and
 * ends the process with SIGKILL at one of them. The product writes its journal with writeSync and fsyncSync of
 * node:fs; their ES module bindings are made to follow the patched module.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const {
  SEALIFT_TEST_KILL_AT: at = "0",
  SEALIFT_TEST_KILL_WHEN: when,
  SEALIFT_TEST_KILL_DELAY_MS: delay = "0",
  SEALIFT_TEST_COUNT_FILE: file,
} = process.env;
const journals = new Set<number>();
const { openSync, closeSync, writeSync, fsyncSync } = fs;
let writes = 0;
let isDying = false;

function die(): void {
  process.kill(process.pid, "SIGKILL");
  // The signal comes when the kernel likes; nothing more may be done meanwhile.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

fs.openSync = (path, flags, mode) => {
  const descriptor = openSync(path, flags, mode);
  if (String(path).endsWith("/journal/open")) journals.add(descriptor);
  return descriptor;
};

fs.closeSync = (descriptor) => {
  journals.delete(descriptor);
  closeSync(descriptor);
};

const countedWrite = (descriptor: number, ...rest: readonly unknown[]): number => {
  if (journals.has(descriptor)) {
    writes += 1;
    if (file !== undefined) fs.appendFileSync(file, ".");
    isDying = writes === Number(at);
    if (isDying && when === "before") die();
  }
  return Reflect.apply(writeSync, fs, [descriptor, ...rest]) as number;
};
fs.writeSync = countedWrite as typeof writeSync;

fs.fsyncSync = (descriptor) => {
  fsyncSync(descriptor);
  if (!isDying || !journals.has(descriptor)) return;
  isDying = false;
  if (delay === "0") die();
  setTimeout(die, Number(delay)).unref();
};

syncBuiltinESMExports();
