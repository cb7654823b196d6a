/** The module that Jazzer.js loads; SEALIFT_FUZZ names one of ../../support/fuzz-targets.ts. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fuzzTargets } from "../../support/fuzz-targets.ts";

const target = fuzzTargets[process.env["SEALIFT_FUZZ"] ?? ""];
const corpus = process.env["SEALIFT_FUZZ_CORPUS"];
if (!target || corpus === undefined)
  throw new Error("SEALIFT_FUZZ names no target, or there is no SEALIFT_FUZZ_CORPUS");
const { run, seeds, isAsync } = target;

// Here, before they are read: keys are new in each process, and seeds signed with another's would be refused.
for (const [i, seed] of seeds.entries()) writeFileSync(join(corpus, `seed-${i}`), seed);

/** @param {Buffer} data */
async function runAndRest(data) {
  await run(data);
  // Otherwise Node has no turn in which it gives back what the fuzzer brought the inputs in.
  await setImmediate();
}

export const fuzz = isAsync ? runAndRest : run;
