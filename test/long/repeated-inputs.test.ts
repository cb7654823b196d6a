/**
 * What the fuzzer does not make by itself: inputs of 64 KiB that are one piece over and over, alone and behind the
 * first half of what a parser accepts. A parser that takes time or memory with the square of its input is found so.
 * SEALIFT_FUZZ names some of the targets only, with commas between them. By the process's own time: a busy machine
 * is no matter.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { fuzzTargets } from "../support/fuzz-targets.ts";

const INPUT_BYTES = 65_536;
const CPU_MAX_SECONDS = 2;
const PIECES = [
  ...[
    "\n",
    "\n\n",
    "\r\n",
    "[",
    "{",
    "(",
    '"',
    "'",
    "\\",
    "a:",
    ": ",
    ":\n",
    "-",
    "- ",
    ".",
    "1",
    "a@",
    "=",
    " ",
    "\t",
  ],
  ...["/", "+", "~", "%", "|", ", ", "? ", "&a ", "\0", "\xff", '{"a":', "MIT OR ", "data: ", "<<: *a\n"],
  ...["-----BEGIN ", "-----BEGIN CERTIFICATE-----\n"],
];
const ONLY = process.env["SEALIFT_FUZZ"]?.split(",");

for (const [name, { seeds, run }] of Object.entries(fuzzTargets)) {
  test(`${name}: an input that says one thing over and over takes no longer for it`, {
    skip: ONLY?.includes(name) === false && "not among those that SEALIFT_FUZZ names",
  }, async () => {
    const [seed = Buffer.alloc(0)] = seeds;
    for (const start of [Buffer.alloc(0), seed.subarray(0, Math.min(seed.length, INPUT_BYTES) / 2)]) {
      for (const piece of PIECES) {
        const input = Buffer.concat([start, Buffer.alloc(INPUT_BYTES - start.length, piece, "latin1")]);
        const before = process.cpuUsage();
        await run(input);
        const { user, system } = process.cpuUsage(before);
        const seconds = (user + system) / 1e6;
        assert.ok(seconds <= CPU_MAX_SECONDS, `${JSON.stringify(piece)} behind ${start.length} bytes: ${seconds} s`);
      }
    }
  });
}
