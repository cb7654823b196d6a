/**
 * Uninstall and prune. What they remove is named in the plan; once they have begun they only go forward,
 * because nothing that was removed comes back: recover removes the rest.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { downProject } from "../../compose/engine/project.ts";
import { leftImages, type NamedImage, removeImages } from "../../compose/engine/remove-images.ts";
import { removeSiteVolumes } from "../../compose/engine/remove-volumes.ts";
import { forgetToldMark } from "../audit/ledger-events.ts";
import {
  type Deployments,
  deploymentPaths,
  deploymentsSchema,
  readDeployments,
  writeDeployments,
} from "../site/deployment.ts";
import { readStateFile, removeDurably, removeTree } from "../site/disk.ts";
import { removeStored, storedReleases } from "../site/store.ts";
import type { PlanSubject } from "./authorization.ts";
import { backupDirectory } from "./backup.ts";
import { baseProject, colourProject, type DeployContext, type SiteNames } from "./deploy-context.ts";
import { requireInstalled } from "./deploy-plan.ts";
import { endReported } from "./end-reported.ts";
import { lifecycleError } from "./error.ts";
import { failedLogsDirectory } from "./failed-logs.ts";
import { RENDERED_MAX_BYTES, requireNoCopy } from "./rendered-file.ts";
import { type NewStep, reported } from "./reported-step.ts";
import type { OperationKind, Parameters } from "./step.ts";
import { withStoredRelease } from "./stored-release.ts";

const STOP_SECONDS = 75;

export interface RemovalPlan {
  readonly subject: PlanSubject;
  readonly parameters: RemovalParameters;
}

export interface RemovalParameters {
  readonly before: Deployments;
  readonly releases: readonly Digest[];
  readonly images: readonly NamedImage[];
  /** Of which no other images than these shall be left; null, which is any, if none ever ran here. */
  readonly appliance: string | null;
  readonly keptImages: readonly NamedImage[];
  readonly backups: readonly string[];
  /** Of uninstall: the data goes too. */
  readonly purgeData: boolean;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const text = { type: "string", maxLength: 256 };
const image = {
  type: "object",
  additionalProperties: false,
  required: ["appliance", "name", "digest"],
  properties: { appliance: text, name: text, digest },
};
const properties = {
  before: deploymentsSchema,
  releases: { type: "array", items: digest },
  images: { type: "array", items: image },
  appliance: { anyOf: [{ type: "null" }, text] },
  keptImages: { type: "array", items: image },
  backups: { type: "array", items: { type: "string", pattern: "^[0-9a-f]{32}$" } },
  purgeData: { type: "boolean" },
};
const parametersSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
};

function parse(value: Parameters): RemovalParameters {
  const problem = schemaProblem(parametersSchema, value);
  if (problem) throw lifecycleError("JOURNAL_DAMAGED", `the open operation's parameters: ${problem}`);
  return value as unknown as RemovalParameters;
}

interface ImagesToRemove {
  readonly images: readonly NamedImage[];
  readonly keptImages: readonly NamedImage[];
  /** Releases whose copy in the store does not say any more which images they have: those stay in the engine. */
  readonly unknown: readonly Digest[];
}

/** Images of `releases` that no release in `kept` has. @throws RELEASE_NOT_STORED if one that is kept cannot be read */
async function imagesOnlyOf(
  site: SiteNames,
  releases: readonly Digest[],
  kept: readonly Digest[],
): Promise<ImagesToRemove> {
  const imagesOf = async (release: Digest): Promise<NamedImage[]> =>
    withStoredRelease(site.paths, release, async ({ release: { manifest } }) =>
      manifest.images.map(({ name, digest }) => ({ appliance: manifest.appliance, name, digest })),
    );
  const keptImages = (await Promise.all(kept.map(imagesOf))).flat();
  const keep = new Set(keptImages.map((one) => `${one.name}@${one.digest}`));
  const found = new Map<string, NamedImage>();
  const unknown: Digest[] = [];
  for (const release of releases) {
    try {
      for (const one of await imagesOf(release)) {
        const key = `${one.name}@${one.digest}`;
        if (!keep.has(key)) found.set(key, one);
      }
    } catch (cause) {
      if (!(cause instanceof SealiftError) || cause.code !== "RELEASE_NOT_STORED") throw cause;
      unknown.push(release);
    }
  }
  return { images: [...found.values()], keptImages, unknown };
}

function removalLines(releases: readonly Digest[], { unknown }: Pick<ImagesToRemove, "unknown">): string[] {
  return releases.map((release) =>
    unknown.includes(release)
      ? `removes release ${release} from the store; its copy is damaged, so its images stay in the engine`
      : `removes release ${release} from the store, and its images from the engine`,
  );
}

/** Everything that was installed, and with `purgeData` what people stored in it. @throws SITE_NOT_INSTALLED | DEPLOYMENT_ELSEWHERE */
export async function planUninstall(site: SiteNames, purgeData: boolean): Promise<RemovalPlan> {
  const before = readDeployments(site.paths);
  const current = requireInstalled(before);
  const baseFile = readStateFile(deploymentPaths(site.paths, current.id).base, RENDERED_MAX_BYTES);
  if (baseFile) requireNoCopy(site.paths, baseFile);
  const releases = storedReleases(site.paths.directory);
  const backups = purgeData ? backupIds(site) : [];
  const always = "the site's operators, trust, ledger and journals, and the keys of its own certificate authorities";
  const kept = purgeData
    ? `kept: ${always}`
    : `kept: the data (volumes), the secrets that open it, the backups, ${always}`;
  const removed = await imagesOnlyOf(site, releases, []);
  return {
    parameters: {
      before,
      releases,
      images: removed.images,
      appliance: current.appliance,
      keptImages: [],
      backups,
      purgeData,
    },
    subject: {
      ...EMPTY_SUBJECT,
      action: "uninstall",
      from: current.release,
      details: [
        `stops and removes ${current.appliance} ${current.version}`,
        ...removalLines(releases, removed),
        LEFT_IMAGES,
        ...(purgeData ? ["REMOVES ALL DATA: volumes, secrets and backups. There is no way back"] : []),
        kept,
      ],
    },
  };
}

/** Releases that are neither current nor previous, and all but the `keep` newest backups. */
export async function planPrune(site: SiteNames, keep: number): Promise<RemovalPlan> {
  const before = readDeployments(site.paths);
  const kept = [before.current, before.previous].flatMap((one) => one?.release ?? []);
  const releases = storedReleases(site.paths.directory).filter((release) => !kept.includes(release));
  const backups = backupIds(site).slice(keep);
  const { images, keptImages, unknown } = await imagesOnlyOf(site, releases, kept);
  const appliance = (before.current ?? before.data)?.appliance ?? null;
  return {
    parameters: { before, releases, images, appliance, keptImages, backups, purgeData: false },
    subject: {
      ...EMPTY_SUBJECT,
      action: "prune",
      from: before.current?.release ?? null,
      to: before.current?.release ?? null,
      details: [
        ...removalLines(releases, { unknown }),
        ...backups.map((id) => `removes backup ${id}`),
        ...(releases.length + backups.length === 0 ? ["removes no release and no backup: none is to spare"] : []),
        LEFT_IMAGES,
        `kept: the current and the previous release, and the ${keep} newest backups`,
      ],
    },
  };
}

/** Which these are only the engine knows, when it is asked; who signs does not have to ask it. */
const LEFT_IMAGES = "removes images that a change loaded which was taken back, if the engine has any";

const EMPTY_SUBJECT: Omit<PlanSubject, "action"> = {
  from: null,
  to: null,
  configDigest: null,
  policyDigest: null,
  trustVersion: null,
  details: [],
};

/** Newest first, by the time at which they were made. */
function backupIds({ paths }: SiteNames): string[] {
  return readdirSync(join(paths.directory, "backups"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ name, time: statSync(backupDirectory(paths, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time)
    .map(({ name }) => name);
}

/** The floor outlives it: no release below it runs here again. */
function uninstalled({ before, purgeData }: RemovalParameters): Deployments {
  return { ...before, current: null, previous: null, engineId: null, data: purgeData ? null : before.data };
}

export const uninstallKind: OperationKind<DeployContext> = {
  name: "uninstall",
  facts: (given) => ({ deployments: uninstalled(parse(given)) }),
  steps: (context, given) => {
    const parameters = parse(given);
    const { paths, disk } = context;
    const { before, purgeData, backups } = parameters;
    const gone = uninstalled(parameters);
    const steps: NewStep[] = [
      {
        name: "commit",
        intent: "record that nothing is installed here",
        isCommit: true,
        do: async () => writeDeployments(disk, paths, gone),
        undo: async () => {
          if (!readDeployments(paths).current) writeDeployments(disk, paths, before);
        },
        probe: async () => (readDeployments(paths).current ? "not-done" : "done"),
      },
      {
        name: "containers",
        intent: purgeData ? "stop and remove the containers and their data" : "stop and remove the containers",
        do: async () => {
          const { current } = before;
          if (!current) return;
          const engine = await context.engine();
          const options = { stopSeconds: STOP_SECONDS, volumes: purgeData };
          for (const project of [colourProject(context, current), baseProject(context, current)]) {
            await endReported(context.report, engine, project, STOP_SECONDS);
          }
          await downProject(engine, colourProject(context, current), options);
          await downProject(engine, baseProject(context, current), options);
          if (purgeData) await removeSiteVolumes(engine, context.siteId);
        },
      },
      ...storeSteps(context, parameters),
      {
        name: "files",
        intent: "remove the rendered files",
        do: async () => {
          for (const id of readdirSync(join(paths.directory, "deployments"))) {
            removeTree(disk, join(paths.directory, "deployments", id));
          }
          for (const id of backups) removeTree(disk, backupDirectory(paths, id));
          if (purgeData) {
            emptyDirectory(context, "secrets");
            forgetToldMark(context.disk, context.paths);
          }
          removeTree(disk, failedLogsDirectory(paths));
          emptyDirectory(context, "switch");
        },
      },
    ];
    return steps.map((step) => reported(context, step, false));
  },
};

export const pruneKind: OperationKind<DeployContext> = {
  name: "prune",
  steps: (context, given) => {
    const parameters = parse(given);
    const { paths, disk } = context;
    const steps: NewStep[] = [
      {
        name: "begin",
        intent: "from here on it only goes forward",
        isCommit: true,
        do: async () => {},
        undo: async () => {},
        probe: async () => "done",
      },
      ...storeSteps(context, parameters),
      {
        name: "backups",
        intent: `remove ${parameters.backups.length} backups`,
        do: async () => {
          for (const id of parameters.backups) removeTree(disk, backupDirectory(paths, id));
        },
      },
    ];
    return steps.map((step) => reported(context, step, false));
  },
};

/** A removal may be done again, and is never taken back. */
function storeSteps(context: DeployContext, parameters: RemovalParameters): NewStep[] {
  const { images, releases } = parameters;
  const tellUsed = (used: readonly NamedImage[]): void => {
    for (const { name } of used) context.report.detail(`${name} is used by a container and stays`);
  };
  return [
    {
      name: "images",
      intent: `remove ${images.length} images from the engine`,
      do: async () => {
        if (images.length > 0) tellUsed(await removeImages(await context.engine(), images));
      },
    },
    {
      name: "store",
      intent: `remove ${releases.length} releases from the store`,
      do: async () => {
        for (const release of releases) removeStored(context.disk, context.paths.directory, release);
      },
    },
    {
      name: "left-images",
      intent: "remove images that were left in the engine",
      do: () => removeLeft(context, parameters),
    },
  ];
}

/** They cost room and nothing else: an engine that does not answer holds up no removal. */
async function removeLeft(context: DeployContext, { appliance, keptImages }: RemovalParameters): Promise<void> {
  try {
    const engine = await context.engine();
    const left = await leftImages(engine, context.siteId, appliance, keptImages);
    const used = await removeImages(engine, left);
    context.report.detail(`${left.length - used.length} images`);
  } catch (cause) {
    if (!(cause instanceof SealiftError) || !/^(?:ENGINE|SITE_ENGINE)_/.test(cause.code)) throw cause;
    context.report.remark(`images that were left in the engine stay: ${cause.message}`);
  }
}

function emptyDirectory({ paths, disk }: DeployContext, name: "secrets" | "switch"): void {
  const directory = join(paths.directory, name);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) removeTree(disk, path);
    else removeDurably(disk, path);
  }
}
