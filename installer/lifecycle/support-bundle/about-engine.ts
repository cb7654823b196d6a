/** What of the engine, of its containers and of what they wrote goes into a support bundle. */
import { join } from "node:path";
import { containerLog } from "../../../compose/engine/container-log.ts";
import { connect, connectionError, type Engine } from "../../../compose/engine/engine.ts";
import { siteContainers } from "../../../compose/engine/project.ts";
import { readStateFile } from "../../site/disk.ts";
import { NAME } from "./allowed.ts";
import { entriesIn, newestFirst } from "./directories.ts";
import { shownLines } from "./log-lines.ts";
import { CONTAINER, ENGINE_FACTS, ENGINE_INFO } from "./shapes.ts";

/** Of each service, the end of what it wrote. */
const LOG_MAX_BYTES = 256 * 1024;
/** Of each failed deployment's services. */
const FAILED_LOG_MAX_BYTES = 64 * 1024;

export async function aboutEngine(engine: Engine): Promise<object> {
  try {
    const docker = await connect(engine);
    return { facts: ENGINE_FACTS(engine.facts), info: ENGINE_INFO(await docker.info()) };
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

export async function containers(engine: Engine, siteId: string): Promise<unknown[]> {
  const shown: unknown[] = [];
  for (const { id } of await siteContainers(engine, siteId)) {
    try {
      const docker = await connect(engine);
      shown.push(CONTAINER(await docker.getContainer(id).inspect()));
    } catch (cause) {
      throw connectionError(engine.socketPath, cause);
    }
  }
  return shown;
}

export async function logs(engine: Engine, siteId: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const { id, project, service } of await siteContainers(engine, siteId)) {
    if (NAME(project) === undefined || NAME(service) === undefined) continue;
    files.set(`${project}-${service}.jsonl`, shownLines(await containerLog(engine, id, LOG_MAX_BYTES)));
  }
  return files;
}

export function failedLogs(directory: string): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const path of newestFirst(directory, /^[0-9a-f]{32}$/)) {
    for (const { name } of entriesIn(path).filter((entry) => entry.isFile())) {
      const [, service] = /^([a-z][a-z0-9-]{0,62})\.log$/.exec(name) ?? [];
      const bytes = service === undefined ? undefined : readStateFile(join(path, name), 4 * LOG_MAX_BYTES);
      if (bytes) files.set(`${path.slice(-32)}-${service}.jsonl`, shownLines(bytes.subarray(-FAILED_LOG_MAX_BYTES)));
    }
  }
  return files;
}
