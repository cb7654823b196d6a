import { join } from "node:path";
import type { StatePaths } from "../site/state.ts";

/** As everything is called in the state that is not whole yet: `fsck` knows a left one, and what to do with it. */
export const SPOOL = ".spool.new";

/**
 * Where the content of a backup lies on its way in or out: in clear, root's alone. It is gone when the verb ends; what
 * a killed one left goes with the next.
 */
export function spoolDirectory({ paths }: { readonly paths: StatePaths }): string {
  return join(paths.directory, SPOOL);
}
