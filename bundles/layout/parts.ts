/**
 * A bundle's tar cut into media parts: `NAME.part01-of-12` and so on, which put one after the other are the
 * tar; recovery blocks in PAR2 files `NAME.vol000+016.par2`; and `NAME.sha256`, which `sha256sum -c` reads.
 * NAME says appliance, version and release. All of them lie in one directory or in its direct subdirectories,
 * which may be the mount points of several media.
 *
 * Names and hashes tell damaged media from whole ones and nothing else: they are not signed, and no verdict
 * depends on them. Media may change names to one case; that is allowed for.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { layoutError } from "./error.ts";
import { readAt } from "./read-at.ts";

export const PARTS_MAX = 999;
const PART_NAME = /^([a-z0-9][a-z0-9._+-]*)\.part(\d{2,3})-of-(\d{2,3})$/i;
const PARITY_NAME = /^([a-z0-9][a-z0-9._+-]*)\.vol(\d{1,5})\+(\d{1,5})\.par2$/i;
const LIST_NAME = /^([a-z0-9][a-z0-9._+-]*)\.sha256$/i;
const LIST_LINE = /^([0-9a-f]{64}) [ *]([^/\0]+)$/;
/** Longer than the list of the most parts. */
const LIST_MAX_BYTES = 1024 * 1024;
/** More names than the list of the most parts has, also where each medium has its own. */
const LISTED_MAX = 4096;
const CHUNK_BYTES = 1024 * 1024;

export interface FoundFile {
  readonly name: string;
  readonly path: string;
}

/** The media parts of one bundle as their names tell; nothing has been opened. */
export interface PartsFound {
  /** NAME, as the first part that was found has it. */
  readonly name: string;
  /** How many parts the bundle has; 0 if only parity is here. */
  readonly count: number;
  /** By number, from 1. */
  readonly parts: ReadonlyMap<number, FoundFile>;
  readonly parity: readonly FoundFile[];
  readonly lists: readonly FoundFile[];
}

/** `NAME.part01-of-12`; parts of one bundle sort by name. */
export function partName(name: string, number: number, count: number): string {
  const width = Math.max(2, String(count).length);
  return `${name}.part${String(number).padStart(width, "0")}-of-${String(count).padStart(width, "0")}`;
}

/** A PAR2 file that holds `count` recovery blocks from exponent `first`; the name that `par2` looks for. */
export function parityName(name: string, first: number, count: number): string {
  return `${name}.vol${String(first).padStart(3, "0")}+${String(count).padStart(3, "0")}.par2`;
}

/** The exponents in a name that `parityName` made; undefined for another name. */
export function parityExponents(name: string): { readonly first: number; readonly count: number } | undefined {
  const [, , first, count] = PARITY_NAME.exec(name) ?? [];
  return first === undefined ? undefined : { first: Number(first), count: Number(count) };
}

export function listName(name: string): string {
  return `${name}.sha256`;
}

/** Of which bundle the file at `path` would be a part, by its name. */
export function partOf(path: string): string | undefined {
  return PART_NAME.exec(basename(path))?.[1];
}

/**
 * The parts in the directory `path` and its direct subdirectories, or those of the bundle of which `path` is a
 * part; undefined if there are none. Follows no symbolic link.
 * @throws PARTS_MIXED | PARTS_DUPLICATE, and Node's system errors
 */
export function findParts(path: string): PartsFound | undefined {
  const name = statSync(path).isFile() ? partOf(path) : undefined;
  return name === undefined ? partsIn(path) : partsIn(dirname(path), name);
}

function partsIn(directory: string, only?: string): PartsFound | undefined {
  const files = filesIn(directory);
  const named = files.flatMap((file) => {
    const [, name, number, count] = PART_NAME.exec(file.name) ?? [];
    const [, parity] = PARITY_NAME.exec(file.name) ?? [];
    if (name !== undefined) return [{ file, name, isPart: true, number: Number(number), count: Number(count) }];
    return parity === undefined ? [] : [{ file, name: parity, isPart: false, number: 0, count: 0 }];
  });
  const wanted = named.filter(({ name }) => only === undefined || isSame(name, only));
  const first = wanted.find(({ isPart }) => isPart) ?? wanted[0];
  if (!first) return undefined;
  const foreign = wanted.find(
    ({ name, isPart, count }) => !isSame(name, first.name) || (isPart && count !== first.count),
  );
  if (foreign) {
    throw layoutError(
      "PARTS_MIXED",
      `media parts in ${JSON.stringify(directory)}: got ${quoted(foreign.file)} beside ${quoted(first.file)}, want parts of one bundle`,
      { hints: [`name a part of the bundle that you mean: ${first.file.path}`] },
    );
  }
  const parts = new Map<number, FoundFile>();
  for (const { file, isPart, number, count } of wanted) {
    if (!isPart) continue;
    const other = parts.get(number);
    if (other) throw duplicate(file, other);
    if (number === 0 || number > count) {
      throw layoutError("PARTS_MIXED", `media part ${quoted(file)}: got number ${number}, want 1 to ${count}`);
    }
    parts.set(number, file);
  }
  return {
    name: first.name,
    count: first.count,
    parts,
    parity: wanted.filter(({ isPart }) => !isPart).map(({ file }) => file),
    lists: files.filter(({ name }) => isSame(LIST_NAME.exec(name)?.[1] ?? "", first.name)),
  };
}

/** @throws PARTS_MISSING and names them */
export function requireAllParts({ name, count, parts }: PartsFound, path: string): FoundFile[] {
  const numbers = Array.from({ length: count }, (_, i) => i + 1);
  const missing = numbers.filter((number) => !parts.has(number));
  if (missing.length > 0 || count === 0) {
    const names = missing.map((number) => partName(name, number, count)).join(", ");
    throw layoutError(
      "PARTS_MISSING",
      `media parts in ${JSON.stringify(path)}: ${count === 0 ? "got parity files alone" : `${names} missing, want ${count} parts`}`,
      { hints: [`with parity files beside them: sealift bundle repair ${path}`] },
    );
  }
  return numbers.map((number) => parts.get(number) as FoundFile);
}

/** What a list says of a file. */
export interface Listed {
  readonly name: string;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** What the lists say of parts and parity, by the file's name in lower case; empty if none can be read. */
export function readLists({ lists }: PartsFound): Map<string, Listed> {
  const hashes = new Map<string, Listed>();
  for (const { path } of lists) {
    for (const line of readSmall(path).split("\n")) {
      const [, sha256 = "", name = ""] = LIST_LINE.exec(line) ?? [];
      if (!PART_NAME.test(name) && !PARITY_NAME.test(name)) continue;
      if (hashes.size < LISTED_MAX) hashes.set(name.toLowerCase(), { name, sha256 });
    }
  }
  return hashes;
}

/**
 * Reads every part and compares it with the list. Who cannot make sense of a bundle in parts calls this to
 * learn whether a medium is to blame.
 * @throws PARTS_DAMAGED and names them. Nothing if there is no list or no part differs.
 */
export function requireUndamaged(path: string): void {
  const found = findParts(path);
  if (!found) return;
  const hashes = readLists(found);
  const byHash = new Map([...hashes.values()].map(({ name, sha256 }) => [sha256, name]));
  const damaged = [...found.parts]
    .sort(([a], [b]) => a - b)
    .flatMap(([, file]) => {
      const want = hashes.get(file.name.toLowerCase())?.sha256;
      const got = want === undefined ? undefined : hashOf(file.path);
      if (got === want) return [];
      const other = got === undefined ? undefined : byHash.get(got);
      return [other === undefined ? file.name : `${file.name} (it is a copy of ${other})`];
    });
  if (damaged.length === 0) return;
  throw layoutError(
    "PARTS_DAMAGED",
    `media parts in ${JSON.stringify(path)}: ${damaged.join(", ")} damaged: other bytes than ${listName(found.name)} says`,
    { hints: [`sealift bundle repair ${path}`, "or copy the part again from its medium"] },
  );
}

/** Opened without following a link or waiting for a pipe. @throws Node's system error, or one that says what it is */
export function openPart(path: string): { readonly fd: number; readonly size: number } {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const stat = fstatSync(fd);
  if (stat.isFile()) return { fd, size: stat.size };
  closeSync(fd);
  throw layoutError("LAYOUT_FOREIGN_FILE", `${JSON.stringify(path)} is not a file`);
}

function filesIn(directory: string): FoundFile[] {
  const inOne = (path: string): FoundFile[] =>
    readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => ({ name, path: join(path, name) }));
  const inner = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const below = inner.flatMap(({ name }) => {
    try {
      return inOne(join(directory, name));
    } catch {
      // Such as lost+found of a medium. What it hides is missing below.
      return [];
    }
  });
  return [...inOne(directory), ...below].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function duplicate(file: FoundFile, other: FoundFile): Error {
  return layoutError("PARTS_DUPLICATE", `media part: got both ${quoted(other)} and ${quoted(file)}, want one of them`, {
    hints: ["take away the one that is damaged or was copied twice"],
  });
}

function quoted({ path }: FoundFile): string {
  return JSON.stringify(path);
}

function isSame(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function readSmall(path: string): string {
  try {
    const { fd, size } = openPart(path);
    try {
      const bytes = Buffer.alloc(Math.min(size, LIST_MAX_BYTES));
      return bytes.subarray(0, readAt(fd, bytes, 0)).toString("latin1");
    } finally {
      closeSync(fd);
    }
  } catch {
    return "";
  }
}

/** SHA-256 in hexadecimal; undefined if the medium does not give all of it. */
export function hashOf(path: string): string | undefined {
  try {
    const { fd, size } = openPart(path);
    try {
      const hash = createHash("sha256");
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      for (let position = 0; position < size; ) {
        const got = readAt(fd, chunk, position);
        if (got === 0) return undefined;
        hash.update(chunk.subarray(0, got));
        position += got;
      }
      return hash.digest("hex");
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}
