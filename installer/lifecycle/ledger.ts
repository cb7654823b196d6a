/**
 * The ledger: the site's one history, never rolled back. A line is an entry in canonical JSON (RFC 8785)
 * that holds the digest of the line before, so the digest of the last line, the head, stands for all of
 * it. Every operator's signed request holds the head of its moment: their archives are the witnesses.
 *
 * Against root the chain alone proves nothing, because root can write another: `compareWithWitness` does.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { ClockReading, TimeMark } from "../site/clock.ts";
import { AppendFile, type Disk, readStateFile } from "../site/disk.ts";
import { TIME_PATTERN } from "../site/state.ts";
import { lifecycleError } from "./error.ts";

export interface LedgerEntry extends TimeMark {
  readonly schemaVersion: 1;
  /** 1, 2, 3 … */
  readonly seq: number;
  /** The digest of the line before, without its newline; null in entry 1. */
  readonly prev: Digest | null;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Ledger {
  readonly entries: readonly LedgerEntry[];
  /** The digest of each entry's line. */
  readonly heads: readonly Digest[];
  /** Bytes of whole entries. */
  readonly validBytes: number;
  /** Bytes behind them: an append that a power cut tore. The next append cuts them off. */
  readonly tornBytes: number;
}

export const LEDGER_MAX_BYTES = 256 * 1024 * 1024;
const ENTRY_MAX_BYTES = 4 * 1024 * 1024;
const NEWLINE = 0x0a;
/** How an entry's canonical JSON begins; further on in a line the newline between two entries is lost. */
const ENTRY_START = '{"bootId":';

const entrySchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "seq", "prev", "time", "bootId", "uptimeMs", "type", "data"],
  properties: {
    schemaVersion: { const: 1 },
    seq: { type: "integer", minimum: 1 },
    prev: { type: ["string", "null"], pattern: "^sha256:[0-9a-f]{64}$" },
    time: { type: "string", pattern: TIME_PATTERN },
    bootId: { type: "string", maxLength: 64 },
    uptimeMs: { type: "integer", minimum: 0 },
    type: { type: "string", pattern: "^[a-z][a-z-]{0,63}$" },
    data: { type: "object" },
  },
};

/**
 * The entries in `bytes`. Checks form, numbering and chain; not the signatures in them and not whether the
 * end is missing. A last line that is not whole is reported in `tornBytes`, as a power cut leaves it.
 * @throws LEDGER_DAMAGED which names the first entry that does not hold
 */
export function parseLedger(bytes: Buffer, name = "ledger"): Ledger {
  const entries: LedgerEntry[] = [];
  const heads: Digest[] = [];
  let position = 0;
  while (position < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, position);
    const line = bytes.subarray(position, newline < 0 ? bytes.length : newline);
    const entry = newline < 0 ? undefined : readEntry(line);
    if (entry === undefined) {
      const isLast = newline < 0 || newline === bytes.length - 1;
      const holdsAnother = bytes.indexOf(ENTRY_START, position + 1) >= 0;
      if (isLast && entries.length > 0 && !holdsAnother) break;
      throw damaged(name, entries.length + 1, "not an entry in canonical JSON");
    }
    requireNext(entry, entries.length, heads.at(-1), name);
    entries.push(entry);
    heads.push(digestOf(line));
    position = newline + 1;
  }
  if (entries.length === 0) throw damaged(name, 1, "there is no entry");
  return { entries, heads, validBytes: position, tornBytes: bytes.length - position };
}

function readEntry(line: Buffer): LedgerEntry | undefined {
  const value = line.length > ENTRY_MAX_BYTES ? undefined : parseCanonicalJson(line);
  return value !== undefined && schemaProblem(entrySchema, value) === undefined ? (value as LedgerEntry) : undefined;
}

function requireNext(entry: LedgerEntry, before: number, head: Digest | undefined, name: string): void {
  if (entry.seq !== before + 1) {
    throw damaged(name, before + 1, `got number ${entry.seq}: entries were removed, added or put in another order`);
  }
  if (entry.prev !== (head ?? null)) {
    const problem =
      before === 0 ? "the first entry follows another: the beginning is missing" : `entry ${before} was changed`;
    throw damaged(name, before + 1, `got prev ${entry.prev}, want ${head ?? null}: ${problem}`);
  }
}

function damaged(name: string, entry: number, problem: string): Error {
  return lifecycleError("LEDGER_DAMAGED", `${name} entry ${entry}: ${problem}`, {
    hints: ["keep the file as evidence; `sealift ledger verify --against DIR` with an operator's archive tells more"],
  });
}

/** @throws LEDGER_DAMAGED | STATE_UNREADABLE */
export function readLedger(path: string): Ledger {
  return parseLedger(readStateFile(path, LEDGER_MAX_BYTES) ?? Buffer.alloc(0));
}

export function headOf(ledger: Ledger): Digest {
  return ledger.heads.at(-1) as Digest;
}

/** The newest entry of a type, or undefined. */
export function lastOfType(ledger: Ledger, type: string): LedgerEntry | undefined {
  return ledger.entries.findLast((entry) => entry.type === type);
}

/** The line of a further entry, with its newline. */
function renderEntry(
  ledger: Ledger | undefined,
  type: string,
  data: LedgerEntry["data"],
  { now, bootId, uptimeMs }: ClockReading,
): Buffer {
  const entry: LedgerEntry = {
    schemaVersion: 1,
    seq: (ledger?.entries.length ?? 0) + 1,
    prev: ledger ? headOf(ledger) : null,
    time: now.toISOString(),
    bootId,
    uptimeMs,
    type,
    data,
  };
  const problem = schemaProblem(entrySchema, entry);
  const bytes = canonicalJson(entry);
  if (problem || bytes.length > ENTRY_MAX_BYTES) throw new TypeError(`ledger entry ${type}: ${problem ?? "too large"}`);
  return Buffer.concat([bytes, Buffer.from("\n")]);
}

/** The bytes of a new ledger's first entry. */
export function firstEntry(type: string, data: LedgerEntry["data"], reading: ClockReading): Buffer {
  return renderEntry(undefined, type, data, reading);
}

/**
 * Appends an entry, returning when it is on stable storage, and the ledger with it. MUST be called under
 * the site's lock. Reads the file again: `ledger` in memory may be old.
 * @throws LEDGER_DAMAGED | LEDGER_FULL | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function appendEntry(
  disk: Disk,
  path: string,
  type: string,
  data: LedgerEntry["data"],
  reading: ClockReading,
): Ledger {
  const ledger = readLedger(path);
  const line = renderEntry(ledger, type, data, reading);
  if (ledger.validBytes + line.length > LEDGER_MAX_BYTES) {
    throw lifecycleError("LEDGER_FULL", `ledger: got ${ledger.validBytes} bytes, want at most ${LEDGER_MAX_BYTES}`);
  }
  const file = AppendFile.open(disk, path, ledger.validBytes);
  try {
    file.append(line);
  } finally {
    file.close();
  }
  const entry = readEntry(line.subarray(0, -1)) as LedgerEntry;
  return {
    entries: [...ledger.entries, entry],
    heads: [...ledger.heads, digestOf(line.subarray(0, -1))],
    validBytes: ledger.validBytes + line.length,
    tornBytes: 0,
  };
}

/** What somebody outside knows: that after `length` entries the head was `head`, and maybe all of them. */
export interface LedgerWitness {
  /** Where it came from, for messages. */
  readonly name: string;
  readonly siteId: string;
  readonly length: number;
  readonly head: Digest;
  /** Each entry's digest, of an exported ledger. */
  readonly heads?: readonly Digest[];
}

/** How a ledger contradicts a witness. */
export interface WitnessFinding {
  readonly code: "LEDGER_REWOUND" | "LEDGER_DIFFERS" | "LEDGER_OTHER_SITE";
  readonly witness: string;
  /** The first entry that is missing or other, as far as the witness can tell. */
  readonly entry: number;
  readonly message: string;
}

/** What is wrong with `ledger` in the eyes of `witness`; undefined if it holds all that the witness saw. */
export function compareWithWitness(ledger: Ledger, siteId: string, witness: LedgerWitness): WitnessFinding | undefined {
  const { name, length, head } = witness;
  if (witness.siteId !== siteId) {
    return {
      code: "LEDGER_OTHER_SITE",
      witness: name,
      entry: 1,
      message: `is of site ${witness.siteId}, this is ${siteId}`,
    };
  }
  const known = witness.heads ?? [];
  const differs = ledger.heads.findIndex((digest, i) => known[i] !== undefined && known[i] !== digest);
  if (differs >= 0) {
    const message = `entry ${differs + 1} is not the one that the witness holds: edited, or another in its place`;
    return { code: "LEDGER_DIFFERS", witness: name, entry: differs + 1, message };
  }
  if (ledger.heads.length < length) {
    const missing = `${length - ledger.heads.length} entries from ${ledger.heads.length + 1} on are missing`;
    const message = `the ledger ends at entry ${ledger.heads.length}, the witness saw ${length}: ${missing}`;
    return { code: "LEDGER_REWOUND", witness: name, entry: ledger.heads.length + 1, message };
  }
  const got = ledger.heads[length - 1];
  if (got !== head) {
    const message = `entry ${length} has digest ${got}, the witness saw ${head}: it or one before was changed`;
    return { code: "LEDGER_DIFFERS", witness: name, entry: length, message };
  }
  return undefined;
}
