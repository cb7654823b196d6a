/**
 * Writes a layer: one tar for one list of entries, whatever the clock, the user or the directory, and its
 * zstd form. Headers are POSIX ustar with a pax header only where a name does not fit; owners by number.
 *
 * Every file has the same time, LAYER_TIME: times of packages say nothing that the package database does
 * not, and times of a build would change layers whose content did not change, which a site would then have
 * to carry in again.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress, createZstdDecompress, constants as zlib } from "node:zlib";
import type { Descriptor } from "../../model/descriptor.ts";
import { type Digest, digestFromHex } from "../../model/digest.ts";
import { OCI_LAYER_ZSTD } from "../../model/media-types.ts";
import { reasonOf } from "../../model/sealift-error.ts";
import { recipeError } from "./error.ts";
import { contentSize, type TreeEntry } from "./file-tree.ts";
import { listTar } from "./tar-reader.ts";

/** 2000-01-01T00:00:00Z, in seconds. */
export const LAYER_TIME = 946_684_800;
/** Node 26's binary, 150 MB: level 3 gives 45.6 MB in 1.2 s, 9 gives 40.5 in 2.5, 12 gives 40.1 in 6.3, 15 gives 39.7 in 24. */
export const LAYER_ZSTD_LEVEL = 9;
const BLOCK = 512;
const CHUNK = 1024 * 1024;

export interface WrittenLayer {
  readonly descriptor: Descriptor;
  /** Of the uncompressed tar. */
  readonly diffId: Digest;
  /** Bytes of the uncompressed tar. */
  readonly tarSize: number;
  readonly file: string;
}

/** Writes `entries` (sorted by path) to `directory`, under the digest's hexadecimal digits. @throws RECIPE_BUILD_FAILED */
export async function writeLayer(entries: readonly [string, TreeEntry][], directory: string): Promise<WrittenLayer> {
  const temporary = join(directory, `partial-${randomUUID()}`);
  const tarSize = entries.reduce((sum, [path, entry]) => sum + entrySize(path, entry), 2 * BLOCK);
  const diff = createHash("sha256");
  const compressed = createHash("sha256");
  let size = 0;
  try {
    await pipeline(
      Readable.from(evenChunks(tarBytes(entries)), { objectMode: true, highWaterMark: 2 }),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          diff.update(chunk);
          yield chunk;
        }
      },
      createZstdCompress({
        chunkSize: CHUNK,
        pledgedSrcSize: tarSize,
        params: { [zlib.ZSTD_c_compressionLevel]: LAYER_ZSTD_LEVEL },
      }),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          compressed.update(chunk);
          size += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(temporary, { flags: "wx", mode: 0o644 }),
    );
    const digest = digestFromHex(compressed.digest("hex"));
    const file = join(directory, digest.slice("sha256:".length));
    await rename(temporary, file);
    const descriptor = { mediaType: OCI_LAYER_ZSTD, digest, size };
    return { descriptor, diffId: digestFromHex(diff.digest("hex")), tarSize, file };
  } catch (cause) {
    await rm(temporary, { force: true });
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    const full = (cause as NodeJS.ErrnoException).code === "ENOSPC";
    throw recipeError("RECIPE_BUILD_FAILED", `layer in ${JSON.stringify(directory)}: ${reasonOf(cause)}`, {
      cause,
      hints: full ? ["free space on the disk of the cache; nothing unfinished was left behind"] : [],
    });
  }
}

/** The entries of a layer that `writeLayer` wrote; `spool` is where its tar goes, and must outlive them. */
export async function readLayer(file: string, spool: string): Promise<[string, TreeEntry][]> {
  const tar = join(spool, `layer-${randomUUID()}.tar`);
  await pipeline(createReadStream(file, { highWaterMark: CHUNK }), createZstdDecompress(), createWriteStream(tar));
  return listTar(tar, "layer").map(({ path, type, mode, uid, gid, target, position, size }): [string, TreeEntry] => {
    if (type === "directory") return [path, { type, mode, uid, gid }];
    if (type === "symlink") return [path, { type, target }];
    return [path, { type: "file", mode, uid, gid, content: { file: tar, position, size } }];
  });
}

/** Whether the layer file is there in full length; its bytes are checked by whoever copies it. */
export async function layerIsThere(layer: WrittenLayer): Promise<boolean> {
  return stat(layer.file).then(
    (found) => found.isFile() && found.size === layer.descriptor.size,
    () => false,
  );
}

/** The tar of `entries` (sorted by path), in chunks of any length: header, contents and padding of each, and the end. */
export async function* tarBytes(entries: readonly [string, TreeEntry][]): AsyncGenerator<Buffer> {
  for (const [path, entry] of entries) {
    yield renderEntryHeader(path, entry);
    if (entry.type !== "file") continue;
    const size = contentSize(entry.content);
    if ("bytes" in entry.content) {
      yield entry.content.bytes;
    } else if (size > 0) {
      const { file, position } = entry.content;
      let seen = 0;
      const source = createReadStream(file, { start: position, end: position + size - 1, highWaterMark: CHUNK });
      for await (const chunk of source as AsyncIterable<Buffer>) {
        seen += chunk.length;
        yield chunk;
      }
      if (seen !== size) throw new Error(`${JSON.stringify(path)}: got ${seen} bytes, want ${size}`);
    }
    yield Buffer.alloc(padding(size));
  }
  yield Buffer.alloc(2 * BLOCK);
}

/** The same bytes in chunks of equal length, so that the compressor sees the same calls each time. */
export async function* evenChunks(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let buffer = Buffer.allocUnsafe(CHUNK);
  let filled = 0;
  for await (const part of source) {
    for (let at = 0; at < part.length; ) {
      const copied = part.copy(buffer, filled, at, Math.min(part.length, at + CHUNK - filled));
      at += copied;
      filled += copied;
      if (filled === CHUNK) {
        yield buffer;
        buffer = Buffer.allocUnsafe(CHUNK);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function entrySize(path: string, entry: TreeEntry): number {
  const size = entry.type === "file" ? contentSize(entry.content) : 0;
  return renderEntryHeader(path, entry).length + size + padding(size);
}

/** The header block of one entry, with a pax header before it where the name or the size does not fit. */
export function renderEntryHeader(path: string, entry: TreeEntry): Buffer {
  const name = entry.type === "directory" ? `${path}/` : path;
  const target = entry.type === "symlink" ? entry.target : "";
  const size = entry.type === "file" ? contentSize(entry.content) : 0;
  const records: [string, string][] = [];
  if (!fits(target, 100)) records.push(["linkpath", target]);
  if (!fits(name, 100)) records.push(["path", name]);
  if (size >= 8 ** 11) records.push(["size", String(size)]);
  const main = renderBlock({
    // A reader that knows no pax would see a cut name; every reader of OCI layers knows pax.
    name: fits(name, 100) ? name : asciiStart(name),
    target: fits(target, 100) ? target : asciiStart(target),
    size: size >= 8 ** 11 ? 0 : size,
    type: entry.type === "file" ? "0" : entry.type === "directory" ? "5" : "2",
    mode: entry.type === "symlink" ? 0o777 : entry.mode,
    uid: entry.type === "symlink" ? 0 : entry.uid,
    gid: entry.type === "symlink" ? 0 : entry.gid,
  });
  if (records.length === 0) return main;
  const body = Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
  const head = renderBlock({ name: "pax", target: "", size: body.length, type: "x", mode: 0o644, uid: 0, gid: 0 });
  return Buffer.concat([head, body, Buffer.alloc(padding(body.length)), main]);
}

function fits(text: string, maxBytes: number): boolean {
  return Buffer.byteLength(text) <= maxBytes && /^[\x20-\x7e]*$/.test(text);
}

function asciiStart(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "_").slice(0, 99);
}

function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  // The length counts its own digits.
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

interface HeaderFields {
  readonly name: string;
  readonly target: string;
  readonly size: number;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function renderBlock({ name, target, size, type, mode, uid, gid }: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, digits: number): void => {
    block.write(`${value.toString(8).padStart(digits, "0")}\0`, offset, "latin1");
  };
  block.write(name, 0, "latin1");
  octal(mode, 100, 7);
  octal(uid, 108, 7);
  octal(gid, 116, 7);
  octal(size, 124, 11);
  octal(LAYER_TIME, 136, 11);
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  block.write(target, 157, "latin1");
  block.write("ustar\0" + "00", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
