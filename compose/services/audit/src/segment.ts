/**
 * A write-ahead segment: what was acknowledged and is perhaps not in the tree yet. One file of a fixed
 * size, filled beforehand with zeros or with an older segment, so that a write changes no metadata and never
 * needs room.
 *
 * All is in pages of 4096 bytes. The first holds the header: a line of text, 16 random bytes that name the
 * segment, the index of its first entry (8 bytes), SHA-256 of the three. Each group of entries that was
 * written in one go is a frame from the start of a page: `SLFR`, the length of its body (4 bytes), the index
 * of its first entry (8 bytes), SHA-256 over segment name, those 16 bytes and body; then the body: entries
 * each behind its length (2 bytes). Numbers have their high byte first. A frame whose hash does not hold was
 * never acknowledged, as long as none that holds comes behind it. Nobody outside knows a segment's name, so
 * no entry can be made to look like a frame; and no frame of an older segment holds in a newer one.
 */
import { randomBytes } from "node:crypto";
import { constants, type FileHandle, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode } from "@sealift/service-kit/log.ts";
import { type LogDisk, syncPath } from "./durable-files.ts";
import { HASH_BYTES, sha256 } from "./merkle.ts";
import type { PageMemory } from "./page-memory.ts";
import { decodeEntries, encodedSize, encodeInto } from "./tile-path.ts";

export const PAGE_BYTES = 4096;
export const SEGMENT_BYTES = 8 * 1024 * 1024;
/** The bodies of one frame: what is written and made durable in one go. */
export const FRAME_BODY_MAX_BYTES = 1024 * 1024;

const MAGIC = Buffer.from("sealift audit segment 1\n");
const NAME_BYTES = 16;
const HEADER_BYTES = MAGIC.length + NAME_BYTES + 8;
const FRAME_MAGIC = Buffer.from("SLFR");
const FRAME_FIELDS_BYTES = 16;
const FRAME_HEADER_BYTES = FRAME_FIELDS_BYTES + HASH_BYTES;
/** A disk that took no longer is written to from this thread: the way to another one and back costs as much. */
const QUICK_MS = 0.5;
const ZEROS = Buffer.alloc(1024 * 1024);
const OPEN_DURABLE = constants.O_WRONLY | constants.O_DSYNC;
/** The file system does not take O_DIRECT. */
const NOT_DIRECT = "EINVAL";

/** Bytes of a frame with these entries, in whole pages. */
export function frameSize(entries: readonly Uint8Array[]): number {
  return Math.ceil((FRAME_HEADER_BYTES + encodedSize(entries)) / PAGE_BYTES) * PAGE_BYTES;
}

/** Fills `frame`, which is as long as `frameSize` says. */
function encodeFrame(frame: Buffer, name: Buffer, first: number, entries: readonly Uint8Array[]): void {
  // What the memory was used for before: four bytes stay as they are, and what is behind the entries.
  frame.fill(0, 0, FRAME_FIELDS_BYTES);
  FRAME_MAGIC.copy(frame);
  frame.writeBigUInt64BE(BigInt(first), 8);
  const end = encodeInto(frame, FRAME_HEADER_BYTES, entries);
  frame.fill(0, end);
  frame.writeUInt32BE(end - FRAME_HEADER_BYTES, 4);
  // What is hashed stands before the body for a moment, where the hash then is: so the body is not copied.
  name.copy(frame, FRAME_FIELDS_BYTES);
  frame.copy(frame, FRAME_FIELDS_BYTES + NAME_BYTES, 0, FRAME_FIELDS_BYTES);
  sha256(frame.subarray(FRAME_FIELDS_BYTES, end)).copy(frame, FRAME_FIELDS_BYTES);
}

function encodeHeader(header: Buffer, name: Buffer, first: number): void {
  header.fill(0);
  MAGIC.copy(header);
  name.copy(header, MAGIC.length);
  header.writeBigUInt64BE(BigInt(first), MAGIC.length + NAME_BYTES);
  sha256(header.subarray(0, HEADER_BYTES)).copy(header, HEADER_BYTES);
}

/** With the header in it, durable. Past the kernel's copy of the file where that can be: a durable write takes a tenth less. */
async function openSegment(disk: LogDisk, path: string, header: Buffer, direct: number): Promise<FileHandle> {
  const file = await disk.open(path, OPEN_DURABLE | direct);
  try {
    await disk.write(file, header, 0);
    return file;
  } catch (cause) {
    await file.close();
    throw cause;
  }
}

function frameHash(name: Buffer, frame: Buffer, body: Buffer): Buffer {
  return sha256(Buffer.concat([name, frame.subarray(0, FRAME_FIELDS_BYTES), body]));
}

/** Where a segment begins. */
export interface SegmentPlace {
  readonly disk: LogDisk;
  /** Of the one log that writes: each frame is made in it. */
  readonly memory: PageMemory;
  /** The prepared file. */
  readonly spare: string;
  readonly path: string;
  /** The index of its first entry. */
  readonly first: number;
  readonly size: number;
}

export class SegmentWriter {
  readonly first: number;
  readonly #disk: LogDisk;
  readonly #file: FileHandle;
  readonly #name: Buffer;
  readonly #memory: PageMemory;
  readonly #size: number;
  #position = PAGE_BYTES;
  #lastWriteMs = Number.POSITIVE_INFINITY;

  private constructor(place: SegmentPlace, file: FileHandle, name: Buffer) {
    this.#disk = place.disk;
    this.#file = file;
    this.#name = name;
    this.#memory = place.memory;
    this.first = place.first;
    this.#size = place.size;
  }

  /** A file of `size` zero bytes that `begin` makes a segment of. On a full disk nothing is left of it. */
  static async prepare(disk: LogDisk, path: string, size: number): Promise<void> {
    const file = await disk.open(path, "w");
    try {
      for (let at = 0; at < size; at += ZEROS.length) {
        await disk.write(file, ZEROS.subarray(0, Math.min(ZEROS.length, size - at)), at);
      }
      await disk.sync(file);
    } catch (cause) {
      await disk.remove(path).catch(() => {});
      throw cause;
    } finally {
      await file.close();
    }
  }

  /** Makes the segment at `path`, of which nobody needs anything, the file that `begin` makes a segment of. */
  static async recycle(disk: LogDisk, path: string, spare: string): Promise<void> {
    await disk.rename(path, spare);
    // Before it gets another header: what it is called and what it says of itself must agree.
    await syncPath(disk, dirname(spare));
  }

  /** Names the prepared file `spare`, calls it `path`, and makes both durable. A segment at `path` is refused. */
  static async begin(place: SegmentPlace): Promise<SegmentWriter> {
    const { disk, memory, spare, path, first } = place;
    // Another writer that begins at the same entry is found out here, should a lock ever fail.
    await (await disk.open(path, "wx")).close();
    const name = randomBytes(NAME_BYTES);
    const header = memory.take(PAGE_BYTES);
    encodeHeader(header, name, first);
    try {
      const file = await openSegment(disk, spare, header, constants.O_DIRECT).catch((cause) => {
        if (errorCode(cause) !== NOT_DIRECT) throw cause;
        return openSegment(disk, spare, header, 0);
      });
      try {
        await disk.rename(spare, path);
        await syncPath(disk, dirname(path));
        return new SegmentWriter(place, file, name);
      } catch (cause) {
        await file.close();
        throw cause;
      }
    } catch (cause) {
      // Nothing was written to it yet: the next attempt begins anew.
      await disk.remove(path).catch(() => {});
      throw cause;
    }
  }

  hasRoom(entries: readonly Uint8Array[]): boolean {
    return this.#position + frameSize(entries) <= this.#size;
  }

  /** Resolves when the entries are on stable storage. After a failure nobody knows what the disk holds. */
  async write(first: number, entries: readonly Uint8Array[]): Promise<void> {
    const frame = this.#memory.take(frameSize(entries));
    encodeFrame(frame, this.#name, first, entries);
    const started = performance.now();
    if (this.#lastWriteMs < QUICK_MS) this.#disk.writeHere(this.#file, frame, this.#position);
    else await this.#disk.write(this.#file, frame, this.#position);
    this.#lastWriteMs = performance.now() - started;
    this.#position += frame.length;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export interface SegmentContent {
  readonly first: number;
  readonly entries: readonly Buffer[];
}

/** A segment that cannot be read to its end without losing what may have been acknowledged. */
export class SegmentDamagedError extends Error {}

/**
 * The entries of the segment at `path`, without a last frame that was torn; undefined for an empty file,
 * which is one whose beginning was interrupted. They are on stable storage now, also those that whoever
 * wrote them did not live to acknowledge. @throws SegmentDamagedError
 */
export async function readSegment(disk: LogDisk, path: string): Promise<SegmentContent | undefined> {
  await syncPath(disk, path);
  const bytes = await readFile(path);
  if (bytes.length === 0) return undefined;
  const header = bytes.subarray(0, HEADER_BYTES);
  const holds = sha256(header).equals(bytes.subarray(HEADER_BYTES, HEADER_BYTES + HASH_BYTES));
  if (!header.subarray(0, MAGIC.length).equals(MAGIC) || !holds) throw new SegmentDamagedError(`${path}: no segment`);
  const name = header.subarray(MAGIC.length, MAGIC.length + NAME_BYTES);
  const first = Number(header.readBigUInt64BE(MAGIC.length + NAME_BYTES));
  const entries: Buffer[] = [];
  let at = PAGE_BYTES;
  for (;;) {
    const frame = readFrame(name, bytes, at);
    if (!frame) break;
    if (frame.first !== first + entries.length) throw new SegmentDamagedError(`${path}: entries are missing at ${at}`);
    entries.push(...frame.entries);
    at += frameSize(frame.entries);
  }
  for (let behind = at + PAGE_BYTES; behind < bytes.length; behind += PAGE_BYTES) {
    if (readFrame(name, bytes, behind))
      throw new SegmentDamagedError(`${path}: broken at ${at}, before entries that hold`);
  }
  return { first, entries };
}

function readFrame(name: Buffer, bytes: Buffer, at: number): SegmentContent | undefined {
  const frame = bytes.subarray(at);
  if (frame.length < FRAME_HEADER_BYTES || !frame.subarray(0, FRAME_MAGIC.length).equals(FRAME_MAGIC)) return undefined;
  const length = frame.readUInt32BE(4);
  if (length > frame.length - FRAME_HEADER_BYTES) return undefined;
  const body = frame.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length);
  const hash = frame.subarray(FRAME_FIELDS_BYTES, FRAME_HEADER_BYTES);
  if (!frameHash(name, frame, body).equals(hash)) return undefined;
  const entries = decodeEntries(body);
  return entries && { first: Number(frame.readBigUInt64BE(8)), entries };
}
