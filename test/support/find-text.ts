/**
 * Looks for secret texts in all files below a directory, however they are spelt: as they are, in UTF-16,
 * hexadecimal, base64 at any offset, as JSON escapes; and in what gzip and zstd files hold.
 *
 * Not found: a text that is encrypted, cut into pieces, or compressed inside a larger file (as Postgres
 * compresses values of more than 2 KB).
 */
import { closeSync, createReadStream, lstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";

export interface Found {
  readonly path: string;
  readonly text: string;
  readonly spelling: string;
}

export interface Search {
  readonly files: number;
  readonly bytes: number;
  /** Files that were read a second time, decompressed. */
  readonly decompressed: number;
  readonly found: readonly Found[];
}

export interface SearchOptions {
  /** Passes over files that the kernel says nobody changed since (ctime, milliseconds since 1970). */
  readonly changedSince?: number;
}

interface Needle {
  readonly text: string;
  readonly spelling: string;
  readonly bytes: Buffer;
}

const CHUNK_BYTES = 1024 * 1024;

/** Links are not followed, and other file systems not entered: they are no files of this directory. */
export async function findTexts(
  directory: string,
  texts: readonly string[],
  options: SearchOptions = {},
): Promise<Search> {
  const needles = texts.flatMap(spellings);
  const found = new Map<string, Found>();
  const counts = { files: 0, bytes: 0, decompressed: 0 };
  for (const path of filesBelow(directory, lstatSync(directory).dev, options.changedSince ?? 0)) {
    const scan = new Scan(needles, ({ text, spelling }) =>
      found.set(`${path}\0${text}\0${spelling}`, { path, text, spelling }),
    );
    const read = readThrough(path, scan);
    if (read === undefined) continue;
    counts.files += 1;
    counts.bytes += read.bytes;
    const decompressor = decompressorFor(read.head);
    if (decompressor === undefined) continue;
    counts.decompressed += 1;
    scan.restart();
    await decompressThrough(path, decompressor, scan);
  }
  return { ...counts, found: [...found.values()] };
}

/** Every way to write `text` that `findTexts` knows. */
export function spellings(text: string): Needle[] {
  const bytes = Buffer.from(text);
  const utf16 = Buffer.from(text, "utf16le");
  const hex = bytes.toString("hex");
  const escaped = (digits: (code: string) => string): string =>
    [...text].map((letter) => `\\u${digits(letter.charCodeAt(0).toString(16).padStart(4, "0"))}`).join("");
  const all: [string, Buffer | string][] = [
    ["as it is", bytes],
    ["UTF-16LE", utf16],
    ["UTF-16BE", Buffer.from(utf16).swap16()],
    ["hex", hex],
    ["hex in capitals", hex.toUpperCase()],
    ["JSON escapes", escaped((code) => code)],
    ["JSON escapes in capitals", escaped((code) => code.toUpperCase())],
  ];
  for (const offset of [0, 1, 2]) {
    const standard = innerBase64(bytes, offset);
    all.push([`base64 at ${offset}`, standard]);
    all.push([`base64url at ${offset}`, standard.replaceAll("+", "-").replaceAll("/", "_")]);
  }
  const seen = new Set<string>();
  return all
    .map(([spelling, value]) => ({ text, spelling, bytes: Buffer.from(value as string) }))
    .filter((needle) => {
      const key = needle.bytes.toString("latin1");
      return !seen.has(key) && seen.add(key);
    });
}

/** The base64 digits that do not depend on what stands before and after, if `offset` bytes stand before. */
function innerBase64(bytes: Buffer, offset: number): string {
  const digits = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
  return digits.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
}

/** Finds needles in bytes that come in pieces. */
class Scan {
  readonly #needles: readonly Needle[];
  readonly #onFound: (needle: Needle) => void;
  readonly #overlap: number;
  #rest = Buffer.alloc(0);

  constructor(needles: readonly Needle[], onFound: (needle: Needle) => void) {
    this.#needles = needles;
    this.#onFound = onFound;
    this.#overlap = Math.max(...needles.map(({ bytes }) => bytes.length)) - 1;
  }

  push(piece: Buffer): void {
    const bytes = Buffer.concat([this.#rest, piece]);
    for (const needle of this.#needles) if (bytes.includes(needle.bytes)) this.#onFound(needle);
    this.#rest = bytes.subarray(Math.max(0, bytes.length - this.#overlap));
  }

  restart(): void {
    this.#rest = Buffer.alloc(0);
  }
}

function* filesBelow(directory: string, device: number, changedSince: number): Generator<string> {
  for (const name of entries(directory)) {
    const path = join(directory, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined || stat.dev !== device) continue;
    if (stat.isDirectory()) yield* filesBelow(path, device, changedSince);
    else if (stat.isFile() && stat.ctimeMs >= changedSince) yield path;
  }
}

/** None if it is gone by now: a running site makes and removes files. */
function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw cause;
  }
}

function readThrough(path: string, scan: Scan): { head: Buffer; bytes: number } | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let head = Buffer.alloc(0);
    let bytes = 0;
    for (;;) {
      const length = readSync(descriptor, chunk);
      if (length === 0) return { head, bytes };
      if (bytes === 0) head = Buffer.from(chunk.subarray(0, Math.min(4, length)));
      bytes += length;
      scan.push(chunk.subarray(0, length));
    }
  } finally {
    closeSync(descriptor);
  }
}

function decompressorFor(head: Buffer): Transform | undefined {
  const magic = head.toString("hex");
  if (magic.startsWith("1f8b")) return createGunzip();
  return magic === "28b52ffd" ? createZstdDecompress() : undefined;
}

/** A stream that breaks off, or never was one, is read as far as it goes. */
async function decompressThrough(path: string, decompressor: Transform, scan: Scan): Promise<void> {
  const file = createReadStream(path);
  file.on("error", (cause) => decompressor.destroy(cause));
  try {
    for await (const piece of file.pipe(decompressor)) scan.push(piece as Buffer);
  } catch {
    // What came until then was looked at.
  }
}
