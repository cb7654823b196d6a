/**
 * An audit log's entries for other programs, one a line, chosen by what is in them. Each keeps its number and its
 * hash (RFC 6962), so that whoever has the log's tiles can prove it; all of them, in the order of their numbers, give
 * the root of the checkpoint that goes with the file.
 */
import { createHash } from "node:crypto";

/** What an entry must be; a member that is not given chooses nothing. */
export interface EntryFilter {
  /** Equal to the event's member. */
  readonly members: Readonly<Partial<Record<FilterMember, string>>>;
  /** The first moment, and the first one that is too late, by the sender's clock. */
  readonly since?: Date;
  readonly until?: Date;
}

export const FILTER_MEMBERS = ["tenant", "actor", "key", "type", "decision", "model", "requestId"] as const;
export type FilterMember = (typeof FILTER_MEMBERS)[number];

export const EXPORT_FORMATS = ["jsonl", "csv"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Of an event of version 1 (compose/services/audit/src/event.ts); what else an entry has goes into `other`, as JSON. */
const COLUMNS = [
  ...["ts", "type", "service", "requestId", "tenant", "actor", "key", "role", "source", "operation", "release"],
  ...["control", "policy", "decision", "problem", "reason", "outcome", "model", "servedModel", "stream", "status"],
  ...["messages", "bytes", "answerBytes", "inputTokens", "outputTokens", "durationMs", "promptHmac", "answerHmac"],
  ...["findings", "counts", "ledgerHead", "ledgerLength", "id", "v"],
];
/** A spreadsheet would run what begins so. */
const FORMULA = /^[=+\-@\t\r]/;
const NEEDS_QUOTES = /[",\r\n]/;

type Members = Readonly<Record<string, unknown>>;

/** The first line of a file of this format; "" if it has none. */
export function exportHead(format: ExportFormat): string {
  return format === "csv" ? csvLine(["index", "leafHash", ...COLUMNS, "other"]) : "";
}

/** The line of entry `index`; undefined if `filter` leaves it out. */
export function exportLine(
  entry: Buffer,
  index: number,
  format: ExportFormat,
  filter: EntryFilter,
): string | undefined {
  const event = parseEvent(entry);
  if (!isChosen(event ?? {}, filter)) return undefined;
  const leafHash = createHash("sha256").update("\0").update(entry).digest("base64");
  if (format === "jsonl") return `${JSON.stringify({ index, leafHash, event: event ?? entry.toString("base64") })}\n`;
  const others = Object.entries(event ?? { bytes: entry.toString("base64") }).filter(
    ([name]) => !COLUMNS.includes(name),
  );
  const other = others.length === 0 ? "" : JSON.stringify(Object.fromEntries(others));
  return csvLine([String(index), leafHash, ...COLUMNS.map((name) => textOf(event?.[name])), other]);
}

export function isChosen(event: Members, { members, since, until }: EntryFilter): boolean {
  if (Object.entries(members).some(([name, wanted]) => wanted !== undefined && event[name] !== wanted)) return false;
  if (!since && !until) return true;
  const time = typeof event["ts"] === "string" ? Date.parse(event["ts"]) : Number.NaN;
  return (
    time >= (since?.getTime() ?? Number.NEGATIVE_INFINITY) && time < (until?.getTime() ?? Number.POSITIVE_INFINITY)
  );
}

function parseEvent(entry: Buffer): Members | undefined {
  try {
    const value: unknown = JSON.parse(entry.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined;
  } catch {
    return undefined;
  }
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** RFC 4180, and a quote before what would be a formula. */
function csvLine(cells: readonly string[]): string {
  const safe = cells.map((cell) => (FORMULA.test(cell) ? `'${cell}` : cell));
  return `${safe.map((cell) => (NEEDS_QUOTES.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")}\r\n`;
}
