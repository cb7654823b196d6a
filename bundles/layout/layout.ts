/**
 * An OCI image layout (image-spec v1.1, image-layout.md) that lies in a bundle's tar, in a directory or
 * in a row of media parts, read in place.
 *
 * Opening is in two halves. `openStore` runs with the operator's rights: it opens files and looks at
 * nothing inside them. `readLayout` parses, and needs no rights but the open file descriptors, so the
 * verifier's cage can run it without access to the file system (verify/cage).
 */

import { createHash } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestFromHex, digestOf, hexOf } from "../model/digest.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { layoutError } from "./error.ts";
import { findParts, openPart, partOf, requireAllParts, requireUndamaged } from "./parts.ts";
import { readAt } from "./read-at.ts";
import { FILES_MAX, scanTar } from "./tar-format.ts";

export const LAYOUT_FILE = "oci-layout";
export const INDEX_FILE = "index.json";
/** The only bytes that `oci-layout` may hold. */
export const LAYOUT_FILE_BYTES = Buffer.from('{"imageLayoutVersion":"1.0.0"}');
const BLOB_NAME = /^blobs\/sha256\/([0-9a-f]{64})$/;
const CHUNK_BYTES = 1024 * 1024;

export function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/**
 * Open files that together hold one layout: a tar, the parts of one in their order (parts.ts), or a directory's
 * files, whose names are relative to its root.
 */
export interface Store {
  readonly kind: "tar" | "parts" | "directory";
  readonly location: string;
  readonly files: readonly { readonly name: string; readonly fd: number; readonly size: number }[];
  /** Bundles that hold what a thin one leaves out. */
  readonly base?: readonly Store[];
}

/** A run of bytes in one open file. */
export interface Extent {
  readonly fd: number;
  readonly position: number;
  readonly length: number;
}

export interface LayoutFile {
  readonly name: string;
  readonly size: number;
  readonly extents: readonly Extent[];
}

/**
 * Opens the bundle at `path`: a tar, a directory that is an OCI layout, or a directory with media parts or one of
 * those parts; and `base`, bundles that hold what a thin one leaves out. Follows no symbolic link inside a directory.
 * The caller closes it with `closeStore`.
 * @throws LAYOUT_NOT_FOUND | LAYOUT_UNREADABLE | LAYOUT_NOT_A_LAYOUT | LAYOUT_FOREIGN_FILE |
 * PARTS_MISSING | PARTS_MIXED | PARTS_DUPLICATE. Whether parts are whole is not looked at: what is wrong with
 * their bytes shows when they are read, and `requireUndamaged` (parts.ts) says where.
 */
export function openStore(path: string, base: readonly string[] = []): Store {
  const store = openOne(path);
  if (base.length === 0) return store;
  const opened: Store[] = [];
  try {
    for (const one of base) opened.push(openOne(one));
    return { ...store, base: opened };
  } catch (cause) {
    closeStore({ ...store, base: opened });
    throw cause;
  }
}

function openOne(path: string): Store {
  const opened: { name: string; fd: number; size: number }[] = [];
  try {
    // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    const isPart = stat.isFile() && partOf(path) !== undefined;
    if (stat.isFile() && !isPart) return { kind: "tar", location: path, files: [{ name: "", fd, size: stat.size }] };
    closeSync(fd);
    if (!stat.isFile() && !stat.isDirectory())
      throw layoutError("LAYOUT_NOT_A_LAYOUT", `${JSON.stringify(path)} is not a file or directory`);
    const parts = isPart || !existsSync(join(path, LAYOUT_FILE)) ? findParts(path) : undefined;
    if (parts) {
      for (const part of requireAllParts(parts, path)) opened.push({ name: part.name, ...openPart(part.path) });
      return { kind: "parts", location: path, files: opened };
    }
    for (const name of directoryNames(path)) {
      const file = openSync(join(path, name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const found = fstatSync(file);
      opened.push({ name, fd: file, size: found.size });
      // It was a file when the directory was listed; the medium may have thought otherwise since.
      if (!found.isFile())
        throw layoutError("LAYOUT_FOREIGN_FILE", `${JSON.stringify(join(path, name))} is not a file`);
    }
    return { kind: "directory", location: path, files: opened };
  } catch (cause) {
    for (const { fd } of opened) closeSync(fd);
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw layoutError(
      missing ? "LAYOUT_NOT_FOUND" : "LAYOUT_UNREADABLE",
      `bundle ${JSON.stringify(path)}: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

export function closeStore(store: Store): void {
  for (const { fd } of allFiles(store)) closeSync(fd);
}

/** The open files of a store and of its base. */
export function allFiles({ files, base = [] }: Store): Store["files"] {
  return [...files, ...base.flatMap(allFiles)];
}

function directoryNames(root: string): string[] {
  const names: string[] = [];
  const refuse = (name: string): never => {
    throw layoutError(
      "LAYOUT_FOREIGN_FILE",
      `layout ${JSON.stringify(root)}: ${JSON.stringify(name)} does not belong there`,
    );
  };
  for (const entry of readdirSync(root, { withFileTypes: true })) {
    if (entry.isFile() && (entry.name === LAYOUT_FILE || entry.name === INDEX_FILE)) names.push(entry.name);
    // oras leaves its empty `ingest` behind; nothing can hide in it.
    else if (entry.isDirectory() && entry.name === "ingest" && readdirSync(join(root, "ingest")).length === 0) continue;
    else if (!(entry.isDirectory() && entry.name === "blobs")) refuse(entry.name);
  }
  if (!names.includes(LAYOUT_FILE) || !names.includes(INDEX_FILE)) {
    throw layoutError("LAYOUT_NOT_A_LAYOUT", `${JSON.stringify(root)}: no ${LAYOUT_FILE} or no ${INDEX_FILE} in it`);
  }
  if (!statSync(join(root, "blobs/sha256"), { throwIfNoEntry: false })?.isDirectory()) {
    throw layoutError("LAYOUT_NOT_A_LAYOUT", `${JSON.stringify(root)}: no blobs/sha256 in it`);
  }
  for (const entry of readdirSync(join(root, "blobs"), { withFileTypes: true })) {
    if (!(entry.isDirectory() && entry.name === "sha256")) refuse(`blobs/${entry.name}`);
  }
  for (const entry of readdirSync(join(root, "blobs/sha256"), { withFileTypes: true })) {
    const name = `blobs/sha256/${entry.name}`;
    if (!entry.isFile() || !BLOB_NAME.test(name)) refuse(name);
    names.push(name);
  }
  if (names.length > FILES_MAX) {
    throw layoutError(
      "LAYOUT_NOT_A_LAYOUT",
      `layout ${JSON.stringify(root)}: got ${names.length} files, want at most ${FILES_MAX}`,
    );
  }
  return names.sort();
}

/** A layout whose files are known by name; nothing is verified until it is read through `read` or `stream`. */
export class Layout {
  readonly kind: Store["kind"];
  readonly location: string;
  /** In stored order; for a directory sorted by name. */
  readonly files: readonly LayoutFile[];
  readonly #byName: ReadonlyMap<string, LayoutFile>;
  readonly #base: readonly Layout[];

  constructor(kind: Store["kind"], location: string, files: readonly LayoutFile[], base: readonly Layout[] = []) {
    this.#base = base;
    this.kind = kind;
    this.location = location;
    this.files = files;
    this.#byName = new Map(files.map((file) => [file.name, file]));
  }

  file(name: string): LayoutFile | undefined {
    return this.#byName.get(name);
  }

  /** In the bundle, or else in its base. */
  blob(digest: Digest): LayoutFile | undefined {
    return this.#find(blobName(digest));
  }

  #find(name: string): LayoutFile | undefined {
    const file = this.#byName.get(name);
    if (file || !BLOB_NAME.test(name)) return file;
    for (const layout of this.#base) {
      const found = layout.#find(name);
      if (found) return found;
    }
    return undefined;
  }

  /** All digests that have a blob in the bundle itself, in stored order. */
  blobDigests(): Digest[] {
    return this.files.flatMap((file) => {
      const hex = BLOB_NAME.exec(file.name)?.[1];
      return hex === undefined ? [] : [digestFromHex(hex)];
    });
  }

  /** The unverified bytes of a small file such as `index.json`. @throws LAYOUT_BLOB_MISSING | LAYOUT_SIZE_MISMATCH */
  readUnverified(name: string, maxBytes: number): Buffer {
    const file = this.#find(name);
    if (!file) throw layoutError("LAYOUT_BLOB_MISSING", `${JSON.stringify(name)} is not in the bundle`);
    if (file.size > maxBytes) {
      throw layoutError(
        "LAYOUT_SIZE_MISMATCH",
        `${JSON.stringify(name)}: got ${file.size} bytes, want at most ${maxBytes}`,
      );
    }
    const bytes = Buffer.alloc(file.size);
    let done = 0;
    for (const extent of file.extents) {
      const part = bytes.subarray(done, done + extent.length);
      if (readAt(extent.fd, part, extent.position) !== extent.length) throw endsEarly(JSON.stringify(name));
      done += extent.length;
    }
    return bytes;
  }

  /**
   * The bytes of a blob of at most `maxBytes`, whose digest has been checked.
   * @throws LAYOUT_BLOB_MISSING | LAYOUT_SIZE_MISMATCH | LAYOUT_DIGEST_MISMATCH | LAYOUT_TRUNCATED
   */
  read(digest: Digest, maxBytes: number): Buffer {
    const bytes = this.readUnverified(blobName(digest), maxBytes);
    const got = digestOf(bytes);
    if (got !== digest) throw this.#mismatch(digest, got, bytes.length);
    return bytes;
  }

  /**
   * The bytes of a blob in any order, unverified: read `stream` to its end first.
   * @throws LAYOUT_BLOB_MISSING; its `read` LAYOUT_TRUNCATED
   */
  randomAccess(digest: Digest): { readonly size: number; read(offset: number, length: number): Buffer } {
    const file = this.blob(digest);
    if (!file) throw layoutError("LAYOUT_BLOB_MISSING", `blob ${digest} is not in the bundle`);
    const read = (offset: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      let start = 0;
      for (const extent of file.extents) {
        const from = Math.max(offset, start);
        const to = Math.min(offset + length, start + extent.length);
        if (from < to) {
          const part = bytes.subarray(from - offset, to - offset);
          if (readAt(extent.fd, part, extent.position + from - start) !== part.length)
            throw endsEarly(`blob ${digest}`);
        }
        start += extent.length;
      }
      if (offset + length > start) throw endsEarly(`blob ${digest}`);
      return bytes;
    };
    return { size: file.size, read };
  }

  /** `read`, and the size must be the descriptor's. */
  readDescriptor(descriptor: Descriptor, maxBytes: number): Buffer {
    const file = this.blob(descriptor.digest);
    if (file && file.size !== descriptor.size) {
      throw layoutError(
        "LAYOUT_SIZE_MISMATCH",
        `blob ${descriptor.digest}: got ${file.size} bytes, want ${descriptor.size}`,
      );
    }
    return this.read(descriptor.digest, maxBytes);
  }

  /**
   * Streams a blob and fails at its end unless its digest is `digest`. Bytes seen before the end are
   * unverified: keep them under a temporary name until the iteration has ended.
   * @throws LAYOUT_BLOB_MISSING | LAYOUT_DIGEST_MISMATCH | LAYOUT_TRUNCATED
   */
  async *stream(digest: Digest): AsyncGenerator<Buffer> {
    const file = this.blob(digest);
    if (!file) throw layoutError("LAYOUT_BLOB_MISSING", `blob ${digest} is not in the bundle`);
    const hash = createHash("sha256");
    for (const { fd, position, length } of file.extents) {
      for (let done = 0; done < length; ) {
        const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, length - done));
        const got = readAt(fd, chunk, position + done);
        if (got !== chunk.length) throw endsEarly(`blob ${digest}`);
        hash.update(chunk);
        done += got;
        yield chunk;
      }
    }
    const got = digestFromHex(hash.digest("hex"));
    if (got !== digest) throw this.#mismatch(digest, got, file.size);
  }

  #mismatch(want: Digest, got: Digest, sizeBytes: number): Error {
    return layoutError("LAYOUT_DIGEST_MISMATCH", `blob ${want}: got ${got} after ${sizeBytes} bytes`, {
      hints:
        this.kind === "parts"
          ? [`sealift bundle repair ${this.location} says which part is damaged`]
          : ["the medium is damaged or the bundle was changed; copy it again from the original"],
    });
  }
}

function endsEarly(what: string): Error {
  return layoutError("LAYOUT_TRUNCATED", `${what} ends early`, {
    hints: ["is the medium still in place? Else copy the bundle again from the original"],
  });
}

/**
 * Finds the files of an opened store. A tar must be canonical to the last byte (tar-format.ts).
 * @throws LAYOUT_TAR_NOT_CANONICAL | LAYOUT_TRUNCATED | LAYOUT_DUPLICATE_FILE | LAYOUT_FOREIGN_FILE | LAYOUT_NOT_A_LAYOUT
 */
export function readLayout(store: Store): Layout {
  const base = (store.base ?? []).map(readLayout);
  if (store.kind === "directory") {
    const files = store.files.map(({ name, fd, size }) => ({
      name,
      size,
      extents: [{ fd, position: 0, length: size }],
    }));
    return new Layout(store.kind, store.location, files, base);
  }
  const segments = store.files;
  const total = segments.reduce((sum, segment) => sum + segment.size, 0);
  const extents = (position: number, length: number): Extent[] => {
    const found: Extent[] = [];
    let start = 0;
    for (const { fd, size } of segments) {
      const from = Math.max(position, start);
      const to = Math.min(position + length, start + size);
      if (from < to) found.push({ fd, position: from - start, length: to - from });
      start += size;
    }
    return found;
  };
  const read = (buffer: Uint8Array, position: number): number => {
    let done = 0;
    for (const extent of extents(position, buffer.byteLength)) {
      done += readAt(extent.fd, buffer.subarray(done, done + extent.length), extent.position);
    }
    return done;
  };
  const entries = scanTar(read, total);
  for (const { name } of entries) {
    if (name !== LAYOUT_FILE && name !== INDEX_FILE && !BLOB_NAME.test(name)) {
      throw layoutError("LAYOUT_FOREIGN_FILE", `bundle: ${JSON.stringify(name)} does not belong in an OCI layout`);
    }
  }
  const files = entries.map(({ name, size, position }) => ({ name, size, extents: extents(position, size) }));
  return new Layout(store.kind, store.location, files, base);
}

/** Opens and reads in one step, for callers outside the cage. The caller closes `store`. @throws PARTS_DAMAGED too */
export function openLayout(path: string): { readonly layout: Layout; readonly store: Store } {
  const store = openStore(path);
  try {
    return { layout: readLayout(store), store };
  } catch (cause) {
    closeStore(store);
    if (store.kind === "parts") requireUndamaged(path);
    throw cause;
  }
}
