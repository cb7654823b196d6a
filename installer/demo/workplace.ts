/**
 * Where the demo of this host works, and what it must remove again. There is one demo at a time; its record
 * lies in DEMO_HOME from before the first directory is made until the last one is gone, so that the next run
 * finds what a killed one left. Nothing that no record names is ever touched.
 */
import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { acquireLock, type SiteLock } from "../lifecycle/lock.ts";
import { hostDisk, makeDirectory, removeDurably, writeWhole } from "../site/disk.ts";
import { readStateDocument, SITE_ID_PATTERN, writeStateDocument } from "../site/state.ts";
import { demoError } from "./error.ts";

const DEMO_HOME = "/var/lib/sealift-demo";
const RECORD = join(DEMO_HOME, "demo.json");
const LOCK = join(DEMO_HOME, "lock");
const DEFAULT_WORKDIR = join(DEMO_HOME, "work");
/** In the working directory: says that it is the one that the record means. */
const MARKER = "THIS-IS-A-DEMO";

export interface DemoRecord {
  readonly schemaVersion: 1;
  readonly id: string;
  /** Absolute. */
  readonly workdir: string;
  /** The directory was there before, and stays, empty as it was. */
  readonly isOthers: boolean;
  /** The label of all that is in the engine; null before there is anything. */
  readonly siteId: string | null;
  readonly started: string;
  /** It was left running on purpose. */
  readonly isKept: boolean;
}

const recordSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "id", "workdir", "isOthers", "siteId", "started", "isKept"],
  properties: {
    schemaVersion: { const: 1 },
    id: { type: "string", pattern: "^[0-9a-f]{32}$" },
    workdir: { type: "string", pattern: "^/.", maxLength: 4096 },
    isOthers: { type: "boolean" },
    siteId: { anyOf: [{ type: "null" }, { type: "string", pattern: SITE_ID_PATTERN }] },
    started: { type: "string", maxLength: 64 },
    isKept: { type: "boolean" },
  },
};

/** Held by the running demo. @throws DEMO_RUNNING | LOCK_UNAVAILABLE | STATE_WRITE_FAILED */
export function lockDemo(): SiteLock {
  makeDirectory(hostDisk, DEMO_HOME);
  try {
    return acquireLock(LOCK, "demo");
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "LOCK_HELD") throw cause;
    const [, who = ""] = /: (.*)$/.exec(cause.message) ?? [];
    throw demoError("DEMO_RUNNING", `a demo is under way on this host: ${who}`, {
      hints: ["there is one demo at a time; wait until it has ended"],
    });
  }
}

/** @throws STATE_DAMAGED | STATE_UNREADABLE */
export function readRecord(): DemoRecord | undefined {
  return readStateDocument(RECORD, recordSchema) as DemoRecord | undefined;
}

export function writeRecord(record: DemoRecord): void {
  writeStateDocument(hostDisk, RECORD, record);
}

/** The directory, made and marked; an absent one or an empty one of the caller's. @throws DEMO_WORKDIR_UNUSABLE */
export function openWorkplace(wanted: string | undefined, now: Date): DemoRecord {
  const workdir = resolve(wanted ?? DEFAULT_WORKDIR);
  const record: DemoRecord = {
    schemaVersion: 1,
    id: randomBytes(16).toString("hex"),
    workdir,
    isOthers: requireUsable(workdir),
    siteId: null,
    started: now.toISOString(),
    isKept: false,
  };
  writeRecord(record);
  try {
    makeDirectory(hostDisk, workdir);
    writeWhole(hostDisk, join(workdir, MARKER), Buffer.from(`${record.id}\n`));
  } catch (cause) {
    throw unusable(workdir, reasonOf(cause));
  }
  return record;
}

/** Whether it is there already. */
function requireUsable(workdir: string): boolean {
  try {
    if (!lstatSync(workdir).isDirectory()) throw new Error("it is not a directory");
    const [found] = readdirSync(workdir);
    if (found !== undefined) throw new Error(`it holds ${JSON.stringify(found)}, want an empty one`);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw unusable(workdir, reasonOf(cause));
  }
}

function unusable(workdir: string, reason: string): Error {
  return demoError("DEMO_WORKDIR_UNUSABLE", `working directory ${JSON.stringify(workdir)}: ${reason}`, {
    hints: ["name a new or empty directory with --workdir DIR, or none"],
  });
}

/** Removes the directory that the record means, if it still is that one, and then the record. */
export function closeWorkplace({ id, workdir, isOthers }: DemoRecord): void {
  if (isOurs(workdir, id)) {
    // The marker goes last: what is left after a cut is still known for what it is.
    for (const name of readdirSync(workdir)) {
      if (name !== MARKER) rmSync(join(workdir, name), { recursive: true, force: true });
    }
    removeDurably(hostDisk, join(workdir, MARKER));
  }
  if (!isOthers && existsSync(workdir) && readdirSync(workdir).length === 0) rmdirSync(workdir);
  removeDurably(hostDisk, RECORD);
}

function isOurs(workdir: string, id: string): boolean {
  try {
    return readFileSync(join(workdir, MARKER), "utf8").trim() === id;
  } catch {
    return false;
  }
}
