/**
 * Reads a ZIP archive (PKWARE APPNOTE 6.3.10) by its central directory: stored and deflated members, ZIP64
 * too. Every member's size and CRC-32 are checked. Encrypted, split and otherwise compressed ones are refused.
 */
import { crc32, inflateRawSync } from "node:zlib";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { sbomError } from "./error.ts";

export interface RandomAccess {
  readonly size: number;
  /** Exactly `length` bytes, in `room` or elsewhere; the caller asks for none beyond `size`. */
  read(offset: number, length: number, room?: Buffer): Buffer;
}

export interface ZipMember {
  /** As the archive has it; a directory's ends with a slash. */
  readonly name: string;
  /** Uncompressed bytes. */
  readonly size: number;
  readonly compressedSize: number;
  readonly method: number;
  readonly crc32: number;
  readonly offset: number;
}

const END_BYTES = 22;
const END64_LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const MEMBER_BYTES = 46;
const LOCAL_BYTES = 30;
const COMMENT_MAX_BYTES = 65_535;
/** As zlib has it. */
const CHUNK_MIN_BYTES = 64;
const WINDOW_BYTES = 64 * 1024;
const ABSENT_32 = 0xffff_ffff;
const ABSENT_16 = 0xffff;

export function bufferAccess(bytes: Buffer): RandomAccess {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/**
 * For many small reads near each other: fewer of the underlying ones, and no buffer of their own for the garbage
 * collector. What a read gives lasts until the next one.
 */
export function readAhead(zip: RandomAccess): RandomAccess {
  const room = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, zip.size));
  let start = 0;
  let window: Buffer = room.subarray(0, 0);
  return {
    size: zip.size,
    read: (offset, length) => {
      if (length > room.length) return zip.read(offset, length);
      if (offset < start || offset + length > start + window.length) {
        start = offset;
        window = zip.read(offset, Math.min(room.length, zip.size - offset), room);
      }
      return window.subarray(offset - start, offset - start + length);
    },
  };
}

/** The members in the central directory's order. @throws SBOM_ZIP_MALFORMED */
export function* zipMembers(zip: RandomAccess): Generator<ZipMember> {
  const { count, offset, size } = endOfDirectory(zip);
  if (offset < 0 || offset + size > zip.size) throw malformed("central directory lies outside the archive");
  const directory = readAhead(zip);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const fixed = at + MEMBER_BYTES > size ? undefined : directory.read(offset + at, MEMBER_BYTES);
    if (fixed?.readUInt32LE(0) !== 0x0201_4b50) throw malformed(`member ${i} has no entry`);
    const extraAt = MEMBER_BYTES + fixed.readUInt16LE(28);
    const commentAt = extraAt + fixed.readUInt16LE(30);
    const end = at + commentAt + fixed.readUInt16LE(32);
    if (end > size) throw malformed(`member ${i} ends after the central directory`);
    const entry = directory.read(offset + at, commentAt);
    const name = entry.toString("utf8", MEMBER_BYTES, extraAt);
    if ((entry.readUInt16LE(8) & 1) !== 0) throw malformed(`${JSON.stringify(name)} is encrypted`);
    const wide = wideFields(entry.subarray(extraAt));
    const field = (position: number): number => {
      const value = entry.readUInt32LE(position);
      return value === ABSENT_32 ? wide(name) : value;
    };
    // In this order, because the wide fields come in it.
    const uncompressed = field(24);
    const compressed = field(20);
    yield {
      name,
      size: uncompressed,
      compressedSize: compressed,
      method: entry.readUInt16LE(10),
      crc32: entry.readUInt32LE(16),
      offset: field(42),
    };
    at = end;
  }
  if (at !== size) throw malformed("the central directory has more than its members");
}

/** The member's content. @throws SBOM_ZIP_MALFORMED, also for more than `maxBytes` bytes */
export function readZipMember(zip: RandomAccess, member: ZipMember, maxBytes: number): Buffer {
  const what = JSON.stringify(member.name.slice(0, 200));
  if (member.size > maxBytes) throw malformed(`${what}: got ${member.size} bytes, want at most ${maxBytes}`);
  // What cannot be compressed grows by less than a thousandth.
  if (member.compressedSize > 2 * maxBytes) throw malformed(`${what}: got ${member.compressedSize} compressed bytes`);
  const local = slice(zip, member.offset, LOCAL_BYTES, what);
  if (local.readUInt32LE(0) !== 0x0403_4b50) throw malformed(`${what} is not where the central directory says`);
  const start = member.offset + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
  const raw = slice(zip, start, member.compressedSize, what);
  const content = inflate(raw, member, what);
  if (content.length !== member.size || crc32(content) !== member.crc32) throw malformed(`${what} is damaged`);
  return content;
}

function inflate(raw: Buffer, { method, size }: ZipMember, what: string): Buffer {
  if (method === 0) return raw;
  if (method !== 8) throw malformed(`${what} has compression method ${method}, want stored or deflated`);
  try {
    // One byte more shows that there is more. In one piece: many small members would each leave a large buffer behind.
    return inflateRawSync(raw, { maxOutputLength: size + 1, chunkSize: Math.max(CHUNK_MIN_BYTES, size + 1) });
  } catch (cause) {
    throw malformed(`${what} is damaged: ${reasonOf(cause)}`, cause);
  }
}

function endOfDirectory(zip: RandomAccess): { readonly count: number; readonly offset: number; readonly size: number } {
  const length = Math.min(zip.size, END_BYTES + COMMENT_MAX_BYTES);
  const tail = zip.read(zip.size - length, length);
  for (let at = length - END_BYTES; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== 0x0605_4b50 || at + END_BYTES + tail.readUInt16LE(at + 20) !== length) continue;
    const count = tail.readUInt16LE(at + 10);
    const size = tail.readUInt32LE(at + 12);
    const offset = tail.readUInt32LE(at + 16);
    if (count !== ABSENT_16 && size !== ABSENT_32 && offset !== ABSENT_32) return { count, size, offset };
    return wideEnd(zip, zip.size - length + at);
  }
  throw malformed("no end of the central directory; the archive is cut short, or is none");
}

function wideEnd(
  zip: RandomAccess,
  end: number,
): { readonly count: number; readonly offset: number; readonly size: number } {
  const locator = slice(zip, end - END64_LOCATOR_BYTES, END64_LOCATOR_BYTES, "ZIP64 locator");
  if (locator.readUInt32LE(0) !== 0x0706_4b50) throw malformed("no ZIP64 locator");
  const wide = slice(zip, safe(locator.readBigUInt64LE(8)), END64_BYTES, "ZIP64 end");
  if (wide.readUInt32LE(0) !== 0x0606_4b50) throw malformed("no ZIP64 end of the central directory");
  return {
    count: safe(wide.readBigUInt64LE(32)),
    size: safe(wide.readBigUInt64LE(40)),
    offset: safe(wide.readBigUInt64LE(48)),
  };
}

/** Gives one 64-bit field after the other, of the extra field with id 1. */
function wideFields(extra: Buffer): (name: string) => number {
  let at = -1;
  let end = 0;
  for (let i = 0; i + 4 <= extra.length; i += 4 + extra.readUInt16LE(i + 2)) {
    if (extra.readUInt16LE(i) !== 1) continue;
    at = i + 4;
    end = Math.min(extra.length, at + extra.readUInt16LE(i + 2));
    break;
  }
  return (name) => {
    if (at < 0 || at + 8 > end) throw malformed(`${JSON.stringify(name)} lacks its ZIP64 sizes`);
    at += 8;
    return safe(extra.readBigUInt64LE(at - 8));
  };
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed("a ZIP64 number is too large");
  return Number(value);
}

function slice(zip: RandomAccess, offset: number, length: number, what: string): Buffer {
  if (offset < 0 || offset + length > zip.size) throw malformed(`${what} lies outside the archive`);
  return zip.read(offset, length);
}

function malformed(what: string, cause?: unknown): Error {
  return sbomError("SBOM_ZIP_MALFORMED", `ZIP archive: ${what}`, { cause });
}
