/**
 * Finds the files of a tar that somebody else wrote (docker, skopeo, buildkit, GNU tar): ustar, pax and
 * GNU headers, directories and links. Only headers are read. A bundle's own tar is read by
 * layout/tar-format.ts, which accepts one spelling.
 */
import { posix } from "node:path";
import { Header, Pax } from "tar";
import { BLOCK_BYTES, paddedSize, type ReadAt } from "../layout/tar-format.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { sourceError } from "./error.ts";

export const FOREIGN_FILES_MAX = 100_000;
const META_MAX_BYTES = 1024 * 1024;

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
  let position = 0;
  let extended: Pax | undefined;
  let global: Pax | undefined;
  let longName: string | undefined;
  let longLink: string | undefined;
  const refuse = (problem: string): never => {
    throw sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: tar at byte ${position}: ${problem}`);
  };
  const block = Buffer.alloc(BLOCK_BYTES);
  const meta = (size: number): string => {
    if (size > META_MAX_BYTES) refuse(`an extended header of ${size} bytes, want at most ${META_MAX_BYTES}`);
    const bytes = Buffer.alloc(size);
    if (readAt(bytes, position + BLOCK_BYTES) !== size) refuse("ends early");
    return bytes.toString("utf8");
  };
  while (position + BLOCK_BYTES <= sizeBytes) {
    if (readAt(block, position) !== BLOCK_BYTES) refuse("ends early");
    const header = decode(block, extended, global, refuse);
    if (header.nullBlock) return { files, links };
    if (!header.cksumValid) refuse("a header with a wrong checksum");
    const size = header.size ?? 0;
    if (!Number.isSafeInteger(size) || size < 0) refuse("a file of no possible size");
    const isLink = header.type === "SymbolicLink" || header.type === "Link";
    const stored = isLink || header.type === "Directory" ? 0 : size;
    const next = position + BLOCK_BYTES + paddedSize(stored);
    if (position + BLOCK_BYTES + stored > sizeBytes) refuse("ends early");
    switch (header.type) {
      case "ExtendedHeader":
      case "OldExtendedHeader":
        extended = Pax.parse(meta(size), extended, false);
        break;
      case "GlobalExtendedHeader":
        global = Pax.parse(meta(size), global, true);
        break;
      case "NextFileHasLongPath":
      case "OldGnuLongPath":
        longName = meta(size).replace(/\0.*$/s, "");
        break;
      case "NextFileHasLongLinkpath":
        longLink = meta(size).replace(/\0.*$/s, "");
        break;
      default: {
        const name = inside(longName ?? header.path ?? "");
        if (header.type === "File" || header.type === "OldFile" || header.type === "ContiguousFile") {
          if (name === undefined) return refuse(`a name outside the archive: ${JSON.stringify(header.path)}`);
          if (files.has(name)) refuse(`${JSON.stringify(name)} is there twice`);
          files.set(name, { size, position: position + BLOCK_BYTES });
        } else if (isLink && name !== undefined) {
          const target = longLink ?? header.linkpath ?? "";
          const found = inside(header.type === "Link" ? target : posix.join(posix.dirname(name), target));
          if (found !== undefined) links.set(name, found);
        }
        extended = undefined;
        longName = undefined;
        longLink = undefined;
      }
    }
    if (files.size + links.size > FOREIGN_FILES_MAX) refuse(`more than ${FOREIGN_FILES_MAX} files`);
    position = next;
  }
  if (files.size === 0) refuse("not a tar");
  return { files, links };
}

function decode(block: Buffer, extended: Pax | undefined, global: Pax | undefined, refuse: (what: string) => never) {
  try {
    return new Header(block, 0, extended, global);
  } catch (cause) {
    return refuse(`not a tar header: ${reasonOf(cause)}`);
  }
}

/** `name` in its shortest form, or undefined if it is the root or points outside. */
function inside(name: string): string | undefined {
  const short = posix.normalize(name).replace(/^\/+/, "");
  return short === "." || short === "" || short === ".." || short.startsWith("../") ? undefined : short;
}
