/** The module that Jazzer.js loads; SEALIFT_FUZZ names one of ../../support/fuzz-targets.ts. */
import { setImmediate } from "node:timers/promises";
import { fuzzTargets } from "../../support/fuzz-targets.ts";

const target = fuzzTargets[process.env["SEALIFT_FUZZ"] ?? ""];
if (!target) throw new Error("SEALIFT_FUZZ names no target");
const { run, isAsync } = target;

/** @param {Buffer} data */
async function runAndRest(data) {
  await run(data);
  // Otherwise Node has no turn in which it gives back what the fuzzer brought the inputs in.
  await setImmediate();
}

export const fuzz = isAsync ? runAndRest : run;
