/**
 * Lists what is in a tar of somebody else's making (a .deb's, an npm package's, one of our layers): ustar,
 * pax and GNU long names. Contents stay in the file and are found by position, so memory does not grow
 * with them. Only files, directories, symbolic and hard links are accepted: a device node in a package is
 * refused, not skipped.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { recipeError } from "./error.ts";

const BLOCK = 512;
const MEMBERS_MAX = 200_000;
const NAME_MAX_BYTES = 64 * 1024;

export interface TarMember {
  /** Without leading `./` or trailing `/`; never absolute, never with `.` or `..` in it. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink" | "hardlink";
  /** Permission bits, at most 0o7777. */
  readonly mode: number;
  /** Of a symbolic link as it is; of a hard link in the form of `path`. */
  readonly target: string;
  readonly uid: number;
  readonly gid: number;
  /** Where the contents begin in the tar, and how many bytes they are. */
  readonly position: number;
  readonly size: number;
}

/**
 * The members of the tar at `file`, in stored order, without its root directory.
 * @throws RECIPE_PACKAGE_MALFORMED | RECIPE_PATH_UNSAFE, with `what` as subject. Does not check for duplicates.
 */
export function listTar(file: string, what: string): TarMember[] {
  const fd = openSync(file, "r");
  try {
    return [...members(fd, what)];
  } finally {
    closeSync(fd);
  }
}

function* members(fd: number, what: string): Generator<TarMember> {
  const block = Buffer.alloc(BLOCK);
  const malformed = (problem: string): Error =>
    recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: tar at byte ${position}: ${problem}`);
  let position = 0;
  let count = 0;
  let extra: Record<string, string> = {};
  for (;;) {
    if (readSync(fd, block, 0, BLOCK, position) !== BLOCK) throw malformed("it ends without an end block");
    if (block.every((byte) => byte === 0)) return;
    if (!checksumHolds(block)) throw malformed("header checksum is wrong");
    const type = String.fromCharCode(block[156] ?? 0);
    const size = extra["size"] === undefined ? readNumber(block, 124, 12) : Number(extra["size"]);
    if (size === undefined || !Number.isSafeInteger(size) || size < 0) throw malformed("not a size");
    const start = position + BLOCK;
    const next = start + Math.ceil(size / BLOCK) * BLOCK;
    if ("LKxg".includes(type)) {
      if (size > NAME_MAX_BYTES)
        throw malformed(`got ${size} bytes of extended header, want at most ${NAME_MAX_BYTES}`);
      const body = Buffer.alloc(size);
      if (readSync(fd, body, 0, size, start) !== size) throw malformed("it ends inside an extended header");
      if (type === "L") extra["path"] = untilNul(body);
      if (type === "K") extra["linkpath"] = untilNul(body);
      // A global header (npm's archives of Git commits have one) holds a comment and nothing that matters here.
      if (type === "x") extra = { ...extra, ...readPax(body, () => malformed("not a pax header")) };
      position = next;
      continue;
    }
    if (++count > MEMBERS_MAX) throw malformed(`more than ${MEMBERS_MAX} members`);
    const kind = memberType(type);
    const raw = extra["path"] ?? headerName(block);
    if (kind === undefined) {
      throw malformed(`${JSON.stringify(raw)} is of type ${JSON.stringify(type)}, want file, directory or link`);
    }
    const linkname = extra["linkpath"] ?? untilNul(block.subarray(157, 257));
    const target = kind === "hardlink" ? safePath(linkname, what) : kind === "symlink" ? safeText(linkname, what) : "";
    const mode = readNumber(block, 100, 8);
    const uid = readNumber(block, 108, 8);
    const gid = readNumber(block, 116, 8);
    if (mode === undefined || uid === undefined || gid === undefined) throw malformed("not a mode or owner");
    const path = safePath(raw, what);
    if (path !== "") {
      const content = kind === "file" ? size : 0;
      yield { path, type: kind, mode: mode & 0o7777, target, uid, gid, position: start, size: content };
    } else if (kind !== "directory") {
      throw malformed("its root is not a directory");
    }
    extra = {};
    position = next;
  }
}

function memberType(type: string): TarMember["type"] | undefined {
  if (type === "0" || type === "\0") return "file";
  if (type === "5") return "directory";
  if (type === "2") return "symlink";
  if (type === "1") return "hardlink";
  return undefined;
}

/**
 * `text` as a path below the root of an image. @throws RECIPE_PATH_UNSAFE for anything that would lead
 * elsewhere, or that two programs may read as two paths.
 */
export function safePath(text: string, what: string): string {
  const path = safeText(text, what).replace(/^(?:\.\/+)+|\/+$/g, "");
  if (path === "" || path === ".") return "";
  if (path.startsWith("/") || path.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw recipeError("RECIPE_PATH_UNSAFE", `${what}: path ${JSON.stringify(text)} leads out of the image`);
  }
  return path;
}

function safeText(text: string, what: string): string {
  if (/\p{Cc}|\u{fffd}/u.test(text)) {
    throw recipeError("RECIPE_PATH_UNSAFE", `${what}: path ${JSON.stringify(text)} is not plain UTF-8`);
  }
  return text;
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
  for (let i = 0; i < BLOCK; i += 1) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  return readNumber(block, 148, 8) === sum;
}

function readPax(body: Buffer, malformed: () => Error): Record<string, string> {
  const records: Record<string, string> = {};
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = Number(body.subarray(at, space).toString("latin1"));
    if (space < 0 || !Number.isSafeInteger(length) || length < 5 || at + length > body.length) throw malformed();
    const record = body.subarray(space + 1, at + length - 1).toString("utf8");
    const equals = record.indexOf("=");
    if (equals < 1 || body[at + length - 1] !== 0x0a) throw malformed();
    const key = record.slice(0, equals);
    if (key.startsWith("GNU.sparse")) throw malformed();
    if (["path", "linkpath", "size"].includes(key)) records[key] = record.slice(equals + 1);
    at += length;
  }
  return records;
}
