/** What goes into a support bundle: each part alone, so that one that cannot be had keeps no other away. */
import { join } from "node:path";
import { parseCanonicalJson } from "../../../bundles/model/canonical-json.ts";
import { CHECKPOINT_MAX_BYTES, parseCheckpoint } from "../../audit/checkpoint.ts";
import { siteLogs } from "../../audit/site-log.ts";
import { readDeployments } from "../../site/deployment.ts";
import { readStateFile } from "../../site/disk.ts";
import { openState } from "../../site/state.ts";
import { lifecycleError } from "../error.ts";
import { openJournalPath } from "../execute.ts";
import { failedLogsDirectory } from "../failed-logs.ts";
import { fsck } from "../fsck/fsck.ts";
import { headOf, readLedger } from "../ledger.ts";
import { renderedFile } from "../rendered-file.ts";
import { openSite } from "../site.ts";
import { siteStatus } from "../site-status.ts";
import { aboutEngine, containers, failedLogs, logs } from "./about-engine.ts";
import { aboutSite, deployment, disk, journal, requireCurrent, versions } from "./about-site.ts";
import { newestFirst } from "./directories.ts";
import { COMPOSE, DOCTOR, FSCK, LEDGER_ENTRY, STATUS_OF_SITE } from "./shapes.ts";
import type { SupportGround } from "./support-bundle.ts";

const LEDGER_ENTRIES = 500;
const JOURNALS = 5;

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
