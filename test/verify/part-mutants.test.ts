import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { Judge } from "../support/judge-process.ts";
import { mutantSeed } from "../support/mutants.ts";
import { tryPartMutant, tryShifting } from "../support/part-mutant-trial.ts";
import { makePartMutant, PART_KINDS } from "../support/part-mutants.ts";
import { scratch } from "../support/scratch.ts";

/** A sample of test/long/part-mutants.test.ts: of every kind these. */
const OF_EACH_KIND = 2;

test(`of ${OF_EACH_KIND * PART_KINDS} seeded mutants in media parts only what was signed is allowed, repaired or not`, async (t) => {
  const seed = mutantSeed();
  t.diagnostic(`SEALIFT_SEED=${seed}`);
  const path = join(await scratch(t), "parts");
  const judge = new Judge();
  const outcomes = new Set<string>();
  for (let i = 0; i < OF_EACH_KIND * PART_KINDS; i += 1) {
    const mutant = makePartMutant(seed, i);
    try {
      const { verified, repaired, after } = await tryPartMutant(judge, path, mutant);
      outcomes.add(verified).add(repaired).add(after);
      if (i % 3 === 0) await tryShifting(judge, path, mutant, i % 2 === 0);
    } catch (cause) {
      throw new Error(`mutant ${i} of SEALIFT_SEED=${seed}: ${mutant.kind}: ${mutant.what}`, { cause });
    }
  }
  for (const outcome of ["allowed", "PARTS_DAMAGED", "made again"]) assert.ok(outcomes.has(outcome), outcome);
});
