/**
 * Where a site that comes to this host is put together: beside the state directory, which it becomes by one rename.
 * All that a backup holds lies there in clear meanwhile, so it must be ours, and nothing of it may be left.
 */
import { lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { lifecycleError } from "../lifecycle/error.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { type Disk, makeDirectory, removeTree } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import { statePaths } from "../site/state.ts";

export function besideState(state: string): string {
  return join(dirname(state), `.${state.slice(dirname(state).length + 1)}.restore`);
}

/** The directory beside `state`, new or left by one that was killed. @throws STATE_UNSAFE if it is somebody else's */
export function makeBeside(disk: Disk, state: string): string {
  const beside = besideState(state);
  makeDirectory(disk, beside);
  requireOwn(beside);
  return beside;
}

/** Whether there was one. @throws LOCK_HELD while a restore is at work there */
export function removeBeside(disk: Disk, state: string): boolean {
  if (!hasBeside(state)) return false;
  const beside = besideState(state);
  const lock = acquireLock(statePaths(beside).lock, "recover");
  try {
    removeTree(disk, beside);
    return true;
  } finally {
    lock.release();
  }
}

/** What somebody else put there is none of a restore's. What keeps us from looking keeps a restore away, too. */
export function hasBeside(state: string): boolean {
  try {
    return isOwn(lstatSync(besideState(state)));
  } catch {
    return false;
  }
}

function isOwn(stat: Stats): boolean {
  return stat.isDirectory() && stat.uid === (process.geteuid?.() ?? 0) && (stat.mode & 0o077) === 0;
}

/** In a directory where everybody may write (/tmp) another user may have been first, and would read and exchange all. */
function requireOwn(path: string): void {
  const stat = lstatSync(path);
  if (isOwn(stat)) return;
  const got = stat.isDirectory() ? `mode ${(stat.mode & 0o777).toString(8)} of uid ${stat.uid}` : "no directory";
  throw siteError("STATE_UNSAFE", `${JSON.stringify(path)}: got ${got}, want a directory that is ours alone`, {
    hints: ["find out who made it, and remove it; or name a place where nobody else may write with --state DIR"],
  });
}

/** That an empty `state` can be exchanged by a rename. @throws RESTORE_STATE_MOUNTED */
export function requireExchangeable(state: string): void {
  const stat = lstatSync(state, { throwIfNoEntry: false });
  if (!stat || (stat.dev === statSync(dirname(state)).dev && readdirSync(state).length === 0)) return;
  throw lifecycleError(
    "RESTORE_STATE_MOUNTED",
    `${JSON.stringify(state)} is a file system of its own, and a site comes to a host by the rename of its directory`,
    { hints: [`name a directory on it: --state ${join(state, "site")}`] },
  );
}
