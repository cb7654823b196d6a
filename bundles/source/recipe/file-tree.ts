/**
 * The files of an image while it is made: what the layers below hold (`lower`) and what the new layer
 * adds. Paths are as in TarMember.path. Parents that are symbolic links are followed, because Debian's
 * `/lib` is a link to `/usr/lib` (merged /usr) and older packages still ship files under the first.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { posix } from "node:path";
import { recipeError } from "./error.ts";

/** Bytes in memory, or a run of bytes in a file. */
export type Content =
  | { readonly bytes: Buffer }
  | { readonly file: string; readonly position: number; readonly size: number };

interface Owned {
  /** Permission bits without set-uid and set-gid. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export type TreeEntry =
  | ({ readonly type: "file"; readonly content: Content } & Owned)
  | ({ readonly type: "directory" } & Owned)
  | { readonly type: "symlink"; readonly target: string };

const LINKS_MAX = 40;
const READ_MAX_BYTES = 64 * 1024 * 1024;
const ROOT_DIRECTORY: TreeEntry = { type: "directory", mode: 0o755, uid: 0, gid: 0 };

export function contentSize(content: Content): number {
  return "bytes" in content ? content.bytes.length : content.size;
}

/** `length` bytes from `offset`; fewer where the content ends. */
export function readContent(content: Content, offset = 0, length = contentSize(content) - offset): Buffer {
  const wanted = Math.max(0, Math.min(length, contentSize(content) - offset));
  if (wanted > READ_MAX_BYTES) throw new RangeError(`got ${wanted} bytes to read at once, want ${READ_MAX_BYTES}`);
  if ("bytes" in content) return content.bytes.subarray(offset, offset + wanted);
  const buffer = Buffer.alloc(wanted);
  const fd = openSync(content.file, "r");
  try {
    let done = 0;
    while (done < wanted) {
      const got = readSync(fd, buffer, done, wanted - done, content.position + offset + done);
      if (got === 0) throw new RangeError("the file ends early");
      done += got;
    }
    return buffer;
  } finally {
    closeSync(fd);
  }
}

export class FileTree {
  readonly #lower: ReadonlyMap<string, TreeEntry>;
  readonly #own = new Map<string, TreeEntry>();
  readonly #makers = new Map<string, string>();

  constructor(lower: ReadonlyMap<string, TreeEntry> = new Map()) {
    this.#lower = lower;
  }

  get(path: string): TreeEntry | undefined {
    return path === "" ? ROOT_DIRECTORY : (this.#own.get(path) ?? this.#lower.get(path));
  }

  /** Every path of the image with what is there, own and lower. */
  *all(): Generator<[string, TreeEntry]> {
    for (const [path, entry] of this.#lower) if (!this.#own.has(path)) yield [path, entry];
    yield* this.#own;
  }

  /** What the new layer adds or changes, sorted by path. */
  own(): [string, TreeEntry][] {
    return [...this.#own]
      .filter(([path, entry]) => !sameDirectory(this.#lower.get(path), entry))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** The path that `path` means once every symbolic link on the way is followed, or undefined if nothing is there. */
  resolve(path: string): string | undefined {
    let budget = LINKS_MAX;
    let done = "";
    const rest = path.split("/").filter((part) => part !== "" && part !== ".");
    while (rest.length > 0) {
      const part = rest.shift() as string;
      if (part === "..") {
        done = done.includes("/") ? posix.dirname(done) : "";
        continue;
      }
      const next = done === "" ? part : `${done}/${part}`;
      const entry = this.get(next);
      if (entry === undefined) return undefined;
      if (entry.type === "symlink") {
        if (--budget < 0) return undefined;
        rest.unshift(...entry.target.split("/").filter((item) => item !== "" && item !== "."));
        if (entry.target.startsWith("/")) done = "";
      } else if (entry.type === "file" && rest.length > 0) {
        return undefined;
      } else {
        done = next;
      }
    }
    return done;
  }

  /** The regular file that `path` leads to. */
  file(path: string): Extract<TreeEntry, { type: "file" }> | undefined {
    const real = this.resolve(path);
    const entry = real === undefined ? undefined : this.get(real);
    return entry?.type === "file" ? entry : undefined;
  }

  /**
   * Adds one entry on behalf of `maker` and returns where it came to lie. Missing parents are made, mode
   * 0755, owner root. Two makers may share a directory and nothing else, and nobody replaces a file of a
   * lower layer, unless `replace` is set.
   * @throws RECIPE_FILE_CONFLICT
   */
  put(path: string, entry: TreeEntry, maker: string, replace = false): string {
    const parent = this.#directory(posix.dirname(path), maker);
    const real = parent === "" ? posix.basename(path) : `${parent}/${posix.basename(path)}`;
    const there = this.get(real);
    if (there?.type === "symlink" && entry.type === "directory") {
      const target = this.resolve(real);
      if (target !== undefined && this.get(target)?.type === "directory") return target;
    }
    const bothDirectories = there?.type === "directory" && entry.type === "directory";
    if (there && !bothDirectories && !(replace && there.type !== "directory" && entry.type !== "directory")) {
      const first = this.#makers.get(real) ?? "a lower layer";
      throw recipeError("RECIPE_FILE_CONFLICT", `${maker}: ${JSON.stringify(real)} is there already, from ${first}`);
    }
    // Among packages the first decides about a directory, as with dpkg; a recipe's own word counts always.
    if (!bothDirectories || replace) {
      this.#own.set(real, entry);
      this.#makers.set(real, maker);
    }
    return real;
  }

  #directory(path: string, maker: string): string {
    if (path === "." || path === "/" || path === "") return "";
    const found = this.resolve(path);
    if (found !== undefined) {
      if (this.get(found)?.type === "directory") return found;
      throw recipeError("RECIPE_FILE_CONFLICT", `${maker}: ${JSON.stringify(path)} is not a directory`);
    }
    const parent = this.#directory(posix.dirname(path), maker);
    const real = parent === "" ? posix.basename(path) : `${parent}/${posix.basename(path)}`;
    if (this.get(real)) {
      throw recipeError("RECIPE_FILE_CONFLICT", `${maker}: ${JSON.stringify(path)} is a link that leads nowhere`);
    }
    this.#own.set(real, ROOT_DIRECTORY);
    this.#makers.set(real, maker);
    return real;
  }
}

function sameDirectory(a: TreeEntry | undefined, b: TreeEntry): boolean {
  return a?.type === "directory" && b.type === "directory" && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}
