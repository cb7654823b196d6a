/**
 * What of a site cannot be made again, and is not of one host: who it is, who may move it, whose releases it trusts,
 * its history, its secrets, and the configuration of what it runs. Not the releases themselves: they come from their
 * medium, signed.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { deploymentPaths, readDeployments } from "../site/deployment.ts";
import type { StatePaths } from "../site/state.ts";
import { backupError } from "./error.ts";
import { isMemberPath } from "./tar-stream.ts";

export interface StateFile {
  /** Below the state directory, and in the backup. */
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
}

/** Where the log of this host has what it was told; the next log is told anew. */
const OF_THIS_HOST = ["site/audit-told.json"];
const TREES = ["site", "trust", "secrets"] as const;
const JOURNAL_NAME = /^[0-9a-f]{32}\.(?:journal|damaged)$/;

/** In the order of their paths. Only while nothing changes them: under the site's lock. */
export function stateFiles(paths: StatePaths): StateFile[] {
  const { current, previous } = readDeployments(paths);
  const found = [
    "ledger",
    ...TREES.flatMap((name) => filesBelow(paths.directory, name)),
    ...filesBelow(paths.directory, "journal").filter((path) => JOURNAL_NAME.test(path.slice("journal/".length))),
    ...[current, previous].flatMap((one) => (one ? deploymentFiles(paths, one.id) : [])),
  ];
  return found
    .filter((path) => !OF_THIS_HOST.includes(path))
    .sort()
    .map((path) => {
      if (!isMemberPath(path)) {
        throw backupError("BACKUP_WRITE_FAILED", `source ${JSON.stringify(path)}: a name that a backup cannot hold`);
      }
      const { size, mode, uid } = lstatSync(join(paths.directory, path));
      return { path, size, mode: mode & 0o777, uid };
    });
}

function deploymentFiles(paths: StatePaths, id: string): string[] {
  const { directory } = deploymentPaths(paths, id);
  return filesBelow(paths.directory, directory.slice(paths.directory.length + 1)).filter((path) =>
    /\/(?:config|verdict)\.json$/.test(path),
  );
}

/** Plain files; those whose name begins with a dot are work that did not end. */
function filesBelow(root: string, path: string): string[] {
  const entries = readdirSync(join(root, path), { withFileTypes: true }).filter(({ name }) => !name.startsWith("."));
  return entries.flatMap((entry) => {
    const inner = `${path}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(root, inner);
    return entry.isFile() ? [inner] : [];
  });
}
