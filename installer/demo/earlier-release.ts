/** Makes 1.0.0 of the appliance out of a copy of compose/, which is what 1.1.0 is; the tests use it as well. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseDocument } from "yaml";

/** One sentence each, for people. */
export const EARLIER_LACKS: readonly string[] = ["the newest migration of the database: MIGRATE_TO stops before it"];

/** The version of the schema that 1.0.0 works on. */
const EARLIER_SCHEMA = "1";

/**
 * Changes the Compose file in `directory`, a copy of compose/, into that of the release before. Images and
 * their lock stay as they are, so that the second build takes every layer from the cache.
 */
export async function makeEarlierRelease(directory: string): Promise<void> {
  await editYaml(join(directory, "compose.yaml"), (set) => {
    set(["services", "gateway-migrate", "environment", "MIGRATE_TO"], EARLIER_SCHEMA);
  });
}

/** Changes members of a YAML file and leaves the rest of it, comments too, as it is. */
export async function editYaml(
  path: string,
  edit: (set: (where: readonly string[], value: unknown) => void) => void,
): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  edit((where, value) => document.setIn(where, document.createNode(value)));
  await writeFile(path, document.toString({ lineWidth: 0 }));
}
