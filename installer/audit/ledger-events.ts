/**
 * The site's ledger and its audit log as each other's witness. Each entry of the ledger is an event of the log, with
 * the ledger's head and length at that entry: whoever rewrites one of them must rewrite the other, which another
 * key signs. Where the last event went is noted beside the ledger.
 */

import { join } from "node:path";
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { compareWithWitness, type Ledger, type LedgerEntry } from "../lifecycle/ledger.ts";
import { type Disk, removeDurably } from "../site/disk.ts";
import { readStateDocument, type StatePaths, writeStateDocument } from "../site/state.ts";

/** Who sends them: the name in the certificate. */
export const INSTALLER = "installer";
const TYPE = "site.";
const ALGORITHM = "sha256:";

/** What the log has of one entry of a ledger. */
export interface LedgerEvent {
  /** In the log, from 0. */
  readonly index: number;
  readonly length: number;
  readonly head: Digest;
}

/** The last entry of which the log was told, and its place there. */
export interface ToldMark {
  readonly schemaVersion: 1;
  readonly length: number;
  readonly head: Digest;
  readonly index: number;
}

export interface LogContent {
  readonly events: readonly LedgerEvent[];
  readonly size: number;
  readonly behind: number;
}

export interface LedgerComparison {
  readonly findings: readonly { readonly code: string; readonly message: string }[];
  /** Events that were held against the ledger. */
  readonly compared: number;
  readonly notChecked: readonly string[];
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const markSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "length", "head", "index"],
  properties: {
    schemaVersion: { const: 1 },
    length: { type: "integer", minimum: 1 },
    head: digest,
    index: { type: "integer", minimum: 0 },
  },
};

function markPath({ directory }: StatePaths): string {
  return join(directory, "site", "audit-told.json");
}

/** Undefined if the log was told nothing yet. @throws STATE_DAMAGED */
export function readToldMark(paths: StatePaths): ToldMark | undefined {
  return readStateDocument(markPath(paths), markSchema) as ToldMark | undefined;
}

export function writeToldMark(disk: Disk, paths: StatePaths, mark: ToldMark): void {
  writeStateDocument(disk, markPath(paths), mark);
}

/** The log is gone, with an operator's signature: the next one is told everything. */
export function forgetToldMark(disk: Disk, paths: StatePaths): void {
  removeDurably(disk, markPath(paths));
}

/** The event of an entry: always the same, so that the log has it once however often it is told. */
export function eventOf(entry: LedgerEntry, head: Digest): Readonly<Record<string, unknown>> & EventNames {
  const { seq, time, type, data } = entry;
  const hex = head.slice(ALGORITHM.length);
  const id = hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const operation = [data["operation"], data["action"]].find((name) => typeof name === "string");
  return {
    id,
    ts: time,
    type: `${TYPE}${type}`,
    requestId: `ledger-${seq}`,
    ...(operation !== undefined && { operation }),
    ...(typeof data["result"] === "string" && { outcome: data["result"] }),
    // Of a restore: what is in the log and no more in the data, or in neither.
    ...(isCounts(data["gap"]) && { counts: data["gap"] }),
    ledgerHead: hex,
    ledgerLength: seq,
  };
}

function isCounts(value: unknown): value is Readonly<Record<string, number>> {
  return typeof value === "object" && value !== null && Object.values(value).every((one) => Number.isSafeInteger(one));
}

interface EventNames {
  readonly id: string;
  readonly type: string;
  readonly requestId: string;
}

/** What entry `index` of an audit log says of a ledger; undefined if it is of something else. */
export function ledgerEventOf(entry: Buffer, index: number): LedgerEvent | undefined {
  // Nearly all of a log's entries are others: they are not parsed.
  if (!entry.includes('"ledgerHead"')) return undefined;
  try {
    const { service, type, ledgerHead, ledgerLength } = JSON.parse(entry.toString("utf8")) as Record<string, unknown>;
    const head = `${ALGORITHM}${ledgerHead}`;
    if (service !== INSTALLER || typeof type !== "string" || !type.startsWith(TYPE)) return undefined;
    if (!isDigest(head) || !Number.isSafeInteger(ledgerLength)) return undefined;
    return { index, length: ledgerLength as number, head };
  } catch {
    return undefined;
  }
}

/** For `onEntry` of `verifyAuditLog`: the events of a log that are about a ledger. */
export function collectLedgerEvents(): {
  readonly events: readonly LedgerEvent[];
  readonly onEntry: (entry: Buffer, index: number) => void;
} {
  const events: LedgerEvent[] = [];
  const onEntry = (entry: Buffer, index: number): void => {
    const event = ledgerEventOf(entry, index);
    if (event) events.push(event);
  };
  return { events, onEntry };
}

/** A log that `verifyAuditLog` has gone through, and the ledger of its site. @throws STATE_DAMAGED */
export function compareWithLedger(
  { ledger, siteId, paths }: { readonly ledger: Ledger; readonly siteId: string; readonly paths: StatePaths },
  log: { readonly events: readonly LedgerEvent[]; readonly entries: number; readonly behindCheckpoint: number },
): LedgerComparison {
  const { events, entries: size, behindCheckpoint: behind } = log;
  return compareLedgerWithLog(ledger, siteId, { events, size, behind }, readToldMark(paths));
}

/** What a closed epoch says of the ledger, which no restore takes back. */
export function compareEpochWithLedger(
  { ledger, siteId }: { readonly ledger: Ledger; readonly siteId: string },
  { epoch, entries }: { readonly epoch: number; readonly entries: number },
  events: readonly LedgerEvent[],
): LedgerComparison["findings"] {
  const { findings } = compareLedgerWithLog(ledger, siteId, { events, size: entries, behind: 0 }, undefined);
  return findings.map(({ code, message }) => ({ code, message: `epoch ${epoch}: ${message}` }));
}

/**
 * What does not agree. `size` is the number of entries that the log's checkpoint covers, `behind` that of those
 * behind it, which are durable and not looked at.
 */
export function compareLedgerWithLog(
  ledger: Ledger,
  siteId: string,
  log: LogContent,
  mark: ToldMark | undefined,
): LedgerComparison {
  const { events, size } = log;
  const contradicted = events.flatMap(({ index, length, head }) => {
    const name = `audit log entry ${index}`;
    const found = compareWithWitness(ledger, siteId, { name, siteId, length, head });
    return found ? [{ code: found.code as string, message: `${name}: ${found.message}` }] : [];
  });
  const covered = mark && mark.index < size ? mark.length : Math.max(0, ...events.map(({ length }) => length));
  const known = new Set(events.map(({ length }) => length));
  const missing = Array.from({ length: covered }, (_, i) => i + 1).filter((length) => !known.has(length));
  const untold = ledger.heads.length - Math.max(covered, mark?.length ?? 0);
  return {
    compared: events.length,
    findings: [
      ...contradicted,
      ...(missing.length > 0
        ? [
            {
              code: "AUDIT_LEDGER_MISSING",
              message: `the audit log lacks entry ${missing[0]} of the ledger, ${missing.length} in all`,
            },
          ]
        : []),
      ...(mark ? markFindings(ledger, log, mark) : []),
    ],
    notChecked: [
      ...(untold > 0 ? [`${untold} entries of the ledger of which the audit log was not told yet`] : []),
      ...(mark && mark.index >= size ? ["entries of the ledger that the log's next checkpoint will cover"] : []),
    ],
  };
}

function markFindings(
  ledger: Ledger,
  { events, size, behind }: LogContent,
  mark: ToldMark,
): LedgerComparison["findings"] {
  const { length, head, index } = mark;
  if (ledger.heads[length - 1] !== head) {
    const code = ledger.heads.length < length ? "LEDGER_REWOUND" : "LEDGER_DIFFERS";
    return [{ code, message: `the audit log was told another entry ${length} of the ledger` }];
  }
  if (index >= size + behind) {
    const message = `it answered that entry ${length} of the ledger is its entry ${index}, and has ${size + behind}`;
    return [{ code: "AUDIT_LOG_REWOUND", message }];
  }
  if (index >= size || events.some((event) => event.index === index && event.head === head)) return [];
  const message = `its entry ${index} is not what it answered that it has there: entry ${length} of the ledger`;
  return [{ code: "AUDIT_LOG_FORKED", message }];
}
