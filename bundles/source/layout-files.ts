/** The files of an OCI layout that others made, in a directory or in a tar, read in place. */
import { closeSync, constants, createReadStream, fstatSync, openSync, statSync } from "node:fs";
import { join } from "node:path";
import { blobName, INDEX_FILE } from "../layout/layout.ts";
import { readAt } from "../layout/read-at.ts";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestOf } from "../model/digest.ts";
import { type Index, MANIFEST_MAX_BYTES, parseIndex } from "../model/oci.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { sourceError } from "./error.ts";
import { choosePlatform, isIndexType, isManifestType } from "./foreign-image.ts";
import { scanForeignTar } from "./foreign-tar.ts";

const CHUNK_BYTES = 1024 * 1024;
/** How deep an index may hold an index. */
const NESTED_MAX = 3;

/** Nothing is held open: each read opens the file again, and the digests say whether it is still the same. */
export interface LayoutFiles {
  readonly what: string;
  size(name: string): number | undefined;
  /** The whole file. @throws SOURCE_LAYOUT_MALFORMED if it is not there or larger than `maxBytes`. */
  read(name: string, maxBytes: number): Buffer;
  stream(name: string): AsyncIterable<Uint8Array>;
}

/** @throws SOURCE_NOT_FOUND | SOURCE_LAYOUT_MALFORMED | SOURCE_UNSUPPORTED */
export function openLayoutFiles(path: string): LayoutFiles {
  const what = `layout ${JSON.stringify(path)}`;
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (cause) {
    throw sourceError("SOURCE_NOT_FOUND", `${what}: ${reasonOf(cause)}`, { cause });
  }
  return isDirectory ? directoryFiles(path, what) : tarFiles(path, what);
}

interface Place {
  readonly file: string;
  readonly position: number;
  readonly size: number;
}

function filesAt(what: string, find: (name: string) => Place | undefined): LayoutFiles {
  const found = (name: string): Place => {
    const place = find(name);
    if (!place) throw sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: ${JSON.stringify(name)} is not in it`);
    return place;
  };
  return {
    what,
    size: (name) => find(name)?.size,
    read: (name, maxBytes) => {
      const { file, position, size } = found(name);
      if (size > maxBytes) {
        throw sourceError(
          "SOURCE_LAYOUT_MALFORMED",
          `${what}: ${JSON.stringify(name)} has ${size} bytes, want at most ${maxBytes}`,
        );
      }
      const bytes = Buffer.alloc(size);
      if (withFile(file, what, (fd) => readAt(fd, bytes, position)) !== size) {
        throw sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: ${JSON.stringify(name)} ends early`);
      }
      return bytes;
    },
    stream: (name) => {
      const { file, position, size } = found(name);
      if (size === 0) return nothing();
      return createReadStream(file, { start: position, end: position + size - 1, highWaterMark: CHUNK_BYTES });
    },
  };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function directoryFiles(path: string, what: string): LayoutFiles {
  return filesAt(what, (name) => {
    const file = join(path, name);
    const stat = statSync(file, { throwIfNoEntry: false });
    return stat?.isFile() ? { file, position: 0, size: stat.size } : undefined;
  });
}

function tarFiles(path: string, what: string): LayoutFiles {
  const tar = withFile(path, what, (fd) => {
    const magic = Buffer.alloc(4);
    readAt(fd, magic, 0);
    if (magic.readUInt16BE(0) === 0x1f8b || magic.readUInt32LE(0) === 0xfd2fb528) {
      throw sourceError("SOURCE_UNSUPPORTED", `${what}: the archive is compressed, want a plain tar`, {
        hints: ["decompress it first: gzip -d FILE or zstd -d FILE"],
      });
    }
    return scanForeignTar((buffer, position) => readAt(fd, buffer, position), fstatSync(fd).size, what);
  });
  return filesAt(what, (name) => {
    // One step is enough: docker save links a repeated layer straight to the file.
    const found = tar.files.get(name) ?? tar.files.get(tar.links.get(name) ?? "");
    return found && { file: path, ...found };
  });
}

function withFile<T>(path: string, what: string, work: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (cause) {
    throw sourceError("SOURCE_NOT_FOUND", `${what}: ${reasonOf(cause)}`, { cause });
  }
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/** A blob's bytes, whose size and digest have been checked. @throws SOURCE_LAYOUT_MALFORMED | SOURCE_DIGEST_MISMATCH */
export function readLayoutBlob(files: LayoutFiles, descriptor: Descriptor, maxBytes: number): Buffer {
  const bytes = files.read(blobName(descriptor.digest), maxBytes);
  const got = digestOf(bytes);
  if (got !== descriptor.digest || bytes.length !== descriptor.size) {
    throw sourceError(
      "SOURCE_DIGEST_MISMATCH",
      `${files.what}: blob ${descriptor.digest} of ${descriptor.size} bytes: got ${got} of ${bytes.length} bytes`,
    );
  }
  return bytes;
}

/** Names by which tools list an image in `index.json`. */
const NAME_ANNOTATIONS = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
const SIGNATURE_TAG = /^sha256-[0-9a-f]{64}/;

/**
 * The manifest that `ref` means on `platform`. `ref` is a name in `index.json`, a digest, or undefined
 * if the layout holds one image only.
 * @throws SOURCE_NOT_FOUND | SOURCE_REFERENCE_AMBIGUOUS | SOURCE_PLATFORM_MISSING | SOURCE_UNSUPPORTED |
 * SOURCE_LAYOUT_MALFORMED | SOURCE_DIGEST_MISMATCH | OCI_MALFORMED
 */
export function resolveInLayout(files: LayoutFiles, ref: string | undefined, platform: string): Descriptor {
  const index = parseIndex(files.read(INDEX_FILE, MANIFEST_MAX_BYTES));
  const images = index.manifests.filter(
    (entry) => (isIndexType(entry.mediaType) || isManifestType(entry.mediaType)) && !isAttachment(entry),
  );
  const named =
    ref === undefined ? images : images.filter((entry) => entry.digest === ref || namesOf(entry).includes(ref));
  const distinct = [...new Map(named.map((entry) => [entry.digest, entry])).values()];
  const known = [...new Set(images.flatMap(namesOf))].sort();
  const [first] = distinct;
  if (!first) {
    throw sourceError(
      "SOURCE_NOT_FOUND",
      `${files.what}: no image ${ref === undefined ? "in it" : JSON.stringify(ref)}, got ${JSON.stringify(known)}`,
    );
  }
  if (distinct.length === 1) return descend(files, first, platform, NESTED_MAX);
  if (ref === undefined && known.length > 1) {
    throw sourceError("SOURCE_REFERENCE_AMBIGUOUS", `${files.what}: got ${distinct.length} images, want one named`, {
      hints: known.slice(0, 20).map((name) => `layout: PATH#${name}`),
    });
  }
  // Several entries of one name: a multi-platform image without an index of its own.
  const choice: Index = { schemaVersion: 2, manifests: distinct };
  return descend(files, choosePlatform(choice, platform, files.what), platform, NESTED_MAX);
}

function isAttachment(entry: Descriptor): boolean {
  return entry.artifactType !== undefined || namesOf(entry).some((name) => SIGNATURE_TAG.test(name));
}

function namesOf(entry: Descriptor): string[] {
  return NAME_ANNOTATIONS.flatMap((key) => entry.annotations?.[key] ?? []);
}

function descend(files: LayoutFiles, entry: Descriptor, platform: string, depth: number): Descriptor {
  if (isManifestType(entry.mediaType)) return entry;
  if (!isIndexType(entry.mediaType) || depth === 0) {
    throw sourceError("SOURCE_UNSUPPORTED", `${files.what}: ${entry.digest} leads to no image manifest`);
  }
  const index = parseIndex(readLayoutBlob(files, entry, MANIFEST_MAX_BYTES));
  return descend(files, choosePlatform(index, platform, `${files.what}: ${entry.digest}`), platform, depth - 1);
}

/** A blob of the layout for a bundle's writer, which checks digest and size. */
export function layoutBlobStream(files: LayoutFiles, digest: Digest): AsyncIterable<Uint8Array> {
  return files.stream(blobName(digest));
}
