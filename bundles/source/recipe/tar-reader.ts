/**
 * Lists what is in a tar that becomes part of an image or a kit (a .deb's, an npm package's, one of our layers).
 * Only files, directories, symbolic and hard links are accepted: a device node in a package is refused, not skipped.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type RawMember, rawMembers } from "../tar-members.ts";
import { recipeError } from "./error.ts";

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
  const malformed = (problem: string, position: number): Error =>
    recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: tar at byte ${position}: ${problem}`);
  const fd = openSync(file, "r");
  try {
    const readAt = (buffer: Uint8Array, position: number): number => readSync(fd, buffer, 0, buffer.length, position);
    const reading = { sizeBytes: fstatSync(fd).size, metaMaxBytes: NAME_MAX_BYTES, mayLackEnd: false, malformed };
    const members: TarMember[] = [];
    let count = 0;
    for (const raw of rawMembers(readAt, reading)) {
      if (++count > MEMBERS_MAX) throw malformed(`more than ${MEMBERS_MAX} members`, raw.header);
      const member = memberOf(raw, what, malformed);
      if (member) members.push(member);
    }
    return members;
  } finally {
    closeSync(fd);
  }
}

/** Undefined for the root directory. */
function memberOf(
  raw: RawMember,
  what: string,
  malformed: (problem: string, position: number) => Error,
): TarMember | undefined {
  const { name, mode, uid, gid, header, position } = raw;
  const type = memberType(raw.type);
  if (type === undefined) {
    const got = `${JSON.stringify(name)} is of type ${JSON.stringify(raw.type)}`;
    throw malformed(`${got}, want file, directory or link`, header);
  }
  const target =
    type === "hardlink" ? safePath(raw.target, what) : type === "symlink" ? safeText(raw.target, what) : "";
  const path = safePath(name, what);
  if (path !== "") return { path, type, mode, target, uid, gid, position, size: raw.size };
  if (type !== "directory") throw malformed("its root is not a directory", header);
  return undefined;
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
