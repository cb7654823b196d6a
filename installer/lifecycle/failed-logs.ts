/**
 * What the containers of a release wrote that is taken back: they go with it, and what they said is often the
 * only word on why. Kept in `failed/<deployment>/`, root's alone, bounded, the newest few. The appliance's
 * services write no content of requests; of another appliance's nobody knows.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { containerLog } from "../../compose/engine/container-log.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { containerStates } from "../../compose/engine/project.ts";
import { makeDirectory, removeTree, writeWhole } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import type { DeployContext } from "./deploy-context.ts";

/** Of each container. */
const LOG_MAX_BYTES = 256 * 1024;
/** Deployments whose words are kept. */
const KEPT = 5;

export function failedLogsDirectory({ directory }: Pick<StatePaths, "directory">): string {
  return join(directory, "failed");
}

/**
 * Keeps what the containers of `project` wrote, and remarks where; nothing if they wrote nothing. Never in the
 * way of what is taken back: what cannot be kept is told and let go.
 */
export async function keepLogs(
  { paths, disk, report }: Pick<DeployContext, "paths" | "disk" | "report">,
  engine: Engine,
  project: string,
  deploymentId: string,
): Promise<void> {
  const all = failedLogsDirectory(paths);
  const directory = join(all, deploymentId);
  try {
    let kept = 0;
    for (const { id, service, text } of await containerStates(engine, project)) {
      const log = await containerLog(engine, id, LOG_MAX_BYTES);
      if (log.length === 0) continue;
      if (kept === 0) {
        makeDirectory(disk, all);
        makeDirectory(disk, directory);
      }
      writeWhole(disk, join(directory, `${service}.log`), Buffer.concat([Buffer.from(`# ${service}: ${text}\n`), log]));
      kept += 1;
    }
    if (kept === 0) return;
    for (const old of newestFirst(all).slice(KEPT)) removeTree(disk, old);
    report.remark(`what its containers wrote is kept in ${directory}`);
  } catch (cause) {
    report.remark(`what its containers wrote could not be kept: ${reasonOf(cause)}`);
  }
}

function newestFirst(directory: string): string[] {
  return readdirSync(directory)
    .map((name) => join(directory, name))
    .map((path) => ({ path, time: statSync(path).mtimeMs }))
    .sort((a, b) => b.time - a.time)
    .map(({ path }) => path);
}
