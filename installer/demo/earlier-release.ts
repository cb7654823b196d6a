/** Makes 1.0.0 out of a copy of compose/, which is what 1.1.0 is. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** What 1.0.0 has not, for people. */
export const EARLIER_LACKS = "the second migration of the database, and so GET /v1/usage, which stands on it";

const MIGRATIONS = "services/gateway/src/database/migrations";
const EARLIER_SCHEMA = 1;

/**
 * Changes `directory`, a copy of compose/, into the release before: it knows the database's first migration
 * only. With it the gateway's image has another digest; recipes stay as they are, so that the lock holds.
 */
export async function makeEarlierRelease(directory: string): Promise<void> {
  const migrations = join(directory, MIGRATIONS);
  const later = (await readdir(migrations)).filter((name) => Number.parseInt(name, 10) > EARLIER_SCHEMA);
  if (later.length === 0) throw new Error(`${JSON.stringify(migrations)}: nothing comes after the first migration`);
  for (const name of later) await rm(join(migrations, name));
}
