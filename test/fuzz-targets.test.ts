import assert from "node:assert/strict";
import test from "node:test";
import { fuzzTargets } from "./support/fuzz-targets.ts";
import { Dice, mutantSeed } from "./support/mutants.ts";

const ROUNDS = 60;
/** Bytes that parsers look for, and numbers at their limits. */
const TELLING = [
  '"',
  "{",
  "}",
  "[",
  "]",
  "\\",
  ":",
  ",",
  "\n",
  "\0",
  "\xff",
  "%",
  "@",
  "/",
  "-",
  "9".repeat(400),
  "\ud800",
];

/** Some edits of `data`: bytes changed, cut, doubled or put in. */
function changed(data: Buffer, dice: Dice): Buffer {
  let bytes = Buffer.from(data);
  for (let edits = 1 + dice.below(4); edits > 0; edits -= 1) {
    const [at, length] = [dice.below(bytes.length + 1), dice.below(16)];
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    const middles = [Buffer.from(dice.pick(TELLING)), Buffer.of(dice.below(256)), head.subarray(-length)];
    bytes = Buffer.concat([head, dice.pick([...middles, Buffer.alloc(0)]), tail.subarray(dice.pick([0, 1, length]))]);
  }
  return bytes;
}

for (const [name, { seeds, run }] of Object.entries(fuzzTargets)) {
  test(`${name}: takes its seeds, and refuses ${ROUNDS} changed ones with a code if it refuses`, async () => {
    assert.ok(seeds.length > 0);
    const dice = new Dice(mutantSeed());
    for (const seed of [...seeds, Buffer.alloc(0)]) await run(seed);
    for (let i = 0; i < ROUNDS; i += 1) {
      const input = changed(dice.pick(seeds), dice);
      try {
        await run(input);
      } catch (cause) {
        throw new Error(`input ${i} of SEALIFT_SEED=${mutantSeed()}: ${input.toString("base64")}`, { cause });
      }
    }
  });
}
