/**
 * Reads a layer's tar as the container runtimes do: Docker, containerd and Podman all unpack with Go's
 * archive/tar, so an SBOM is about what runs only if we see the same entries. POSIX ustar and pax (IEEE
 * Std 1003.1, pax), GNU long names, GNU and old base-256 numbers.
 *
 * The `tar` package is not used here because it reads some archives otherwise than the runtimes without
 * saying so (ADR 0007; test/sbom/generate/tar-reader.test.ts holds each case).
 */
import { isUtf8 } from "node:buffer";
import { sbomError } from "../error.ts";

const BLOCK_BYTES = 512;
/** Go's limit for a pax header or a GNU long name. */
const META_MAX_BYTES = 1024 * 1024;

export type EntryKind = "file" | "directory" | "symlink" | "hardlink" | "device";

export interface TarHeader {
  /** As the archive has it; a byte that is not UTF-8 stands as \xNN. */
  readonly path: string;
  readonly kind: EntryKind;
  /** The target of a symlink or hardlink, else "". */
  readonly link: string;
  /** Bytes of content that follow in the archive; 0 unless `kind` is "file". */
  readonly sizeBytes: number;
  /** The content is a GNU sparse map and the data between holes, not the file's bytes. */
  readonly isSparse: boolean;
  /** A file with an execute bit. */
  readonly isExecutable: boolean;
}

export interface TarHandler {
  /** Called at each entry, in order. The function returned gets the content; its chunks are only lent. */
  readonly onEntry: (header: TarHeader) => ((chunk: Uint8Array) => void) | undefined;
  /** Called when the content of the last entry is complete. */
  readonly onEntryEnd: () => void;
}

type Meta = "x" | "g" | "L" | "K";

/** Push parser: give it the archive's bytes in any pieces with `write`, then call `end`. */
export class TarReader {
  readonly #handler: TarHandler;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  #blockFilled = 0;
  #position = 0;
  /** Content and padding still to come of the current entry. */
  #contentLeft = 0;
  #paddingLeft = 0;
  #inEntry = false;
  #sink: ((chunk: Uint8Array) => void) | undefined;
  #meta: { readonly type: Meta; readonly bytes: Buffer; filled: number } | undefined;
  #pax: ReadonlyMap<string, string> | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;
  #zeroBlocks = 0;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /**
   * @throws SBOM_LAYER_MALFORMED, and what the handler throws. After that the reader must not be used.
   * Bytes after the two zero blocks that end an archive are ignored, as every runtime does.
   */
  write(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.byteLength && this.#zeroBlocks < 2) {
      const left = chunk.byteLength - at;
      if (this.#contentLeft > 0) {
        const take = Math.min(left, this.#contentLeft);
        this.#content(chunk.subarray(at, at + take));
        at += take;
        this.#contentLeft -= take;
        if (this.#contentLeft === 0) this.#entryEnd();
      } else if (this.#paddingLeft > 0) {
        const take = Math.min(left, this.#paddingLeft);
        at += take;
        this.#paddingLeft -= take;
      } else {
        const take = Math.min(left, BLOCK_BYTES - this.#blockFilled);
        this.#block.set(chunk.subarray(at, at + take), this.#blockFilled);
        at += take;
        this.#blockFilled += take;
        if (this.#blockFilled === BLOCK_BYTES) {
          this.#blockFilled = 0;
          this.#header();
        }
      }
    }
    this.#position += chunk.byteLength;
  }

  /** @throws SBOM_LAYER_MALFORMED if the archive stops inside a header or an entry. */
  end(): void {
    if (this.#zeroBlocks >= 2) return;
    if (this.#contentLeft > 0 || this.#paddingLeft > 0 || this.#blockFilled > 0 || this.#inEntry) {
      this.#refuse("the archive ends early");
    }
  }

  #refuse(what: string): never {
    throw sbomError("SBOM_LAYER_MALFORMED", `layer's tar near byte ${this.#position}: ${what}`);
  }

  #content(chunk: Uint8Array): void {
    if (this.#meta) {
      this.#meta.bytes.set(chunk, this.#meta.filled);
      this.#meta.filled += chunk.byteLength;
    } else {
      this.#sink?.(chunk);
    }
  }

  #entryEnd(): void {
    const meta = this.#meta;
    if (meta) {
      this.#meta = undefined;
      if (meta.type === "x") this.#pax = this.#parsePax(meta.bytes);
      // Go's reader parses a global header and applies none of it; so do we.
      else if (meta.type === "g") this.#parsePax(meta.bytes);
      else if (meta.type === "L") this.#longName = cString(meta.bytes);
      else this.#longLink = cString(meta.bytes);
      return;
    }
    this.#inEntry = false;
    this.#sink = undefined;
    this.#handler.onEntryEnd();
  }

  #header(): void {
    const block = this.#block;
    if (block[0] === 0 && block.every((byte) => byte === 0)) {
      this.#zeroBlocks += 1;
      return;
    }
    if (this.#zeroBlocks > 0) this.#refuse("a header follows a block of zeros");
    if (!checksumMatches(block)) this.#refuse("a header's checksum is wrong");
    const declared = parseNumber(block.subarray(124, 136));
    if (declared === undefined) this.#refuse("a header's size is not a number");
    const type = String.fromCharCode(block[156] as number);
    if (type === "x" || type === "g" || type === "L" || type === "K") {
      if (declared > META_MAX_BYTES) this.#refuse(`an extended header has ${declared} bytes`);
      this.#meta = { type, bytes: Buffer.alloc(declared), filled: 0 };
      this.#begin(declared);
      return;
    }
    this.#entry(type, declared);
  }

  #entry(type: string, declared: number): void {
    const pax = this.#pax;
    const isSparse =
      type === "S" || (pax !== undefined && [...pax.keys()].some((key) => key.startsWith("GNU.sparse.")));
    const mode = parseNumber(this.#block.subarray(100, 108)) ?? 0;
    // An empty value in a pax header means the header block's own value (Go: mergePAX).
    let path = pax?.get("GNU.sparse.name") || pax?.get("path") || headerPath(this.#block);
    let link = pax?.get("linkpath") || cString(this.#block.subarray(157, 257));
    if (this.#longName) path = this.#longName;
    if (this.#longLink) link = this.#longLink;
    const paxSize = pax?.get("size");
    const size = paxSize ? parseDecimal(paxSize) : declared;
    if (size === undefined) this.#refuse("a pax header's size is not a number");
    this.#pax = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;

    const kind = this.#kind(type, path);
    // Go gives every kind but a file no content, whatever its size says.
    const sizeBytes = kind === "file" ? size : 0;
    const isLink = kind === "symlink" || kind === "hardlink";
    this.#inEntry = true;
    this.#sink = this.#handler.onEntry({
      path,
      kind,
      link: isLink ? link : "",
      sizeBytes,
      isSparse,
      isExecutable: kind === "file" && (mode & 0o111) !== 0,
    });
    this.#begin(sizeBytes);
  }

  #begin(sizeBytes: number): void {
    this.#contentLeft = sizeBytes;
    this.#paddingLeft = (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    if (sizeBytes === 0) this.#entryEnd();
  }

  #kind(type: string, path: string): EntryKind {
    switch (type) {
      case "\0":
        return path.endsWith("/") ? "directory" : "file";
      case "0":
      case "7":
        return "file";
      case "1":
        return "hardlink";
      case "2":
        return "symlink";
      case "3":
      case "4":
      case "6":
        return "device";
      case "5":
        return "directory";
      default:
        // GNU sparse files of the old kind ("S") are among them: containerd and Docker refuse them too.
        return this.#refuse(`entry ${quote(path)} has type ${quote(type)}, which no runtime unpacks`);
    }
  }

  /** Records are `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record in bytes; a value may hold anything. */
  #parsePax(bytes: Buffer): Map<string, string> {
    const records = new Map<string, string>();
    let at = 0;
    while (at < bytes.length) {
      const space = bytes.indexOf(0x20, at);
      const length = space < 0 ? undefined : parseDecimal(bytes.subarray(at, space).toString("latin1"));
      const end = length === undefined ? Number.NaN : at + length;
      const equals = bytes.indexOf(0x3d, space);
      if (
        !(end <= bytes.length) ||
        end < space + 2 ||
        bytes[end - 1] !== 0x0a ||
        equals <= space + 1 ||
        equals >= end
      ) {
        return this.#refuse("a pax header is malformed");
      }
      const key = decodeName(bytes.subarray(space + 1, equals));
      const value = bytes.subarray(equals + 1, end - 1);
      const isName = key === "path" || key === "linkpath" || key === "GNU.sparse.name";
      if (key.includes("\0") || (isName && value.includes(0))) this.#refuse("a pax header has a NUL in a name");
      records.set(key, decodeName(value));
      at = end;
    }
    return records;
  }
}

/** For messages: `text` as JSON, cut to a length that fits a line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}

function decodeName(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString("utf8");
  // Two names that differ must not become one, as they would with U+FFFD.
  return buffer.toString("latin1").replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
}

function cString(field: Uint8Array): string {
  const end = field.indexOf(0);
  return decodeName(end < 0 ? field : field.subarray(0, end));
}

function headerPath(block: Buffer): string {
  const name = cString(block.subarray(0, 100));
  const magic = block.subarray(257, 265).toString("latin1");
  let prefix = "";
  if (magic === "ustar\x0000") {
    const isStar = block.subarray(508, 512).toString("latin1") === "tar\0";
    prefix = cString(block.subarray(345, isStar ? 476 : 500));
  } else if (magic === "ustar  \0" && block[345] !== 0) {
    // GNU has times there; Go before 1.8 wrote a prefix in spite of that, and Go still reads it.
    const times = [block.subarray(345, 357), block.subarray(357, 369)];
    const field = cString(block.subarray(345, 500));
    const isAscii = Buffer.from(field).every((byte) => byte < 0x80);
    if (times.some((time) => parseNumber(time) === undefined) && isAscii) prefix = field;
  }
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** POSIX sums the bytes as unsigned; some old archivers summed them as signed, and Go takes both. */
function checksumMatches(block: Buffer): boolean {
  const wanted = parseNumber(block.subarray(148, 156));
  // The checksum's own eight bytes count as spaces.
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let i = 0; i < BLOCK_BYTES; i += 1) {
    if (i === 148) i = 156;
    const byte = block[i] as number;
    unsigned += byte;
    high += byte >> 7;
  }
  return wanted === unsigned || wanted === unsigned - 0x100 * high;
}

/** A number in octal, or in GNU's base-256 form; undefined if it is neither, negative, or above 2^53 - 1. */
function parseNumber(field: Buffer): number | undefined {
  const first = field[0] as number;
  if ((first & 0x80) !== 0) {
    if ((first & 0x40) !== 0) return undefined;
    let value = BigInt(first & 0x3f);
    for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
  }
  const text = field.toString("latin1").replace(/^[ \0]+|[ \0]+$/g, "");
  const digits = text.includes("\0") ? text.slice(0, text.indexOf("\0")) : text;
  if (digits === "") return 0;
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

function parseDecimal(text: string): number | undefined {
  if (!/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
