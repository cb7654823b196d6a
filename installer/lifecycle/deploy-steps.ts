/**
 * The steps of an install, upgrade, rollback and configuration change. They are the same ones; an action
 * leaves out what it does not need. Up to the commit each can be taken back; the commit is one rename; what
 * follows only clears away, and may be done twice.
 */
import { readdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { loadImages } from "../../compose/engine/load-images.ts";
import {
  awaitHealthy,
  containerStates,
  downProject,
  type ProjectRun,
  restartServices,
  runTask,
  startProject,
  stopTask,
  upProject,
} from "../../compose/engine/project.ts";
import { proveContainers } from "../../compose/engine/prove-containers.ts";
import { type ComposeFile, parseComposeFile, servicesApart, startWaves } from "../../compose/engine/start-waves.ts";
import { projectName } from "../../compose/render.ts";
import { type Config, readConfigBytes } from "../site/config.ts";
import { type Deployment, deploymentPaths, readDeployments, writeDeployments } from "../site/deployment.ts";
import { makeDirectory, readStateFile, removeDurably, removeTree, writeWhole } from "../site/disk.ts";
import { secretMakers } from "../site/secret-makers.ts";
import { generateSecrets } from "../site/secrets.ts";
import { STATE_DOCUMENT_MAX_BYTES, type StatePaths } from "../site/state.ts";
import { removeStored, stageRelease } from "../site/store.ts";
import { backUpDatabases, backupDirectory } from "./backup.ts";
import { askCanary } from "./canary.ts";
import { requireCarriedFiles } from "./carried-files.ts";
import {
  type CertificateChange,
  changeCertificate,
  forgetCertificate,
  restoreCertificate,
} from "./certificate-change.ts";
import { baseProject, colourProject, type DeployContext, type DeployParameters } from "./deploy-context.ts";
import { endReported } from "./end-reported.ts";
import { lifecycleError } from "./error.ts";
import { keepLogs } from "./failed-logs.ts";
import { askFront, clientAddress, confirmFront, removeSwitch, switchFront, writeSwitch } from "./front.ts";
import { MIGRATION_MAX_SECONDS, rehearse, removeRehearsal, writeRehearsal } from "./rehearsal.ts";
import { type NewStep, reported } from "./reported-step.ts";
import { beginRotation, forgetRotation, type Rotation, restoreRotation, settleRotation } from "./rotation.ts";
import type { Step } from "./step.ts";
import { type ReleaseParts, renderFor, renderInput, withStoredRelease } from "./stored-release.ts";

const START_SECONDS = 180;
const STOP_SECONDS = 10;
const CREDENTIALS_MAX_SECONDS = 120;
const WATCH_INTERVAL_MS = 500;
/** An answer through the front that takes longer counts as none while the new colour is watched. */
const WATCH_SLOW_MS = 2_000;
export const RENDERED_MAX_BYTES = 4 * 1024 * 1024;

interface LoadWish {
  readonly among?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** What `do` and `undo` of a step act on. */
class Deploying {
  readonly context: DeployContext;
  readonly parameters: DeployParameters;

  constructor(context: DeployContext, parameters: DeployParameters) {
    this.context = context;
    this.parameters = parameters;
  }

  get run(): ProjectRun {
    const { report, signal } = this.context;
    return { signal, onLine: (line) => report.detail(line) };
  }

  get config(): Config {
    return readConfigBytes(Buffer.from(this.parameters.config), this.parameters.to.config);
  }

  /** The release that the site shall be at, from the store. */
  withNext<Value>(work: (parts: ReleaseParts) => Promise<Value>): Promise<Value> {
    return withStoredRelease(this.context.paths, this.parameters.to.release, work);
  }

  /** The release that the site is at. */
  withCurrent<Value>(work: (parts: ReleaseParts, current: Deployment) => Promise<Value>): Promise<Value> {
    const { current } = this.parameters.before;
    if (!current) throw new TypeError("nothing is installed yet");
    return withStoredRelease(this.context.paths, current.release, (parts) => work(parts, current));
  }

  /** Loads the next release's images, or those of the services that `among` names. @throws as `loadImages` */
  load({ among, signal = this.context.signal }: LoadWish = {}): Promise<void> {
    const { engine, paths, report } = this.context;
    return this.withNext(async (parts) => {
      const { layout, release, template } = parts;
      // A release that was not staged was verified where it lies, every byte of it.
      if (this.parameters.parts.stage) await requireCarriedFiles(paths, parts);
      const images = among?.map((service) => template.services[service]?.image.split("@")[0] ?? "");
      await loadImages(await engine(), layout, release, {
        onProgress: (detail) => report.detail(detail),
        ...(images && { only: images }),
        ...(signal && { signal }),
      });
    });
  }

  /** If this operation started base services: they work, and what is to come may need them. @throws ENGINE_UNHEALTHY */
  async awaitBase(): Promise<void> {
    if (!this.parameters.parts.base) return;
    const { name } = baseProject(this.context, this.parameters.to);
    await awaitHealthy(await this.context.engine(), name, START_SECONDS, this.run);
  }

  /** A file that was rendered for `deployment`, if nobody changed it. @throws as `renderedFile` */
  rendered(deployment: Deployment, file: "base" | "containers"): Buffer {
    return renderedFile(this.context, deployment, file);
  }
}

/** @throws DEPLOYMENT_DAMAGED if it is not the file that was rendered | DEPLOYMENT_ELSEWHERE */
export function renderedFile(
  { paths }: Pick<DeployContext, "paths">,
  deployment: Deployment,
  file: "base" | "containers",
): Buffer {
  const path = deploymentPaths(paths, deployment.id)[file];
  const bytes = readStateFile(path, RENDERED_MAX_BYTES);
  if (bytes && digestOf(bytes) === deployment[file]) {
    if (file === "base") requireNoCopy(paths, bytes);
    return bytes;
  }
  throw lifecycleError("DEPLOYMENT_DAMAGED", `${JSON.stringify(path)} is not the file that was rendered`, {
    hints: [
      "somebody edited or removed it: keep a copy as evidence",
      "sealift start writes it anew, as it was authorized",
    ],
  });
}

/**
 * Two state directories must not steer the same containers: what one does the other never hears of.
 * @throws DEPLOYMENT_ELSEWHERE if the containers' files are in another directory, of which this one is a copy
 */
export function requireNoCopy({ directory }: StatePaths, baseFile: Uint8Array): void {
  const [, origin] = /"source":"(\/[^"\\]*)\/switch"/.exec(Buffer.from(baseFile).toString("utf8")) ?? [];
  if (origin === undefined || realPath(origin) === realPath(directory)) return;
  throw lifecycleError(
    "DEPLOYMENT_ELSEWHERE",
    `${JSON.stringify(directory)} is a copy: the site was installed from ${JSON.stringify(origin)}`,
    { hints: [`name the site's own directory: --state ${origin}`] },
  );
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** The operation's steps, in order. */
export function deploySteps(context: DeployContext, parameters: DeployParameters): readonly Step[] {
  const deploying = new Deploying(context, parameters);
  const { action, parts } = parameters;
  const isInstall = action === "install";
  const steps: (NewStep | false | undefined)[] = [
    parts.stage && stage(deploying),
    secrets(deploying),
    parameters.certificate && certificate(deploying, parameters.certificate),
    render(deploying),
    ...(isInstall ? [loadFirst(deploying), firstBase(deploying)] : [load(deploying)]),
    parts.backup && backup(deploying),
    parts.rehearse && rehearsal(deploying),
    !isInstall && parts.base && nextBase(deploying),
    parameters.rotation && rotate(deploying, parameters.rotation),
    parts.migrate && migrate(deploying),
    start(deploying),
    prove(deploying),
    gate(deploying),
    isInstall ? openFront(deploying) : turnFront(deploying),
    !isInstall && watch(deploying),
    commit(deploying),
    !isInstall && drain(deploying),
    parameters.rotation && settle(deploying, parameters.rotation),
    parts.credentials && credentials(deploying),
    tidy(deploying),
  ];
  const all = steps.filter((step) => step !== false && step !== undefined);
  const commitIndex = all.findIndex((step) => step.isCommit);
  return all.map((step, index) => reported(context, step, index <= commitIndex));
}

function stage({ context, parameters }: Deploying): NewStep {
  const { paths, disk, source, report } = context;
  const { before, to } = parameters;
  const isInUse = [before.current, before.previous].some((one) => one?.release === to.release);
  return {
    name: "stage",
    intent: "copy the release into the site's store",
    do: async () => {
      if (source?.release.descriptor.digest !== to.release) throw new TypeError("no verified release to stage");
      await stageRelease(disk, paths.directory, source, (done, total) =>
        report.detail(`${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB`),
      );
    },
    undo: async () => {
      if (!isInUse) removeStored(disk, paths.directory, to.release);
    },
  };
}

function secrets(deploying: Deploying): NewStep {
  const { paths, disk } = deploying.context;
  const directory = join(paths.directory, "secrets");
  const { newSecrets } = deploying.parameters;
  return {
    name: "secrets",
    intent: newSecrets.length === 0 ? "look for missing secrets" : `make ${newSecrets.length} secrets`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const makers = secretMakers(deploying.context, deploying.config);
        await generateSecrets(disk, directory, rules.secrets, makers);
      }),
    ...(newSecrets.length > 0 && {
      undo: async () => {
        for (const file of newSecrets) removeDurably(disk, join(directory, file));
      },
    }),
  };
}

function certificate({ context, config }: Deploying, change: CertificateChange): NewStep {
  return {
    name: "certificate",
    intent: "replace the certificate for clients",
    do: () => changeCertificate(context, change, config),
    undo: async () => restoreCertificate(context, change),
  };
}

function render(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  const { disk, paths, source } = context;
  const files = deploymentPaths(paths, to.id);
  return {
    name: "render",
    intent: "write the Compose files",
    do: () =>
      deploying.withNext(async (parts) => {
        const { base: baseFile, colour } = renderFor(context, parts, to.colour, deploying.config);
        requireSame("base", digestOf(baseFile.bytes), to.base);
        requireSame("containers", digestOf(colour.bytes), to.containers);
        makeDirectory(disk, files.directory);
        writeWhole(disk, files.base, baseFile.bytes);
        writeWhole(disk, files.containers, colour.bytes);
        writeWhole(disk, files.config, Buffer.from(parameters.config));
        if (source) writeWhole(disk, files.verdict, canonicalJson(source.verdict));
      }),
    undo: async () => removeTree(disk, files.directory),
  };
}

function requireSame(what: string, got: Digest, want: Digest): void {
  if (got === want) return;
  throw lifecycleError("DEPLOYMENT_DAMAGED", `${what} file: got ${got}, but ${want} was planned and authorized`);
}

function load(deploying: Deploying): NewStep {
  return {
    name: "load",
    intent: "load the images into the engine",
    do: () => deploying.load(),
    // Images are left in the engine: they change nothing, the next try needs them, and `prune` removes them.
  };
}

/** Nothing runs yet: what starts first waits for no image but its own. */
function loadFirst(deploying: Deploying): NewStep {
  return {
    name: "load-first",
    intent: "load the images of what starts first",
    do: () => deploying.withNext(async ({ rules }) => deploying.load({ among: servicesFirst(deploying, rules) })),
  };
}

/** The database and what it depends on: all else waits for it. All base services, if there is none. */
function servicesFirst(deploying: Deploying, { database }: ApplianceRules): readonly string[] {
  const file = parseComposeFile(deploying.rendered(deploying.parameters.to, "base"));
  return startWaves(file, database && [database.service]).flat();
}

function backup(deploying: Deploying): NewStep {
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

function rehearsal(deploying: Deploying): NewStep {
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

/** The base services come up while images are loaded: first of the other base services, then all. */
function firstBase(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { disk, paths } = context;
  const { to, hasOldVolumes } = parameters;
  const project = baseProject(context, to);
  // Whether the services work is asked by the first step that needs them.
  const startBase = async (run: ProjectRun): Promise<void> =>
    startProject(await context.engine(), project, START_SECONDS, { ...deploying.run, ...run });
  return {
    name: "base",
    intent: "start the base services, and load the other images meanwhile",
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const first = servicesFirst(deploying, rules);
        writeSwitch(disk, paths, to.colour);
        await bothOrNone(
          context.signal,
          (signal) => startBase({ signal, services: first }),
          (signal) => deploying.load({ signal, among: rules.base }),
        );
        await bothOrNone(
          context.signal,
          (signal) => startBase({ signal, started: first }),
          (signal) => deploying.load({ signal }),
        );
      }),
    undo: async () => {
      const engine = await context.engine();
      await keepLogs(context, engine, project.name, to.id);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS, volumes: !hasOldVolumes });
      removeSwitch(disk, paths);
    },
  };
}

/** Of two works neither goes on after the other has failed; ends when both have. @throws what failed first */
async function bothOrNone(
  signal: AbortSignal | undefined,
  ...works: readonly ((signal: AbortSignal) => Promise<void>)[]
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]);
  const failures: unknown[] = [];
  const stopOther = (cause: unknown): void => {
    failures.push(cause);
    stop.abort();
  };
  await Promise.all(works.map((work) => work(either).catch(stopOther)));
  if (failures.length > 0) throw failures[0];
}

function nextBase(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { before, to } = parameters;
  return {
    name: "base",
    intent: "replace the base services that change",
    do: async () => {
      deploying.rendered(to, "base");
      await startProject(await context.engine(), baseProject(context, to), START_SECONDS, deploying.run);
    },
    undo: async () => {
      if (before.current) await upProject(await context.engine(), baseProject(context, before.current), START_SECONDS);
    },
  };
}

function rotate(deploying: Deploying, rotation: Rotation): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "rotate",
    intent: `make other ${rotation.wish}; the old ones still count`,
    do: () =>
      deploying.withNext(async ({ template }) => {
        beginRotation(context, template, rotation);
        await restartBase(deploying, parameters.to, rotation.between);
      }),
    undo: async () => {
      const { current } = parameters.before;
      // Whether they heard of the new ones already nobody knows.
      if (restoreRotation(context, rotation) && current) await restartBase(deploying, current, rotation.between);
      forgetRotation(context);
    },
  };
}

function settle(deploying: Deploying, rotation: Rotation): NewStep {
  return {
    name: "settle",
    intent: `let the old ${rotation.wish} count no more`,
    do: async () => {
      settleRotation(deploying.context, rotation);
      await restartBase(deploying, deploying.parameters.to, rotation.after);
    },
  };
}

async function restartBase({ context }: Deploying, of: Deployment, services: readonly string[]): Promise<void> {
  await restartServices(await context.engine(), baseProject(context, of).name, services, START_SECONDS);
}

function migrate(deploying: Deploying): NewStep {
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
function servicesOffDatabase(deploying: Deploying, { database, tasks }: ApplianceRules): string[] {
  if (!database || tasks.migrate === undefined || !deploying.parameters.parts.migrate) return [];
  const { to } = deploying.parameters;
  const file = (which: "base" | "containers"): ComposeFile => parseComposeFile(deploying.rendered(to, which));
  const networks = Object.keys(file("base").services[database.service]?.networks ?? {});
  return servicesApart(file("containers"), networks);
}

function start(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  const project = colourProject(context, to);
  return {
    name: "start",
    intent: `start ${to.version} in ${to.colour}`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        deploying.rendered(to, "containers");
        await deploying.awaitBase();
        // They are compared with the release while they come up; the gate asks whether they work.
        const run = { ...deploying.run, started: servicesOffDatabase(deploying, rules) };
        await startProject(await context.engine(), project, START_SECONDS, run);
      }),
    undo: async () => {
      const engine = await context.engine();
      await keepLogs(context, engine, project.name, to.id);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS });
    },
  };
}

function prove(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "prove",
    intent: "compare the containers with the release",
    do: () =>
      deploying.withNext(async ({ layout, release }) => {
        const engine = await context.engine();
        const loaded = await loadImages(engine, layout, release);
        const images = new Map(loaded.map((image) => [image.reference, image]));
        const projects = [baseProject(context, parameters.to), colourProject(context, parameters.to)];
        await Promise.all(projects.map((project) => proveContainers(engine, project, images)));
      }),
  };
}

function gate(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  return {
    name: "gate",
    intent: `ask ${to.version} whether all of it works`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const engine = await context.engine();
        const { name } = colourProject(context, to);
        await awaitHealthy(engine, name, START_SECONDS, deploying.run);
        await askCanary(engine, name, rules, to.version, context.signal);
        // Asked once more: one without a health check may have ended since.
        await deploying.awaitBase();
        await awaitHealthy(engine, name, START_SECONDS, deploying.run);
      }),
  };
}

function openFront(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "front",
    intent: `reach ${parameters.to.version} as clients will`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const target = clientAddress(deploying.rendered(parameters.to, "base"), rules);
        await confirmFront(target, parameters.to, context.signal);
      }),
  };
}

function turnFront(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { before, to } = parameters;
  const turnTo = (deployment: Deployment, baseOf: Deployment, signal?: AbortSignal): Promise<void> =>
    deploying.withNext(async ({ rules }) => {
      const target = clientAddress(deploying.rendered(baseOf, "base"), rules);
      await switchFront(context, await context.engine(), rules, deployment, target, signal);
    });
  return {
    name: "switch",
    intent: `send clients to ${to.version} in ${to.colour}`,
    do: () => turnTo(to, to, context.signal),
    // The base file of `to` is still in force here: `base` is taken back after this.
    undo: async () => (before.current ? turnTo(before.current, to) : undefined),
  };
}

function watch(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to, watchSeconds } = parameters;
  return {
    name: "watch",
    intent: `watch ${to.version} for ${watchSeconds} s`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const engine = await context.engine();
        const target = clientAddress(deploying.rendered(to, "base"), rules);
        const end = performance.now() + watchSeconds * 1000;
        while (performance.now() < end) {
          context.signal?.throwIfAborted();
          const started = performance.now();
          await requireWorking(context, engine, to, target);
          context.report.detail(`${Math.max(0, Math.round((end - performance.now()) / 1000))} s to go`);
          await pause(WATCH_INTERVAL_MS - (performance.now() - started));
        }
      }),
  };
}

/** @throws WATCH_FAILED. An error that a client can cause is not looked at: only what is asked here counts. */
async function requireWorking(
  context: DeployContext,
  engine: Engine,
  { version, colour }: Deployment,
  target: Parameters<typeof askFront>[0],
): Promise<void> {
  const bad = (await containerStates(engine, projectName(context.siteId, colour))).find(
    ({ healthy, restarts }) => !healthy || restarts > 0,
  );
  if (bad)
    throw watchFailed(`${bad.service}: ${bad.text}${bad.restarts > 0 ? `, restarted ${bad.restarts} times` : ""}`);
  let answered: Awaited<ReturnType<typeof askFront>>;
  try {
    answered = await askFront(target);
  } catch (cause) {
    throw watchFailed(`the front: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  if (answered.release !== version) throw watchFailed(`the front: release ${JSON.stringify(answered.release)} answers`);
  if (answered.milliseconds > WATCH_SLOW_MS) throw watchFailed(`the front: an answer took ${answered.milliseconds} ms`);
}

function watchFailed(what: string): Error {
  return lifecycleError("WATCH_FAILED", `after the switch: ${what}`);
}

async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function commit({ context, parameters }: Deploying): NewStep {
  const { paths, disk } = context;
  const { before, after, to } = parameters;
  return {
    name: "commit",
    intent: `record ${to.version} as installed`,
    isCommit: true,
    do: async () => writeDeployments(disk, paths, after),
    undo: async () => {
      if (readDeployments(paths).current?.id === to.id) writeDeployments(disk, paths, before);
    },
    probe: async () => (readDeployments(paths).current?.id === to.id ? "done" : "not-done"),
  };
}

function drain({ context, parameters }: Deploying): NewStep {
  const { current } = parameters.before;
  const { drainSeconds } = parameters;
  return {
    name: "drain",
    intent: `let ${current?.version} in ${current?.colour} end its requests (at most ${drainSeconds} s)`,
    do: async () => {
      if (!current) return;
      context.report.detail("open requests end; new ones go to the other colour");
      const engine = await context.engine();
      const project = colourProject(context, current);
      await endReported(context.report, engine, project, drainSeconds);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS });
    },
  };
}

function credentials(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "credentials",
    intent: "make the first credentials",
    do: () =>
      deploying.withNext(async ({ rules }) => {
        if (rules.tasks.credentials === undefined) return;
        const project = colourProject(context, parameters.to);
        const task = rules.tasks.credentials;
        context.showOnce((await runTask(await context.engine(), project, task, CREDENTIALS_MAX_SECONDS)).trim());
      }),
  };
}

/** Files of deployments to which nobody can return any more. */
function tidy({ context, parameters }: Deploying): NewStep {
  const { paths, disk } = context;
  const kept = [parameters.after.current, parameters.after.previous].flatMap((one) => one?.id ?? []);
  return {
    name: "tidy",
    intent: "remove the files of older deployments",
    do: async () => {
      forgetCertificate(context);
      forgetRotation(context);
      for (const id of readdirSync(join(paths.directory, "deployments"))) {
        if (!kept.includes(id)) removeTree(disk, join(paths.directory, "deployments", id));
      }
    },
  };
}
