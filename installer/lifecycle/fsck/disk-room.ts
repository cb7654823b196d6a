/** Whether there is room for what a site writes by itself, and for the next backup of its databases. */
import { statfsSync } from "node:fs";
import { lifecycleError } from "../error.ts";
import { type Need, requireRoom } from "../preconditions.ts";
import type { CheckLog } from "./check-log.ts";
import type { FsckGround } from "./ground.ts";

const STATE_RESERVE_BYTES = 256 * 1024 * 1024;
const ENGINE_RESERVE_BYTES = 512 * 1024 * 1024;
const LEAST_INODES = 1_000;

export async function checkDisk({ paths, engine }: FsckGround, log: CheckLog): Promise<void> {
  const { directory } = paths;
  const needs: Need[] = [{ directory, bytes: STATE_RESERVE_BYTES, what: "the site's records" }];
  try {
    const { rootDirectory } = (await engine()).facts;
    needs.push({ directory: rootDirectory, bytes: ENGINE_RESERVE_BYTES, what: "the engine and its volumes" });
  } catch {
    log.notChecked("the engine's disk: the engine cannot be asked");
  }
  // One by one: they are marks to stay above, not sizes to add up.
  for (const need of needs) log.attempt(need.directory, () => requireRoom([need]));
  for (const need of needs) log.attempt(need.directory, () => requireInodes(need.directory));
}

function requireInodes(directory: string): void {
  const { files, ffree } = statfsSync(directory);
  // File systems that make inodes as they go say 0 of both.
  if (files === 0 || ffree >= LEAST_INODES) return;
  throw lifecycleError("SITE_DISK_SHORT", `${directory}: got ${ffree} inodes free, want ${LEAST_INODES}`, {
    hints: ["sealift prune removes releases and backups that are not needed"],
  });
}
