/** The files that a release carries for its containers: nothing else reads them by digest. */

import type { StatePaths } from "../site/state.ts";
import { damagedFiles } from "../site/store.ts";
import { lifecycleError } from "./error.ts";
import { RESTORE_HINT, type ReleaseParts } from "./stored-release.ts";

/**
 * Reads every carried file in the site's store, before containers do. Images need no such look: the engine
 * gets each byte of them through a reader that checks it. @throws RELEASE_DAMAGED
 */
export async function requireCarriedFiles(
  { directory }: Pick<StatePaths, "directory">,
  { release }: Pick<ReleaseParts, "release">,
): Promise<void> {
  const damaged = await damagedFiles(directory, release);
  if (damaged.length === 0) return;
  const { version } = release.manifest;
  throw lifecycleError(
    "RELEASE_DAMAGED",
    `release ${version} in the site's store: damaged files ${damaged.join(", ")}`,
    {
      hints: [RESTORE_HINT],
    },
  );
}
