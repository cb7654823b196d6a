/**
 * The one tar encoding of a bundle. There is exactly one byte string for a list of (name, size, bytes):
 * POSIX ustar headers (IEEE Std 1003.1, pax, "ustar Interchange Format") with fixed mode, owner and
 * time, NUL padding to 512, and exactly two zero blocks at the end. Reading means rendering the header
 * again and comparing all 512 bytes, so no byte of the file is left for anyone to hide something in.
 *
 * A size of 8 GiB or more does not fit eleven octal digits; it is written in GNU's base-256 form, which
 * GNU tar, Go and node-tar read.
 */
import { layoutError } from "./error.ts";

export const BLOCK_BYTES = 512;
/** Names are `oci-layout`, `index.json` and `blobs/sha256/<64 hex>`: always below the header's 100 bytes. */
const NAME_MAX_BYTES = 100;
const OCTAL_SIZE_MAX = 8 ** 11 - 1;

export function paddedSize(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The 512 bytes before a file of `sizeBytes` bytes called `name` (ASCII, 1 to 100 bytes). */
export function renderHeader(name: string, sizeBytes: number): Buffer {
  if (name.length === 0 || name.length > NAME_MAX_BYTES || !/^[\x21-\x7e]+$/.test(name)) {
    throw new TypeError(`not a name for a bundle's tar: ${JSON.stringify(name)}`);
  }
  const header = Buffer.alloc(BLOCK_BYTES);
  header.write(name, 0, "latin1");
  header.write("0000644\0", 100, "latin1");
  header.write("0000000\0", 108, "latin1");
  header.write("0000000\0", 116, "latin1");
  if (sizeBytes <= OCTAL_SIZE_MAX) {
    header.write(`${sizeBytes.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  } else {
    header.writeBigUInt64BE(BigInt(sizeBytes), 128);
    header[124] = 0x80;
  }
  header.write("00000000000\0", 136, "latin1");
  header.write("        ", 148, "latin1");
  header.write("0", 156, "latin1");
  header.write("ustar\0" + "00", 257, "latin1");
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** The two zero blocks that end the archive; nothing follows them. */
export function renderEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK_BYTES);
}

export interface TarEntry {
  readonly name: string;
  readonly size: number;
  /** Of the first content byte. */
  readonly position: number;
}

/** Fills `buffer` from `position` and returns how many bytes there were: fewer only at the end. */
export type ReadAt = (buffer: Uint8Array, position: number) => number;

/** More files than this are refused: each file of a directory layout is an open descriptor of every caged process. */
export const FILES_MAX = 8192;

/**
 * Lists the entries of the tar in `sizeBytes` bytes, reading only headers, padding and the end.
 * @throws LAYOUT_TAR_NOT_CANONICAL | LAYOUT_TRUNCATED | LAYOUT_DUPLICATE_FILE, and LAYOUT_NOT_A_LAYOUT for
 * more than FILES_MAX entries. Does not check names, order or any content.
 */
export function scanTar(readAt: ReadAt, sizeBytes: number): TarEntry[] {
  const entries: TarEntry[] = [];
  const seen = new Set<string>();
  const block = Buffer.alloc(BLOCK_BYTES);
  let position = 0;
  const refuse = (what: string): never => {
    throw layoutError("LAYOUT_TAR_NOT_CANONICAL", `tar at byte ${position}: ${what}`);
  };
  const truncated = (): never => {
    throw layoutError("LAYOUT_TRUNCATED", `tar: got ${sizeBytes} bytes, want more after byte ${position}`, {
      hints: ["the copy is incomplete; copy the bundle again from the original medium"],
    });
  };
  for (;;) {
    if (position + BLOCK_BYTES > sizeBytes || readAt(block, position) !== BLOCK_BYTES) truncated();
    if (block.every((byte) => byte === 0)) break;
    const name = textUntilNul(block.subarray(0, NAME_MAX_BYTES));
    const size = readSize(block);
    if (size === undefined || !/^[\x21-\x7e]+$/.test(name)) return refuse("not a bundle's file header");
    if (!renderHeader(name, size).equals(block)) refuse("header differs from the one that Sealift writes");
    if (seen.has(name)) throw layoutError("LAYOUT_DUPLICATE_FILE", `tar: ${JSON.stringify(name)} is there twice`);
    seen.add(name);
    if (seen.size > FILES_MAX) throw layoutError("LAYOUT_NOT_A_LAYOUT", `tar: more than ${FILES_MAX} files`);
    const start = position + BLOCK_BYTES;
    const next = start + paddedSize(size);
    if (next > sizeBytes) truncated();
    entries.push({ name, size, position: start });
    const padding = Buffer.alloc(next - start - size);
    if (padding.length > 0) {
      if (readAt(padding, start + size) !== padding.length) truncated();
      if (padding.some((byte) => byte !== 0)) refuse(`padding after ${JSON.stringify(name)} is not zero`);
    }
    position = next;
  }
  const end = renderEnd();
  if (sizeBytes < position + end.length) truncated();
  if (sizeBytes > position + end.length) refuse(`${sizeBytes - position - end.length} bytes follow the end`);
  if (readAt(block, position + BLOCK_BYTES) !== BLOCK_BYTES) truncated();
  if (block.some((byte) => byte !== 0)) refuse("the second end block is not zero");
  return entries;
}

function textUntilNul(field: Uint8Array): string {
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString("latin1");
}

function readSize(header: Buffer): number | undefined {
  if (header[124] === 0x80) {
    const size = header.readBigUInt64BE(128);
    return size <= BigInt(Number.MAX_SAFE_INTEGER) && size > BigInt(OCTAL_SIZE_MAX) ? Number(size) : undefined;
  }
  const text = header.subarray(124, 136).toString("latin1");
  return /^[0-7]{11}\0$/.test(text) ? Number.parseInt(text, 8) : undefined;
}
