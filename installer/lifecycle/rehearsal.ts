/**
 * The upgrade rehearsed on a copy: a second database, filled from the backup just made, gets the next
 * release's migration, and the old release's services must still work on it. So the backup is proven to
 * be one, the migration to run on this site's data, and the way back to be open. Nothing of it is
 * reachable from outside, and all of it is removed again.
 */
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { downProject, type ProjectRun, runTask, upProject } from "../../compose/engine/project.ts";
import type { ComposeProject } from "../../compose/engine/prove-containers.ts";
import { type RenderInput, renderRehearsal } from "../../compose/render.ts";
import { type Disk, writeWhole } from "../site/disk.ts";
import { restoreDatabases } from "./backup.ts";
import { askCanary } from "./canary.ts";
import { lifecycleError } from "./error.ts";

const WAIT_SECONDS = 180;
export const MIGRATION_MAX_SECONDS = 3_600;
const STOP_SECONDS = 5;

export interface Rehearsal {
  /** The old release's services and a database. */
  readonly services: ComposeProject;
  /** The next release's migration, if it has one. */
  readonly migrate: ComposeProject | undefined;
}

/** Writes the files of a rehearsal into `directory`. @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
export function writeRehearsal(disk: Disk, directory: string, old: RenderInput, next: RenderInput): Rehearsal {
  const { services, migrate } = renderRehearsal(old, next);
  const project = ({ name, bytes }: typeof services, file: string): ComposeProject => {
    writeWhole(disk, `${directory}/${file}`, bytes);
    return { name, file: `${directory}/${file}`, directory };
  };
  return {
    services: project(services, "rehearsal.json"),
    migrate: migrate && project(migrate, "rehearsal-next.json"),
  };
}

/** @throws REHEARSAL_FAILED, after everything was removed again */
export async function rehearse(
  engine: Engine,
  rehearsal: Rehearsal,
  backup: string,
  rules: { readonly old: ApplianceRules; readonly next: ApplianceRules },
  oldVersion: string,
  run: ProjectRun & { readonly onDetail: (text: string) => void },
): Promise<void> {
  const { services, migrate } = rehearsal;
  const { database } = rules.old;
  let doing = "removing what an earlier rehearsal left";
  const begin = (what: string): void => {
    doing = what;
    run.onDetail(what);
  };
  try {
    await removeRehearsal(engine, rehearsal);
    if (database) {
      begin("starting a second database");
      await upProject(engine, services, WAIT_SECONDS, { ...run, services: [database.service] });
      begin("restoring the backup into it");
      await restoreDatabases(engine, services, database, backup, run);
    }
    if (migrate && rules.next.tasks.migrate !== undefined) {
      begin("migrating it");
      await runTask(engine, migrate, rules.next.tasks.migrate, MIGRATION_MAX_SECONDS, run);
    }
    begin(`starting ${oldVersion} on it`);
    await upProject(engine, services, WAIT_SECONDS, run);
    await askCanary(engine, services.name, rules.old, oldVersion, run.signal);
  } catch (cause) {
    run.signal?.throwIfAborted();
    throw lifecycleError("REHEARSAL_FAILED", `rehearsal: ${doing}: ${reasonOf(cause)}`, {
      cause,
      hints: ["nothing of the running site was touched; send the message to the release's publisher"],
    });
  } finally {
    await removeRehearsal(engine, rehearsal);
  }
}

/** Removes its containers, networks and data. @throws ENGINE_CALL_FAILED */
export async function removeRehearsal(engine: Engine, { services, migrate }: Rehearsal): Promise<void> {
  const all = { stopSeconds: STOP_SECONDS, volumes: true };
  if (migrate) await downProject(engine, migrate, all);
  await downProject(engine, services, all);
}
