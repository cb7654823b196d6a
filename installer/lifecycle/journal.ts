/**
 * The journal of one operation: a write-ahead log. An intent is on stable storage before its step acts,
 * an outcome after; an intent without an outcome reads as unknown, never as failed or done.
 *
 * A line is 64 hexadecimal digits, a blank, and a record in canonical JSON. The digits are the SHA-256 of
 * the digits of the line before (none for the first) followed by the record: a changed, lost, doubled or
 * moved line shows. It guards against damage; against forgery stands the ledger, which gets its digest.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { AppendFile, type Disk, readStateFile } from "../site/disk.ts";
import { TIME_PATTERN } from "../site/state.ts";
import { lifecycleError } from "./error.ts";
import type { Parameters } from "./step.ts";

export type OperationResult = "committed" | "restored";

export type JournalRecord =
  | {
      readonly type: "begin";
      readonly schemaVersion: 1;
      /** 32 hexadecimal digits, random. */
      readonly id: string;
      readonly operation: string;
      readonly parameters: Parameters;
      readonly steps: readonly string[];
      /** The ledger entry that authorizes it. */
      readonly authorization: Digest;
      readonly time: string;
    }
  | { readonly type: "intent"; readonly step: string; readonly intent: string; readonly time: string }
  | {
      readonly type: "outcome";
      readonly step: string;
      readonly outcome: "done" | "failed" | "undone";
      readonly reason?: string;
      readonly time: string;
    }
  /** A new process took over after a crash. */
  | { readonly type: "recover"; readonly direction: "forward" | "back"; readonly time: string }
  | { readonly type: "end"; readonly result: OperationResult; readonly time: string };

export type BeginRecord = Extract<JournalRecord, { type: "begin" }>;

export interface JournalContent {
  readonly begin: BeginRecord;
  readonly records: readonly JournalRecord[];
  /** Of the whole lines. */
  readonly digest: Digest;
  readonly validBytes: number;
  /** Bytes behind them: a record that a power cut tore. What it announced may have begun. */
  readonly tornBytes: number;
}

const JOURNAL_MAX_BYTES = 64 * 1024 * 1024;
const DIGITS = 64;
const NEWLINE = 0x0a;
/** Cannot stand within a record, whose strings escape the quote: behind it, the newline between two is lost. */
const RECORD_START = /[0-9a-f]{64} \{"/;

const time = { type: "string", pattern: TIME_PATTERN };
const step = { type: "string", pattern: "^[a-z0-9][a-z0-9.-]{0,127}$" };
const record = (type: string, required: Readonly<Record<string, unknown>>, optional = {}): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: ["type", "time", ...Object.keys(required)],
  properties: { type: { const: type }, time, ...required, ...optional },
});

const SCHEMAS: ReadonlyMap<unknown, JsonSchema> = new Map([
  [
    "begin",
    record("begin", {
      schemaVersion: { const: 1 },
      id: { type: "string", pattern: "^[0-9a-f]{32}$" },
      operation: step,
      parameters: { type: "object" },
      steps: { type: "array", items: step, minItems: 1, maxItems: 1000 },
      authorization: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    }),
  ],
  ["intent", record("intent", { step, intent: { type: "string" } })],
  [
    "outcome",
    record("outcome", { step, outcome: { enum: ["done", "failed", "undone"] } }, { reason: { type: "string" } }),
  ],
  ["recover", record("recover", { direction: { enum: ["forward", "back"] } })],
  ["end", record("end", { result: { enum: ["committed", "restored"] } })],
]);

function renderLine(before: string, value: JournalRecord): { readonly digits: string; readonly line: Buffer } {
  const json = canonicalJson(value);
  const digits = hexOf(digestOf(Buffer.concat([Buffer.from(before), json])));
  return { digits, line: Buffer.concat([Buffer.from(`${digits} `), json, Buffer.from("\n")]) };
}

/**
 * The records in `bytes`; undefined if not even the first is whole, so that no step can have begun.
 * @throws JOURNAL_DAMAGED for anything but a torn last record
 */
export function parseJournal(bytes: Buffer): JournalContent | undefined {
  const { content, damage } = readRecords(bytes);
  if (damage) throw damage;
  return content;
}

/** The records before the damage, if there is some: what came behind them nobody can say. */
export function readRecords(bytes: Buffer): {
  readonly content: JournalContent | undefined;
  readonly damage: Error | undefined;
} {
  const records: JournalRecord[] = [];
  let damage: Error | undefined;
  let before = "";
  let position = 0;
  while (position < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, position);
    const found = newline < 0 ? undefined : readLine(bytes.subarray(position, newline + 1), before);
    if (!found) {
      const isLast = newline < 0 || newline === bytes.length - 1;
      if (isLast && !RECORD_START.test(bytes.toString("latin1", position + 1))) break;
      damage = damaged(records.length + 1, "its checksum or form does not hold");
      break;
    }
    if ((found.value.type === "begin") !== (records.length === 0)) {
      damage = damaged(records.length + 1, `a record of type ${found.value.type} does not belong here`);
      break;
    }
    if (records.at(-1)?.type === "end") {
      damage = damaged(records.length + 1, "it follows the end");
      break;
    }
    records.push(found.value);
    before = found.digits;
    position = newline + 1;
  }
  const [begin] = records;
  if (begin?.type !== "begin") return { content: undefined, damage };
  const digest = digestOf(bytes.subarray(0, position));
  const content = { begin, records, digest, validBytes: position, tornBytes: bytes.length - position };
  return { content, damage };
}

function readLine(
  line: Buffer,
  before: string,
): { readonly digits: string; readonly value: JournalRecord } | undefined {
  const value = parseCanonicalJson(line.subarray(DIGITS + 1, -1)) as JournalRecord | undefined;
  const schema = SCHEMAS.get(value?.type);
  if (value === undefined || !schema || schemaProblem(schema, value) !== undefined) return undefined;
  const expected = renderLine(before, value);
  return expected.line.equals(line) ? { digits: expected.digits, value } : undefined;
}

function damaged(line: number, problem: string): Error {
  return lifecycleError("JOURNAL_DAMAGED", `journal record ${line}: ${problem}`, {
    hints: [
      "copy the state directory away before anything else: it is evidence",
      "then sealift recover --damaged-journal goes by what the site is, and not by what the journal said last",
    ],
  });
}

/** Undefined if there is no journal at `path`, or none in which a step can have begun. @throws JOURNAL_DAMAGED | STATE_UNREADABLE */
export function readJournal(path: string): JournalContent | undefined {
  const bytes = readJournalBytes(path);
  return bytes && parseJournal(bytes);
}

/** Its bytes, whatever they are; undefined if there are none. @throws STATE_UNREADABLE */
export function readJournalBytes(path: string): Buffer | undefined {
  return readStateFile(path, JOURNAL_MAX_BYTES);
}

/** An open journal. Each `append` returns when the record is on stable storage. */
export class Journal {
  readonly #file: AppendFile;
  #digits: string;

  private constructor(file: AppendFile, digits: string) {
    this.#file = file;
    this.#digits = digits;
  }

  /** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
  static begin(disk: Disk, path: string, begin: BeginRecord): Journal {
    const journal = new Journal(AppendFile.create(disk, path), "");
    try {
      journal.append(begin);
      return journal;
    } catch (cause) {
      journal.close();
      throw cause;
    }
  }

  /** Goes on behind `content`, cutting off a torn record. @throws STATE_WRITE_FAILED */
  static reopen(disk: Disk, path: string, content: JournalContent): Journal {
    let digits = "";
    for (const value of content.records) ({ digits } = renderLine(digits, value));
    return new Journal(AppendFile.open(disk, path, content.validBytes), digits);
  }

  /** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
  append(value: JournalRecord): void {
    const { digits, line } = renderLine(this.#digits, value);
    this.#file.append(line);
    this.#digits = digits;
  }

  close(): void {
    this.#file.close();
  }
}
