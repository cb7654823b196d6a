/**
 * What is in a tar of somebody else's making: ustar, pax and GNU long names. Only headers are read, so memory does not
 * grow with contents. What a member may be is for the caller to say: recipe/tar-reader.ts takes a few kinds and refuses
 * all else, foreign-tar.ts looks for files. A bundle's own tar is read by layout/tar-format.ts, which accepts one spelling.
 */
import { BLOCK_BYTES, paddedSize, type ReadAt } from "../layout/tar-format.ts";

export interface RawMember {
  /** The header's typeflag. */
  readonly type: string;
  /** As stored, also where it leads outside. */
  readonly name: string;
  /** Of a link, as stored. */
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Where the header is, and where the contents begin. */
  readonly header: number;
  readonly position: number;
  /** Of the contents; 0 for links and directories, whatever their header says. */
  readonly size: number;
}

export interface TarReading {
  readonly sizeBytes: number;
  /** Of an extended header or a long name. */
  readonly metaMaxBytes: number;
  /** Every tar program reads one without end blocks. */
  readonly mayLackEnd: boolean;
  /** `position` is the byte at which it is. */
  readonly malformed: (problem: string, position: number) => Error;
}

/** The next header's own words are overruled by these. */
type Extra = Readonly<Partial<Record<"path" | "linkpath" | "size", string>>>;

const WITHOUT_CONTENTS = "125";
const META = "LNKxXg";

/** The members in stored order. Throws what `malformed` makes. Not checked: names, kinds, duplicates. */
export function* rawMembers(readAt: ReadAt, reading: TarReading): Generator<RawMember> {
  const { sizeBytes, metaMaxBytes, mayLackEnd, malformed } = reading;
  const block = Buffer.alloc(BLOCK_BYTES);
  let extra: Extra = {};
  for (let at = 0; ; ) {
    if (at + BLOCK_BYTES > sizeBytes && mayLackEnd) return;
    if (readAt(block, at) !== BLOCK_BYTES) throw malformed("it ends without an end block", at);
    if (block.every((byte) => byte === 0)) return;
    if (!checksumHolds(block)) throw malformed("a header with a wrong checksum", at);
    const type = String.fromCharCode(block[156] ?? 0);
    const isMeta = META.includes(type);
    const said = isMeta || extra.size === undefined ? readNumber(block, 124, 12) : Number(extra.size);
    if (said === undefined || !Number.isSafeInteger(said) || said < 0) throw malformed("not a size", at);
    const size = WITHOUT_CONTENTS.includes(type) ? 0 : said;
    const position = at + BLOCK_BYTES;
    if (position + size > sizeBytes) throw malformed("it ends early", at);
    if (isMeta) {
      if (size > metaMaxBytes) throw malformed(`an extended header of ${size} bytes, want at most ${metaMaxBytes}`, at);
      const body = Buffer.alloc(size);
      if (readAt(body, position) !== size) throw malformed("it ends inside an extended header", at);
      const next = readMeta(type, body);
      if (!next) throw malformed("not a pax header", at);
      extra = { ...extra, ...next };
    } else {
      const [mode, uid, gid] = [readNumber(block, 100, 8), readNumber(block, 108, 8), readNumber(block, 116, 8)];
      if (mode === undefined || uid === undefined || gid === undefined) throw malformed("not a mode or owner", at);
      const name = extra.path ?? headerName(block);
      const target = extra.linkpath ?? untilNul(block.subarray(157, 257));
      yield { type, name, target, mode: mode & 0o7777, uid, gid, header: at, position, size };
      extra = {};
    }
    at = position + paddedSize(size);
  }
}

/** A global header (npm's archives of Git commits have one) holds a comment and nothing that matters here. */
function readMeta(type: string, body: Buffer): Extra | undefined {
  if (type === "L" || type === "N") return { path: untilNul(body) };
  if (type === "K") return { linkpath: untilNul(body) };
  return type === "g" ? {} : readPax(body);
}

function readPax(body: Buffer): Extra | undefined {
  const records: Record<string, string> = {};
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = Number(body.subarray(at, space).toString("latin1"));
    if (space < 0 || !Number.isSafeInteger(length) || length < 5 || at + length > body.length) return undefined;
    const record = body.subarray(space + 1, at + length - 1).toString("utf8");
    const equals = record.indexOf("=");
    if (equals < 1 || body[at + length - 1] !== 0x0a) return undefined;
    const key = record.slice(0, equals);
    if (key.startsWith("GNU.sparse")) return undefined;
    if (["path", "linkpath", "size"].includes(key)) records[key] = record.slice(equals + 1);
    at += length;
  }
  return records;
}

function headerName(block: Buffer): string {
  const name = untilNul(block.subarray(0, 100));
  // GNU's own header, "ustar  ", has other things where POSIX has the prefix.
  const posix = block.subarray(257, 263).toString("latin1") === "ustar\0";
  const prefix = posix ? untilNul(block.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function untilNul(field: Buffer): string {
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? field.length : end).toString("utf8");
}

function readNumber(block: Buffer, offset: number, length: number): number | undefined {
  if (block[offset] === 0x80) return Number(block.readBigUInt64BE(offset + length - 8));
  const text = untilNul(block.subarray(offset, offset + length)).trim();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text || "0", 8) : undefined;
}

function checksumHolds(block: Buffer): boolean {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK_BYTES; i += 1) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  return readNumber(block, 148, 8) === sum;
}
