/**
 * A site's data taken back to a backup's, where a release runs: the databases, and nothing else. Its operators, trust,
 * ledger and audit log go on; a history that could be taken back would be none. What was stored since is lost, and the
 * plan, the ledger and the audit log say so.
 */
import { join } from "node:path";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { runTask, upProject } from "../../compose/engine/project.ts";
import { DATABASE_PATTERN, DATABASES } from "../backup/backup-manifest.ts";
import { spoolDirectory } from "../backup/spool.ts";
import { type Deployment, deploymentSchema } from "../site/deployment.ts";
import { readStateFile, removeTree, writeWhole } from "../site/disk.ts";
import { TIME_PATTERN } from "../site/state.ts";
import { askCanary } from "./canary.ts";
import { baseProject, colourProject, type DeployContext, type SiteNames } from "./deploy-context.ts";
import { endReported } from "./end-reported.ts";
import { lifecycleError } from "./error.ts";
import { clientAddress, confirmFront } from "./front.ts";
import { MIGRATION_MAX_SECONDS } from "./rehearsal.ts";
import { renderedFile } from "./rendered-file.ts";
import { type NewStep, reported } from "./reported-step.ts";
import { bringBack, type DatabasePlace, dropAside, dumpOf, fillDatabase, setAside } from "./restore-databases.ts";
import type { OperationKind, Parameters } from "./step.ts";
import { type ReleaseParts, withStoredRelease } from "./stored-release.ts";

const START_SECONDS = 180;
const STOP_SECONDS = 75;
/** What is wrong with the services then, and not with the engine. */
const DO_NOT_WORK: readonly string[] = ["ENGINE_UNHEALTHY", "CANARY_FAILED", "FRONT_NOT_SWITCHED"];

/** What the ledger says of the backup that was restored. */
export interface RestoredBackup {
  /** Of its manifest. */
  readonly manifest: Digest;
  readonly created: string;
  /** What ran when it was made. */
  readonly release: Digest;
  readonly version: string;
}

/** Entries of the audit log whose data is lost: those from `entriesAtBackup` on. */
export type Gap = Readonly<Record<string, number>>;

export interface RestoreDataParameters {
  /** 32 hexadecimal digits, random. */
  readonly id: string;
  readonly at: Deployment;
  readonly backup: RestoredBackup;
  readonly databases: readonly string[];
  readonly gap: Gap;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const closed = (properties: Readonly<Record<string, unknown>>): object => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});
export const restoredBackupSchema = closed({
  manifest: digest,
  created: { type: "string", pattern: TIME_PATTERN },
  release: digest,
  version: { type: "string", maxLength: 256 },
});
export const gapSchema = { type: "object", additionalProperties: { type: "integer", minimum: 0 } };
export const databasesSchema = { type: "array", maxItems: 64, items: { type: "string", pattern: DATABASE_PATTERN } };
const parametersSchema = closed({
  id: { type: "string", pattern: "^[0-9a-f]{32}$" },
  at: deploymentSchema,
  backup: restoredBackupSchema,
  databases: databasesSchema,
  gap: gapSchema,
}) as JsonSchema;

function parse(value: Parameters): RestoreDataParameters {
  const problem = schemaProblem(parametersSchema, value);
  if (problem) throw lifecycleError("JOURNAL_DAMAGED", `the open operation's parameters: ${problem}`);
  return value as unknown as RestoreDataParameters;
}

/** Which restore was the last one: its presence is the commit. */
function markPath({ paths }: Pick<SiteNames, "paths">): string {
  return join(paths.directory, "site", "restored.json");
}

const MARK_MAX_BYTES = 64 * 1024;

function lastRestore(site: Pick<SiteNames, "paths">): unknown {
  const bytes = readStateFile(markPath(site), MARK_MAX_BYTES);
  return (bytes && (parseCanonicalJson(bytes) as { id?: unknown } | undefined))?.id;
}

export const restoreDataKind: OperationKind<DeployContext> = {
  name: "restore",
  facts: (given) => {
    const { backup, gap } = parse(given);
    return { restored: backup, gap };
  },
  steps: (context, given) => {
    const restoring = new Restoring(context, parse(given));
    const steps = [halt, data, migrate, start, commit, tidy].map((make) => make(restoring));
    const commitIndex = steps.findIndex((step) => step.isCommit);
    return steps.map((step, index) => reported(context, step, index < commitIndex));
  },
};

class Restoring {
  readonly context: DeployContext;
  readonly parameters: RestoreDataParameters;

  constructor(context: DeployContext, parameters: RestoreDataParameters) {
    this.context = context;
    this.parameters = parameters;
  }

  release<Value>(work: (parts: ReleaseParts) => Promise<Value>): Promise<Value> {
    return withStoredRelease(this.context.paths, this.parameters.at.release, work);
  }

  /** Runs `work` for each database. */
  async eachDatabase(work: (place: DatabasePlace, name: string) => Promise<void>): Promise<void> {
    const { context, parameters } = this;
    const service = await this.release(async ({ rules }) => rules.database?.service);
    if (service === undefined) return;
    const place = { engine: await context.engine(), project: baseProject(context, parameters.at), service };
    for (const name of parameters.databases) await work(place, name);
  }

  /** Starts the services that work on the data, and asks whether they do. */
  async startServices(signal: AbortSignal | undefined): Promise<void> {
    const { context, parameters } = this;
    const { at } = parameters;
    renderedFile(context, at, "containers");
    const engine = await context.engine();
    const project = colourProject(context, at);
    await upProject(engine, project, START_SECONDS, { signal, onLine: (line) => context.report.detail(line) });
    await this.release(async ({ rules }) => {
      await askCanary(engine, project.name, rules, at.version, signal);
      await confirmFront(clientAddress(renderedFile(context, at, "base"), rules), at, signal);
    });
  }

  /**
   * As `startServices`, where the data is that of before. Whoever restores has often a site that does not work: then
   * its services are as they were, and the restore ends, so that another one can begin.
   */
  async startAgain(): Promise<void> {
    try {
      await this.startServices(undefined);
    } catch (cause) {
      if (!(cause instanceof SealiftError) || !DO_NOT_WORK.includes(cause.code)) throw cause;
      this.context.report.remark(
        `the data of before is in place, and the services do not work on it: ${cause.message}`,
      );
    }
  }

  async stopServices(): Promise<void> {
    const { context, parameters } = this;
    const project = colourProject(context, parameters.at);
    await endReported(context.report, await context.engine(), project, STOP_SECONDS);
  }
}

function halt(restoring: Restoring): NewStep {
  return {
    name: "halt",
    intent: "let the services that work on the data end; clients get no answers now",
    do: () => restoring.stopServices(),
    undo: () => restoring.startAgain(),
  };
}

function data(restoring: Restoring): NewStep {
  const { context, parameters } = restoring;
  const directory = join(spoolDirectory(context), DATABASES);
  return {
    name: "data",
    intent: `put the databases of ${parameters.backup.created} in the place of those that are there`,
    do: () =>
      restoring.eachDatabase(async (place, name) => {
        context.report.detail(name);
        await setAside(place, name);
        await fillDatabase(place, name, dumpOf(directory, name), { signal: context.signal });
      }),
    undo: () => restoring.eachDatabase(bringBack),
  };
}

function migrate(restoring: Restoring): NewStep {
  const { context, parameters } = restoring;
  return {
    name: "migrate",
    intent: `bring their schema to ${parameters.at.version}`,
    do: () =>
      restoring.release(async ({ rules }) => {
        if (rules.tasks.migrate === undefined) return;
        const project = colourProject(context, parameters.at);
        const run = { signal: context.signal, onLine: (line: string) => context.report.detail(line) };
        await runTask(await context.engine(), project, rules.tasks.migrate, MIGRATION_MAX_SECONDS, run);
      }),
  };
}

function start(restoring: Restoring): NewStep {
  const { context, parameters } = restoring;
  return {
    name: "start",
    intent: `start ${parameters.at.version} on them, and ask whether all of it works`,
    do: () => restoring.startServices(context.signal),
    undo: () => restoring.stopServices(),
  };
}

function commit({ context, parameters }: Restoring): NewStep {
  const { id, backup } = parameters;
  return {
    name: "commit",
    intent: "record the data as restored",
    isCommit: true,
    do: async () => writeWhole(context.disk, markPath(context), canonicalJson({ schemaVersion: 1, id, backup })),
    probe: async () => (lastRestore(context) === id ? "done" : "not-done"),
  };
}

function tidy(restoring: Restoring): NewStep {
  const { context } = restoring;
  return {
    name: "tidy",
    intent: "remove the data from before, and what was unpacked",
    do: async () => {
      await restoring.eachDatabase(dropAside);
      removeTree(context.disk, spoolDirectory(context));
    },
  };
}
