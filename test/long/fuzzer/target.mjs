/** The module that Jazzer.js loads; SEALIFT_FUZZ names one of ../../support/fuzz-targets.ts. */
import { fuzzTargets } from "../../support/fuzz-targets.ts";

const target = fuzzTargets[process.env["SEALIFT_FUZZ"] ?? ""];
if (!target) throw new Error("SEALIFT_FUZZ names no target");

export const fuzz = target.run;
