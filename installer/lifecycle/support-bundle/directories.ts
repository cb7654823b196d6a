/** Names of a directory, for reading only. */
import { type Dirent, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";

export function newestFirst(directory: string, names: RegExp): string[] {
  return entriesIn(directory)
    .filter(({ name }) => names.test(name))
    .map(({ name }) => join(directory, name))
    .map((path) => ({ path, time: lstatSync(path).mtimeMs }))
    .sort((a, b) => b.time - a.time || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path);
}

/** None of a directory that is not there. */
export function entriesIn(directory: string): Dirent[] {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat?.isDirectory() ? readdirSync(directory, { withFileTypes: true }) : [];
}
