/** Finds the files of a tar that somebody else wrote (docker, skopeo, buildkit, GNU tar), by name, through links. */
import { posix } from "node:path";
import { BLOCK_BYTES, type ReadAt } from "../layout/tar-format.ts";
import { sourceError } from "./error.ts";
import { rawMembers } from "./tar-members.ts";

export const FOREIGN_FILES_MAX = 100_000;
const META_MAX_BYTES = 1024 * 1024;
/** Regular files as POSIX, as the oldest tars and as "contiguous" ones. */
const FILE_TYPES = ["0", "\0", "7"];

export interface ForeignFile {
  readonly size: number;
  /** Of the first content byte. */
  readonly position: number;
}

export interface ForeignTar {
  /** By name, without a leading `./`. */
  readonly files: ReadonlyMap<string, ForeignFile>;
  /** Symbolic and hard links: name → name, both relative to the tar's root. */
  readonly links: ReadonlyMap<string, string>;
}

/**
 * @throws SOURCE_LAYOUT_MALFORMED if the tar is damaged, ends early, names a file twice or names one
 * outside itself. A tar without its end blocks is read, as every tar program does.
 */
export function scanForeignTar(readAt: ReadAt, sizeBytes: number, what: string): ForeignTar {
  const files = new Map<string, ForeignFile>();
  const links = new Map<string, string>();
  const malformed = (problem: string, position: number): Error =>
    sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: tar at byte ${position}: ${problem}`);
  const reading = { sizeBytes, metaMaxBytes: META_MAX_BYTES, mayLackEnd: true, malformed };
  if (sizeBytes < BLOCK_BYTES) throw malformed("not a tar", 0);
  for (const { type, name: stored, target, header, position, size } of rawMembers(readAt, reading)) {
    const name = inside(stored);
    // The oldest tars have no type of a directory, but a slash.
    if (FILE_TYPES.includes(type) && !stored.endsWith("/")) {
      if (name === undefined) throw malformed(`a name outside the archive: ${JSON.stringify(stored)}`, header);
      if (files.has(name)) throw malformed(`${JSON.stringify(name)} is there twice`, header);
      files.set(name, { size, position });
    } else if ((type === "1" || type === "2") && name !== undefined) {
      const found = inside(type === "1" ? target : posix.join(posix.dirname(name), target));
      if (found !== undefined) links.set(name, found);
    }
    if (files.size + links.size > FOREIGN_FILES_MAX) throw malformed(`more than ${FOREIGN_FILES_MAX} files`, header);
  }
  return { files, links };
}

/** `name` in its shortest form, or undefined if it is the root or points outside. */
function inside(name: string): string | undefined {
  const short = posix.normalize(name).replace(/^\/+/, "");
  return short === "." || short === "" || short === ".." || short.startsWith("../") ? undefined : short;
}
