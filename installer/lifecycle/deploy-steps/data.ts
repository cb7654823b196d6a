/** Steps about the databases: their backup, the rehearsal on a copy, the extended schema. */
import type { ApplianceRules } from "../../../bundles/model/appliance-rules.ts";
import { downProject, runTask, startProject, stopTask } from "../../../compose/engine/project.ts";
import { type ComposeFile, parseComposeFile, servicesApart } from "../../../compose/engine/start-waves.ts";
import { readConfigBytes } from "../../site/config.ts";
import { deploymentPaths } from "../../site/deployment.ts";
import { readStateFile, removeTree } from "../../site/disk.ts";
import { STATE_DOCUMENT_MAX_BYTES } from "../../site/state.ts";
import { backUpDatabases, backupDirectory } from "../backup.ts";
import { baseProject, colourProject } from "../deploy-context.ts";
import { MIGRATION_MAX_SECONDS, rehearse, removeRehearsal, writeRehearsal } from "../rehearsal.ts";
import type { NewStep } from "../reported-step.ts";
import { type ReleaseParts, renderInput } from "../stored-release.ts";
import { type Deploying, START_SECONDS, STOP_SECONDS } from "./deploying.ts";

export function backup(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const directory = backupDirectory(context.paths, parameters.to.id);
  return {
    name: "backup",
    intent: "back up the databases",
    do: () =>
      deploying.withCurrent(async ({ rules }, current) => {
        if (!rules.database) return;
        const project = baseProject(context, current);
        const engine = await context.engine();
        const bytes = await backUpDatabases(context.disk, engine, project, rules.database, directory, deploying.run);
        context.report.detail(`${(bytes / 1e6).toFixed(1)} MB`);
      }),
    undo: async () => removeTree(context.disk, directory),
  };
}

export function rehearsal(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { paths, disk, report } = context;
  const { to } = parameters;
  const { directory } = deploymentPaths(paths, to.id);
  const files = <Value>(
    work: (files: ReturnType<typeof writeRehearsal>, old: ReleaseParts, next: ReleaseParts) => Promise<Value>,
  ) =>
    deploying.withCurrent((old, current) =>
      deploying.withNext((next) => {
        const currentConfig = readStateFile(deploymentPaths(paths, current.id).config, STATE_DOCUMENT_MAX_BYTES);
        const oldInput = renderInput(context, old, current.colour, readConfigBytes(currentConfig, current.config));
        const nextInput = renderInput(context, next, to.colour, deploying.config);
        const written = writeRehearsal(disk, directory, oldInput, nextInput);
        return work(written, old, next);
      }),
    );
  return {
    name: "rehearse",
    intent: `rehearse the upgrade to ${to.version} on a copy of the data`,
    do: () =>
      files(async (written, old, next) => {
        const run = { ...deploying.run, onDetail: (text: string) => report.detail(text) };
        const rules = { old: old.rules, next: next.rules };
        const backupOf = backupDirectory(paths, to.id);
        await rehearse(await context.engine(), written, backupOf, rules, old.release.manifest.version, run);
      }),
    undo: () => files(async (written) => removeRehearsal(await context.engine(), written)),
  };
}

export function migrate(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const project = colourProject(context, parameters.to);
  return {
    name: "migrate",
    intent: "extend the database schema",
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const { migrate: task } = rules.tasks;
        if (task === undefined) return;
        const engine = await context.engine();
        // They come up while the database does.
        const services = servicesOffDatabase(deploying, rules);
        await startProject(engine, project, START_SECONDS, { ...deploying.run, services });
        await deploying.awaitBase();
        const said = await runTask(engine, project, task, MIGRATION_MAX_SECONDS, deploying.run);
        context.report.detail(said.trim().split("\n").at(-1) ?? "");
      }),
    // The schema stays extended: the old release was rehearsed on it, and taking columns away loses data.
    undo: () =>
      deploying.withNext(async ({ rules }) => {
        const engine = await context.engine();
        if (rules.tasks.migrate !== undefined) await stopTask(engine, project.name, rules.tasks.migrate);
        await downProject(engine, project, { stopSeconds: STOP_SECONDS });
      }),
  };
}

/**
 * Services of the colour that cannot reach the database: to them it is the same which schema there is, so
 * `migrate` starts them before.
 */
export function servicesOffDatabase(deploying: Deploying, { database, tasks }: ApplianceRules): string[] {
  if (!database || tasks.migrate === undefined || !deploying.parameters.parts.migrate) return [];
  const { to } = deploying.parameters;
  const file = (which: "base" | "containers"): ComposeFile => parseComposeFile(deploying.rendered(to, which));
  const networks = Object.keys(file("base").services[database.service]?.networks ?? {});
  return servicesApart(file("containers"), networks);
}
