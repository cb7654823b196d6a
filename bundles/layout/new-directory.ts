/** A directory that a person asked for, and that is taken back if nothing comes to lie in it. */
import { mkdirSync, rmdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";

/**
 * Makes `path` and the directories above it that are missing. Returns what takes them back: those of them that are
 * empty then, and no other. @throws a Node system error, after which none of them is there
 */
export function makeDirectories(path: string): () => void {
  const made: string[] = [];
  const takeBack = (): void => {
    try {
      for (const directory of made.toReversed()) rmdirSync(directory);
    } catch {
      // Something lies in it, so those above it are not empty either.
    }
  };
  try {
    for (const directory of fromTheTop(resolve(path))) {
      if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) continue;
      mkdirSync(directory);
      made.push(directory);
    }
    return takeBack;
  } catch (cause) {
    takeBack();
    throw cause;
  }
}

function fromTheTop(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [path] : [...fromTheTop(parent), path];
}
