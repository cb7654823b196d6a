/**
 * Checks an audit log from its directory alone: every entry against the tree of hashes (RFC 6962 in C2SP
 * tlog-tiles), every tile, the root against the signed checkpoint, and that the log is a continuation of an
 * older checkpoint. It shares no code with the service that writes the log. Memory does not grow with it.
 */
import { createHash, hash } from "node:crypto";
import { join } from "node:path";
import { readStateFile } from "../site/disk.ts";
import { CHECKPOINT_MAX_BYTES, type Checkpoint, type LogKey, parseCheckpoint, requireSignature } from "./checkpoint.ts";
import { auditError } from "./error.ts";
import { entriesBehind } from "./segments.ts";

export interface LogVerification {
  readonly origin: string;
  readonly entries: number;
  /** Base64, as in the checkpoint. */
  readonly root: string;
  /** `ts` of the first and of the last entry, if they are events. They are what the sender said. */
  readonly firstTime: string | undefined;
  readonly lastTime: string | undefined;
  readonly isSignatureChecked: boolean;
  /** Entries of the older checkpoint that this log continues. */
  readonly continues: number | undefined;
  /** Entries that are durable and under no checkpoint yet. They are counted, not checked. */
  readonly behindCheckpoint: number;
}

export interface VerifyLogOptions {
  /** Without it nobody says who made the checkpoints. */
  readonly key?: LogKey | undefined;
  /** An older checkpoint, kept outside, and what to call it. */
  readonly from?: { readonly note: Buffer; readonly name: string } | undefined;
  /** The checkpoint to verify up to, in place of the one that lies there. */
  readonly note?: Buffer | undefined;
  readonly onProgress?: (done: number, all: number) => void;
  /** Told each entry, from number 0 on, before anything of the log is judged. */
  readonly onEntry?: (entry: Buffer, index: number) => void;
}

export const HASH_BYTES = 32;
export const TILE_WIDTH = 256;
const LEVEL_HEIGHT = 8;
const TILE_MAX_BYTES = TILE_WIDTH * HASH_BYTES;
export const BUNDLE_MAX_BYTES = TILE_WIDTH * (2 + 65_535);

const EVIDENCE = { hints: ["keep a copy of the directory as evidence before anything is repaired"] };

/**
 * Verifies the log in `directory`. Not checked: whether events are true, whether any were never sent, and
 * without `from` whether the whole log was replaced by an older or another one of the same key.
 * @throws AUDIT_LOG_NOT_FOUND | AUDIT_CHECKPOINT_MALFORMED | AUDIT_SIGNATURE_INVALID | AUDIT_LOG_INCOMPLETE |
 *   AUDIT_ENTRY_CHANGED | AUDIT_TILE_CHANGED | AUDIT_ROOT_DIFFERS | AUDIT_LOG_REWOUND | AUDIT_LOG_FORKED
 */
export function verifyAuditLog(directory: string, options: VerifyLogOptions = {}): LogVerification {
  const path = join(directory, "checkpoint");
  const note = options.note ?? readStateFile(path, CHECKPOINT_MAX_BYTES);
  if (!note) {
    throw auditError("AUDIT_LOG_NOT_FOUND", `${JSON.stringify(directory)}: there is no checkpoint in it`, {
      hints: ["give the directory that holds `checkpoint` and `tile`"],
    });
  }
  const checkpoint = parseCheckpoint(note, path);
  const { key, from } = options;
  if (key) requireSignature(checkpoint, key, path);
  const older = from && parseCheckpoint(from.note, from.name);
  if (from && older) checkOlder(older, checkpoint, from.name, key);
  const walk = walkEntries(directory, checkpoint.size, older?.size, options);
  if (!walk.root.equals(checkpoint.root)) {
    const shown = [walk.root, checkpoint.root].map((root) => root.toString("base64"));
    throw auditError(
      "AUDIT_ROOT_DIFFERS",
      `root of ${checkpoint.size} entries: got ${shown[0]}, want ${shown[1]}`,
      EVIDENCE,
    );
  }
  if (older && !walk.olderRoot?.equals(older.root)) {
    throw auditError(
      "AUDIT_LOG_FORKED",
      `the first ${older.size} entries are not those of checkpoint ${JSON.stringify(from?.name)}`,
      EVIDENCE,
    );
  }
  return {
    origin: checkpoint.origin,
    entries: checkpoint.size,
    root: checkpoint.root.toString("base64"),
    firstTime: walk.firstTime,
    lastTime: walk.lastTime,
    isSignatureChecked: key !== undefined,
    continues: older?.size,
    behindCheckpoint: entriesBehind(directory, checkpoint.size),
  };
}

function checkOlder(older: Checkpoint, checkpoint: Checkpoint, name: string, key: LogKey | undefined): void {
  if (key) requireSignature(older, key, name);
  if (older.origin !== checkpoint.origin) {
    throw auditError(
      "AUDIT_LOG_FORKED",
      `checkpoint ${JSON.stringify(name)}: got a log named ${JSON.stringify(older.origin)}, want ${JSON.stringify(checkpoint.origin)}`,
    );
  }
  if (older.size > checkpoint.size) {
    throw auditError(
      "AUDIT_LOG_REWOUND",
      `got ${checkpoint.size} entries, want at least the ${older.size} of checkpoint ${JSON.stringify(name)}`,
      EVIDENCE,
    );
  }
}

interface Walk {
  readonly root: Buffer;
  readonly olderRoot: Buffer | undefined;
  readonly firstTime: string | undefined;
  readonly lastTime: string | undefined;
}

function walkEntries(
  directory: string,
  size: number,
  olderSize: number | undefined,
  { onProgress = () => {}, onEntry = () => {} }: Pick<VerifyLogOptions, "onProgress" | "onEntry">,
): Walk {
  const tree = new GrowingTree((level, index, hashes) => compareTile(directory, level, index, hashes));
  let olderRoot = olderSize === 0 ? tree.root() : undefined;
  let firstTime: string | undefined;
  let last: Buffer | undefined;
  for (let start = 0; start < size; start += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, size - start);
    const entries = readBundle(directory, start / TILE_WIDTH, width);
    for (const entry of entries) {
      onEntry(entry, tree.size);
      tree.add(entry);
      if (tree.size === olderSize) olderRoot = tree.root();
    }
    if (start === 0) firstTime = timeOf(entries[0]);
    last = entries.at(-1);
    onProgress(start + width, size);
  }
  tree.finish();
  return { root: tree.root(), olderRoot, firstTime, lastTime: timeOf(last) };
}

/** A tree in which only the roots of its whole subtrees are kept: one for each bit of the size. */
class GrowingTree {
  size = 0;
  readonly #onTile: (level: number, index: number, hashes: Buffer) => void;
  /** By height; what is not in use is undefined. */
  readonly #roots: (Buffer | undefined)[] = [];
  /** By level: the hashes of the tile that is not full yet. */
  readonly #tiles: Buffer[][] = [];

  constructor(onTile: (level: number, index: number, hashes: Buffer) => void) {
    this.#onTile = onTile;
  }

  add(entry: Buffer): void {
    this.size += 1;
    let root: Buffer = createHash("sha256").update("\0").update(entry).digest();
    for (let height = 0; ; height += 1) {
      if (height % LEVEL_HEIGHT === 0) this.#addToTile(height / LEVEL_HEIGHT, root);
      const left = this.#roots[height];
      if (!left) {
        this.#roots[height] = root;
        return;
      }
      this.#roots[height] = undefined;
      root = parentOf(left, root);
    }
  }

  #addToTile(level: number, root: Buffer): void {
    const hashes = this.#tiles[level] ?? [];
    this.#tiles[level] = hashes;
    hashes.push(root);
    if (hashes.length < TILE_WIDTH) return;
    this.#tiles[level] = [];
    this.#onTile(level, Math.floor(this.size / TILE_WIDTH ** (level + 1)) - 1, Buffer.concat(hashes));
  }

  /** Compares the tiles that are not full. */
  finish(): void {
    for (const [level, hashes] of this.#tiles.entries()) {
      const index = Math.floor(this.size / TILE_WIDTH ** (level + 1));
      if (hashes.length > 0) this.#onTile(level, index, Buffer.concat(hashes));
    }
  }

  root(): Buffer {
    let root: Buffer | undefined;
    for (const left of this.#roots) if (left) root = root ? parentOf(left, root) : left;
    return root ?? hash("sha256", "", "buffer");
  }
}

function parentOf(left: Buffer, right: Buffer): Buffer {
  return hash("sha256", Buffer.concat([Buffer.of(1), left, right]), "buffer");
}

/** `tile/<row>/<index>`, the index in groups of three digits, all but the last behind an `x`. */
export function tilePath(row: string, index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/\d{3}/g) ?? [];
  return `tile/${row}/${groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join("/")}`;
}

/** A tile of `width` places, or the full one that replaced it in a log that grows meanwhile. */
function readTile(directory: string, row: string, index: number, width: number, maxBytes: number): Buffer {
  const full = tilePath(row, index);
  const partial = `${full}.p/${width}`;
  const bytes =
    (width < TILE_WIDTH ? readStateFile(join(directory, partial), maxBytes) : undefined) ??
    readStateFile(join(directory, full), maxBytes);
  if (bytes) return bytes;
  const wanted = width < TILE_WIDTH ? partial : full;
  throw auditError("AUDIT_LOG_INCOMPLETE", `${JSON.stringify(wanted)}: it is missing`, EVIDENCE);
}

function readBundle(directory: string, index: number, width: number): Buffer[] {
  const bytes = readTile(directory, "entries", index, width, BUNDLE_MAX_BYTES);
  const entries: Buffer[] = [];
  for (let at = 0; at + 2 <= bytes.length && entries.length < width; ) {
    const end = at + 2 + bytes.readUInt16BE(at);
    if (end > bytes.length) break;
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  if (entries.length === width) return entries;
  const [first, last] = [index * TILE_WIDTH + entries.length, index * TILE_WIDTH + width - 1];
  throw auditError("AUDIT_LOG_INCOMPLETE", `entries ${first} to ${last} are missing or broken`, EVIDENCE);
}

function compareTile(directory: string, level: number, index: number, hashes: Buffer): void {
  const width = hashes.length / HASH_BYTES;
  const bytes = readTile(directory, String(level), index, width, TILE_MAX_BYTES);
  if (bytes.subarray(0, hashes.length).equals(hashes)) return;
  for (let i = 0; i < width; i += 1) {
    const place = [i * HASH_BYTES, (i + 1) * HASH_BYTES] as const;
    if (hashes.subarray(...place).equals(bytes.subarray(...place))) continue;
    const number = index * TILE_WIDTH + i;
    if (level === 0) throw auditError("AUDIT_ENTRY_CHANGED", `entry ${number} is not what the tree says`, EVIDENCE);
    const what = `${JSON.stringify(tilePath(String(level), index))}, hash ${i}`;
    throw auditError("AUDIT_TILE_CHANGED", `${what}: not the root of the entries below it`, EVIDENCE);
  }
}

function timeOf(entry: Buffer | undefined): string | undefined {
  try {
    const { ts } = JSON.parse(entry?.toString("utf8") ?? "") as { ts?: unknown };
    return typeof ts === "string" ? ts : undefined;
  } catch {
    return undefined;
  }
}
