import { modelError } from "./error.ts";
import type { SealiftError } from "./sealift-error.ts";

/** There is something at `path`, where a person asked for something new: `problem` says what is in the way. */
export function fileExists(path: string, problem = "is there already", cause?: unknown): SealiftError {
  return modelError("FILE_EXISTS", `destination ${JSON.stringify(path)}: ${problem}`, {
    cause,
    hints: ["choose another name, or move it away: what is there is never written over"],
  });
}
