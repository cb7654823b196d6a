/** What goes into a support bundle: each part alone, so that one that cannot be had keeps no other away. */
import { type Dirent, lstatSync, readdirSync } from "node:fs";
import { release as kernelRelease } from "node:os";
import { join } from "node:path";
import { parseCanonicalJson } from "../../../bundles/model/canonical-json.ts";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { containerLog } from "../../../compose/engine/container-log.ts";
import { connect, connectionError, type Engine } from "../../../compose/engine/engine.ts";
import { siteContainers } from "../../../compose/engine/project.ts";
import { CHECKPOINT_MAX_BYTES, parseCheckpoint } from "../../audit/checkpoint.ts";
import { siteLogs } from "../../audit/site-log.ts";
import { freeSpace } from "../../host/free-space.ts";
import { readHostFile } from "../../host/host-files.ts";
import { parseOsRelease } from "../../host/setup-facts.ts";
import { hostPlatform, sealiftVersion } from "../../host/this-host.ts";
import type { Deployment } from "../../site/deployment.ts";
import { readDeployments } from "../../site/deployment.ts";
import { readStateFile } from "../../site/disk.ts";
import { openState } from "../../site/state.ts";
import { storedReleases } from "../../site/store.ts";
import { renderedFile } from "../deploy-steps.ts";
import { configOf } from "../deployed-config.ts";
import { lifecycleError } from "../error.ts";
import { openJournalPath } from "../execute.ts";
import { failedLogsDirectory } from "../failed-logs.ts";
import { fsck } from "../fsck/fsck.ts";
import { readJournalBytes, readRecords } from "../journal.ts";
import { headOf, readLedger } from "../ledger.ts";
import { policyOfLedger } from "../policy-change.ts";
import { openSite } from "../site.ts";
import { siteStatus } from "../site-status.ts";
import { withStoredRelease } from "../stored-release.ts";
import { trustOfLedger } from "../trust-change.ts";
import { DIGEST, NAME, number, object, text, VERSION } from "./allowed.ts";
import { shownLines } from "./log-lines.ts";
import {
  COMPOSE,
  CONFIG,
  CONTAINER,
  DEPLOYMENTS,
  DOCTOR,
  ENGINE_FACTS,
  ENGINE_INFO,
  FSCK,
  JOURNAL_RECORD,
  LEDGER_ENTRY,
  STATUS_OF_SITE,
} from "./shapes.ts";
import type { SupportGround } from "./support-bundle.ts";

/** Of each service, the end of what it wrote. */
export const LOG_MAX_BYTES = 256 * 1024;
/** Of each failed deployment's services. */
const FAILED_LOG_MAX_BYTES = 64 * 1024;
const LEDGER_ENTRIES = 500;
const JOURNALS = 5;
/** Names that are counted for the sizes of the state's directories. */
const COUNTED_MAX = 200_000;

export interface Part {
  /** Of its file; of a part with several files the directory. */
  readonly name: string;
  readonly about: string;
  /** A document, or several files by name. Only what an allow list let through. */
  gather(ground: SupportGround): Promise<unknown | ReadonlyMap<string, string>>;
}

export const PARTS: readonly Part[] = [
  {
    name: "versions.json",
    about: "Sealift, Node, operating system, kernel",
    gather: async () => versions(),
  },
  {
    name: "doctor.json",
    about: "sealift doctor: each check and how it ended, without its sentences",
    gather: async ({ doctor }) => DOCTOR(await doctor()),
  },
  {
    name: "site.json",
    about: "who the site is, what runs and what ran before, the digests of trust and policy",
    gather: async (ground) => aboutSite(ground),
  },
  {
    name: "status.json",
    about: "sealift status: health of each service, without what programs wrote",
    gather: async ({ directory, clock, engine }) =>
      STATUS_OF_SITE(await siteStatus(openSite(directory, { clock }), await engine())),
  },
  {
    name: "fsck.json",
    about: "sealift fsck: each check and finding, by its code",
    gather: async ({ directory, clock, engine }) => {
      const report = await fsck(directory, { clock, content: false, engine });
      return { ...(FSCK(report) as object), warnings: report.warnings.length };
    },
  },
  {
    name: "ledger.json",
    about:
      "length and head of the ledger, and of its last 500 entries what was done when; no requests, reasons or names",
    gather: async ({ paths }) => {
      const ledger = readLedger(paths.ledger);
      return {
        length: ledger.entries.length,
        head: headOf(ledger),
        tornBytes: ledger.tornBytes,
        entries: ledger.entries.slice(-LEDGER_ENTRIES).map((entry) => LEDGER_ENTRY(entry)),
      };
    },
  },
  {
    name: "journal.json",
    about: "whether an operation is open, and how far it and the last five came, step by step",
    gather: async ({ paths }) => ({
      open: journal(openJournalPath(paths)),
      ended: newestFirst(paths.journal, /^[0-9a-f]{32}\.journal$/)
        .slice(0, JOURNALS)
        .map((path) => journal(path)),
    }),
  },
  {
    name: "deployment.json",
    about: "the release that runs: its images by digest, and the settings that are numbers or switches",
    gather: async (ground) => deployment(ground),
  },
  {
    name: "compose",
    about:
      "the rendered Compose files, if they are the ones that were authorized: no values of the environment, no commands",
    gather: async ({ directory, clock }) => {
      const site = openSite(directory, { clock });
      const current = requireCurrent(readDeployments(site.paths).current);
      const shown = (file: "base" | "containers"): string =>
        document(COMPOSE(parseCanonicalJson(renderedFile(site, current, file))));
      return new Map([
        ["base.json", shown("base")],
        ["containers.json", shown("containers")],
      ]);
    },
  },
  {
    name: "engine.json",
    about: "the engine: version, image store, limits, how many containers and images",
    gather: async ({ engine }) => aboutEngine(await engine()),
  },
  {
    name: "containers.json",
    about:
      "docker inspect of the site's containers: state, limits, user, mounts; no environment, no command, no health output",
    gather: async ({ directory, engine }) => containers(await engine(), openState(directory).siteId),
  },
  {
    name: "logs",
    about: "the end of what each service wrote, 256 KiB read of each: fields that no person can have written",
    gather: async ({ directory, engine }) => logs(await engine(), openState(directory).siteId),
  },
  {
    name: "failed",
    about: "the same of containers that were taken back",
    gather: async ({ paths }) => failedLogs(failedLogsDirectory(paths)),
  },
  {
    name: "audit-log.json",
    about: "size and root of the audit log; none of its entries",
    gather: async ({ directory, clock, engine }) => {
      const [log] = await siteLogs(await engine(), openSite(directory, { clock }));
      const path = log && join(log.directory, "checkpoint");
      const note = path && readStateFile(path, CHECKPOINT_MAX_BYTES);
      if (!note) throw lifecycleError("SITE_NOT_RUNNING", "there is no audit log");
      const { size, root } = parseCheckpoint(note, path);
      return { size, root: root.toString("base64") };
    },
  },
  {
    name: "disk.json",
    about: "room on the disks, and what the directories of the state take",
    gather: async (ground) => disk(ground),
  },
];

function document(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function versions(): object {
  const { id, version } = parseOsRelease(readHostFile("/etc/os-release") ?? "");
  const word = text(/^[0-9A-Za-z.+~_-]{1,80}$/);
  return {
    sealift: VERSION(sealiftVersion()),
    node: word(process.version),
    platform: hostPlatform(),
    system: { id: word(id), version: word(version) },
    kernel: word(kernelRelease()),
  };
}

function aboutSite({ directory, clock, paths }: SupportGround): object {
  const { siteId, created } = openState(directory);
  const { entries } = openSite(directory, { clock }).ledger;
  const trust = trustOfLedger(entries);
  return {
    siteId,
    created,
    deployments: DEPLOYMENTS(readDeployments(paths)),
    stored: storedReleases(directory),
    trust: trust ? { digest: trust.digest, roots: trust.roots.length, targets: trust.targetsVersion } : null,
    policy: policyOfLedger(entries).digest,
  };
}

function requireCurrent(current: Deployment | null): Deployment {
  if (current) return current;
  throw lifecycleError("SITE_NOT_INSTALLED", "nothing is installed here");
}

async function deployment({ directory, clock }: SupportGround): Promise<unknown> {
  const site = openSite(directory, { clock });
  const current = requireCurrent(readDeployments(site.paths).current);
  return withStoredRelease(site.paths, current.release, async ({ release, rules }) => {
    const { appliance, version, platform, securityFloor, images } = release.manifest;
    const about = object({ appliance: NAME, version: VERSION, securityFloor: VERSION });
    return {
      release: release.descriptor.digest,
      ...(about({ appliance, version, securityFloor }) as object),
      platform: text(/^linux\/[a-z0-9]{2,10}$/)(platform),
      images: images.map((image) => object({ name: NAME, digest: DIGEST })(image)),
      base: rules.base,
      tasks: rules.tasks,
      config: CONFIG(configOf(site, current)),
    };
  });
}

function journal(path: string): object {
  const bytes = readJournalBytes(path);
  if (!bytes) return { state: "none" };
  const { content, damage } = readRecords(bytes);
  return {
    state: damage ? "damaged" : content ? "readable" : "nothing had begun",
    tornBytes: content?.tornBytes ?? 0,
    records: (content?.records ?? []).map((record) => JOURNAL_RECORD(record)),
  };
}

async function aboutEngine(engine: Engine): Promise<object> {
  try {
    const docker = await connect(engine);
    return { facts: ENGINE_FACTS(engine.facts), info: ENGINE_INFO(await docker.info()) };
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

async function containers(engine: Engine, siteId: string): Promise<unknown[]> {
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

async function logs(engine: Engine, siteId: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const { id, project, service } of await siteContainers(engine, siteId)) {
    if (NAME(project) === undefined || NAME(service) === undefined) continue;
    files.set(`${project}-${service}.jsonl`, shownLines(await containerLog(engine, id, LOG_MAX_BYTES)));
  }
  return files;
}

function failedLogs(directory: string): ReadonlyMap<string, string> {
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

function newestFirst(directory: string, names: RegExp): string[] {
  return entriesIn(directory)
    .filter(({ name }) => names.test(name))
    .map(({ name }) => join(directory, name))
    .map((path) => ({ path, time: lstatSync(path).mtimeMs }))
    .sort((a, b) => b.time - a.time || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path);
}

/** None of a directory that is not there. */
function entriesIn(directory: string): Dirent[] {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat?.isDirectory() ? readdirSync(directory, { withFileTypes: true }) : [];
}

async function disk({ directory, engine }: SupportGround): Promise<object> {
  const places = [directory];
  try {
    places.push((await engine()).facts.rootDirectory);
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
  }
  const count = { left: COUNTED_MAX };
  const used = entriesIn(directory)
    .filter(({ name }) => /^[a-z][a-z-]{0,30}$/.test(name))
    .map((entry) => [entry.name, bytesBelow(join(directory, entry.name), count)] as const);
  return {
    free: places.map((place) => number(freeSpace(place)?.freeBytes) ?? null),
    used: Object.fromEntries(used),
    isCountWhole: count.left > 0,
  };
}

/** Links are not followed; a blob with two names is counted twice. */
function bytesBelow(path: string, count: { left: number }): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  count.left -= 1;
  if (!stat || count.left <= 0) return 0;
  if (!stat.isDirectory()) return stat.size;
  return entriesIn(path).reduce((sum, { name }) => sum + bytesBelow(join(path, name), count), 0);
}
