/**
 * The files of an audit log up to one checkpoint, read while the log grows: entry bundles and tiles never change once
 * they are full, and one that was not full at that checkpoint is the beginning of the one that is there now.
 */
import { constants, createReadStream, lstatSync, openSync } from "node:fs";
import { join } from "node:path";
import { BUNDLE_MAX_BYTES, HASH_BYTES, TILE_WIDTH, tilePath } from "../audit/verify-log.ts";
import { readStateFile } from "../site/disk.ts";
import { backupError } from "./error.ts";

export interface LogMember {
  /** Below the log's directory. */
  readonly path: string;
  readonly size: number;
  readonly content: () => AsyncIterable<Uint8Array>;
}

/** All tiles of the first `size` entries of the log in `directory`, lazily. @throws BACKUP_WRITE_FAILED if one is missing */
export function* logMembers(directory: string, size: number): Generator<LogMember> {
  yield* rowMembers(directory, "entries", size);
  for (let level = 0, width = size; width > 0; level += 1, width = Math.floor(width / TILE_WIDTH)) {
    yield* rowMembers(directory, String(level), width);
  }
}

const TILE = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/[1-9][0-9]{0,2})?$/;

/** Whether `logMembers` of a log of `size` entries has one of this path. */
export function isLogMember(path: string, size: number): boolean {
  const [, row = "", name = ""] = TILE.exec(path) ?? [];
  if (row === "") return false;
  const index = Number(name.replaceAll(/[x/]/g, ""));
  const count = row === "entries" ? size : Math.floor(size / TILE_WIDTH ** Number(row));
  const width = Math.min(TILE_WIDTH, count - index * TILE_WIDTH);
  if (width <= 0) return false;
  return path === (width === TILE_WIDTH ? tilePath(row, index) : partialPath(row, index, width));
}

function partialPath(row: string, index: number, width: number): string {
  return `${tilePath(row, index)}.p/${width}`;
}

function* rowMembers(directory: string, row: string, count: number): Generator<LogMember> {
  for (let index = 0; index * TILE_WIDTH < count; index += 1) {
    const width = Math.min(TILE_WIDTH, count - index * TILE_WIDTH);
    if (width === TILE_WIDTH) yield fullMember(directory, tilePath(row, index));
    else yield partialMember(directory, row, index, width);
  }
}

function fullMember(directory: string, path: string): LogMember {
  const file = join(directory, path);
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (!stat?.isFile()) throw missing(path);
  // The log belongs to its service, which may put a link there: what it names is none of the log.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  return { path, size: stat.size, content: () => createReadStream(file, { fd: openSync(file, flags) }) };
}

function partialMember(directory: string, row: string, index: number, width: number): LogMember {
  const full = tilePath(row, index);
  const path = partialPath(row, index, width);
  const bytes =
    readStateFile(join(directory, path), BUNDLE_MAX_BYTES) ??
    readStateFile(join(directory, full), BUNDLE_MAX_BYTES) ??
    laterPartial(directory, full, width);
  if (!bytes) throw missing(path);
  const cut = row === "entries" ? firstEntries(bytes, width) : bytes.subarray(0, width * HASH_BYTES);
  if (!cut) throw missing(path);
  return {
    path,
    size: cut.length,
    content: async function* () {
      yield cut;
    },
  };
}

/** A log that grew leaves the partial tiles before until the tile is full; this is for one that was tidied. */
function laterPartial(directory: string, full: string, width: number): Buffer | undefined {
  for (let later = width + 1; later < TILE_WIDTH; later += 1) {
    const bytes = readStateFile(join(directory, `${full}.p/${later}`), BUNDLE_MAX_BYTES);
    if (bytes) return bytes;
  }
  return undefined;
}

/** Each entry stands behind its length, two bytes. */
function firstEntries(bytes: Buffer, width: number): Buffer | undefined {
  let end = 0;
  for (let count = 0; count < width; count += 1) {
    if (end + 2 > bytes.length) return undefined;
    end += 2 + bytes.readUInt16BE(end);
  }
  return end <= bytes.length ? bytes.subarray(0, end) : undefined;
}

function missing(path: string): Error {
  return backupError("BACKUP_WRITE_FAILED", `audit log: ${JSON.stringify(path)} is missing or broken`, {
    hints: ["sealift audit verify"],
  });
}
