/**
 * A backup restored where nothing runs: an install of the backup's own release, from its medium or the store, that
 * gets the backup's secrets before it starts, its databases and its audit log as soon as the base services run.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { awaitHealthy, restartServices } from "../../compose/engine/project.ts";
import { siteLogs } from "../audit/site-log.ts";
import { AUDIT_LOG, type BackupManifest, backupManifestSchema, DATABASES } from "../backup/backup-manifest.ts";
import { spoolDirectory } from "../backup/spool.ts";
import { makeDirectory, removeDurably, removeTree, writeWhole } from "../site/disk.ts";
import { secretFiles } from "../site/secrets.ts";
import { baseProject, type DeployContext, type DeployParameters, parseDeployParameters } from "./deploy-context.ts";
import { deploySteps } from "./deploy-steps.ts";
import { lifecycleError } from "./error.ts";
import { type NewStep, reported } from "./reported-step.ts";
import { type Gap, gapSchema, type RestoredBackup, restoredBackupSchema } from "./restore-data.ts";
import { dumpOf, fillDatabase } from "./restore-databases.ts";
import { layDownEpochs, requireEpoch } from "./restore-log.ts";
import type { OperationKind, Parameters, Step } from "./step.ts";
import { withStoredRelease } from "./stored-release.ts";

const START_SECONDS = 180;

/** A file below secrets/ that comes from the backup. */
export interface RestoredSecret {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
}

export interface RestoreSiteParameters {
  readonly deploy: DeployParameters;
  readonly backup: RestoredBackup;
  readonly secrets: readonly RestoredSecret[];
  readonly databases: BackupManifest["databases"];
  readonly logs: BackupManifest["logs"];
  readonly gap: Gap;
}

const { databases, logs } = (backupManifestSchema as { properties: Record<string, object> }).properties;
const properties = {
  deploy: { type: "object" },
  backup: restoredBackupSchema,
  secrets: {
    type: "array",
    items: {
      type: "object",
      additionalProperties: false,
      required: ["path", "mode", "uid"],
      properties: { path: { type: "string", maxLength: 255 }, mode: { type: "integer" }, uid: { type: "integer" } },
    },
  },
  databases,
  logs,
  gap: gapSchema,
};
const parametersSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
} as JsonSchema;

function parse(value: Parameters): RestoreSiteParameters {
  const problem = schemaProblem(parametersSchema, value);
  if (problem) throw lifecycleError("JOURNAL_DAMAGED", `the open operation's parameters: ${problem}`);
  const parameters = value as unknown as RestoreSiteParameters;
  parseDeployParameters(parameters.deploy as unknown as Parameters);
  return parameters;
}

/** The files of the secret with which the audit log is signed: a log that begins anew has another. */
export function logKeyFiles(rules: readonly SecretRule[]): string[] {
  const rule = rules.find(
    (one) => one.kind === "ed25519" && Object.keys(one.publicFiles).some((file) => /audit/.test(file)),
  );
  return rule ? Object.keys(secretFiles(rule)) : [];
}

export const restoreSiteKind: OperationKind<DeployContext> = {
  name: "restore-site",
  facts: (given) => {
    const { deploy, backup, gap } = parse(given);
    return { deployments: deploy.after, restored: backup, gap };
  },
  steps: (context, given) => {
    const parameters = parse(given);
    const own = (step: NewStep): Step => reported(context, step, true);
    const steps = [...deploySteps(context, parameters.deploy)];
    const insertBehind = (name: string, ...more: Step[]): void => {
      steps.splice(steps.findIndex((step) => step.name === name) + 1, 0, ...more);
    };
    steps.splice(
      steps.findIndex(({ name }) => name === "secrets"),
      0,
      own(secrets(context, parameters)),
    );
    insertBehind("base", own(fill(context, parameters)), own(log(context, parameters)));
    steps.push(reported(context, forget(context), false));
    return steps;
  },
};

function secrets(context: DeployContext, parameters: RestoreSiteParameters): NewStep {
  const { disk, paths } = context;
  const from = spoolDirectory(context);
  return {
    name: "restore-secrets",
    intent: `bring back ${parameters.secrets.length} secrets`,
    do: async () => {
      for (const { path, mode, uid } of parameters.secrets) {
        const parts = path.split("/").slice(0, -1);
        for (const [i] of parts.entries()) makeDirectory(disk, join(paths.directory, ...parts.slice(0, i + 1)));
        writeWhole(disk, join(paths.directory, path), readFileSync(join(from, path)), mode, uid);
      }
    },
    undo: async () => {
      for (const { path } of parameters.secrets) removeDurably(disk, join(paths.directory, path));
    },
  };
}

function fill(context: DeployContext, { deploy, databases, backup }: RestoreSiteParameters): NewStep {
  return {
    name: "restore-data",
    intent: `fill the databases with what they held at ${backup.created}`,
    do: () =>
      withStoredRelease(context.paths, deploy.to.release, async ({ rules }) => {
        if (!rules.database) return;
        const { service } = rules.database;
        const engine = await context.engine();
        const project = baseProject(context, deploy.to);
        await awaitHealthy(engine, project.name, START_SECONDS, { signal: context.signal, services: [service] });
        for (const name of databases) {
          context.report.detail(name);
          const dump = dumpOf(join(spoolDirectory(context), DATABASES), name);
          await fillDatabase({ engine, project, service }, name, dump, { signal: context.signal });
        }
      }),
    // The volumes go when the base services are taken back.
  };
}

function log(context: DeployContext, { deploy, logs }: RestoreSiteParameters): NewStep {
  return {
    name: "restore-log",
    intent: "close the audit log of the backup, and begin the one that continues it",
    do: () =>
      withStoredRelease(context.paths, deploy.to.release, async ({ rules }) => {
        if (!rules.audit || logs.length === 0) return;
        const engine = await context.engine();
        const { name } = baseProject(context, deploy.to);
        const { service } = rules.audit;
        await awaitHealthy(engine, name, START_SECONDS, { signal: context.signal, services: [service] });
        const [place] = await siteLogs(engine, context);
        if (!place) throw lifecycleError("RESTORE_FAILED", `service ${service} has no log in a volume of the site`);
        layDownEpochs(context.disk, place.directory, join(spoolDirectory(context), AUDIT_LOG), logs);
        await restartServices(engine, name, [service], START_SECONDS);
        requireEpoch(place.directory, logs);
      }),
  };
}

function forget(context: DeployContext): NewStep {
  return {
    name: "forget",
    intent: "remove what was unpacked",
    do: async () => removeTree(context.disk, spoolDirectory(context)),
  };
}

/** Of the backup's secrets those that this site does not have, but for the log's key. */
export function secretsToRestore(
  directory: string,
  { files }: Pick<BackupManifest, "files">,
  rules: readonly SecretRule[],
): RestoredSecret[] {
  const logKey = logKeyFiles(rules).map((file) => `secrets/${file}`);
  return files
    .filter(({ path }) => path.startsWith("secrets/") && !logKey.includes(path))
    .filter(({ path }) => !existsSync(join(directory, path)))
    .map(({ path, mode, uid }) => ({ path, mode, uid }));
}
