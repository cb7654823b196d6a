/**
 * One streaming pass over an image layer (image-spec v1.1, layer.md): the diff_id, every entry in the
 * archive's order, each file's digest, and the content of the few files that say which packages there are. Nothing is
 * decided here about what the image holds; file-tree.ts lays the layers upon each other.
 *
 * Memory does not grow with the layer's bytes, only with its number of entries (about 200 bytes each)
 * and the content kept, and both have limits. What exceeds a limit fails; nothing is cut short.
 */
import { createHash } from "node:crypto";
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from "node:zlib";
import { type Digest, digestFromHex } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { sbomError } from "../error.ts";
import { type BinaryFacts, BinaryProbe, startsLikeProgram } from "./binary-probe.ts";
import { DigestChoice, FileDigester, type FileDigests } from "./file-digests.ts";
import { JAVA_ARCHIVE, JAVA_ARCHIVE_MAX_BYTES, type JavaFacts, readJavaArchive } from "./java-archive.ts";
import {
  RPM_DATABASE,
  RPM_DATABASE_MAX_BYTES,
  type RpmFacts,
  readRpmDatabase,
  unreadRpmDatabase,
} from "./rpm-database.ts";
import { quote, type TarHeader, TarReader } from "./tar-reader.ts";

export interface LayerEntry {
  /** Relative to the root, without a leading slash, "." or ".."; "" is the root itself. */
  readonly path: string;
  readonly kind: TarHeader["kind"];
  /** Of a symlink its text as it is; of a hardlink a path like `path`; else "". */
  readonly link: string;
  readonly isExecutable: boolean;
  /** Of a file's content; none of a sparse file and of what is no file. */
  readonly digests: FileDigests;
  /** A file without content. */
  readonly isEmpty: boolean;
  /** Undefined if the content was not kept. */
  readonly content: Uint8Array | undefined;
  /** The content was not kept because it was looked at and is no package.json with a name and a version. */
  readonly isNoManifest: boolean;
  /** What a program, a Java archive or rpm's database says; its content was not kept. */
  readonly facts: FileFacts | undefined;
}

export type FileFacts = BinaryFacts | JavaFacts | RpmFacts;

export interface LayerScan {
  /** SHA-256 of the uncompressed archive, as `rootfs.diff_ids` of the image configuration has it. */
  readonly diffId: Digest;
  readonly uncompressedBytes: number;
  /** Paths that this layer removes from the layers below it. */
  readonly whiteouts: readonly string[];
  /** Directories whose content in the layers below is hidden. */
  readonly opaqueDirectories: readonly string[];
  /** In the archive's order; a path may come twice, and the last wins. */
  readonly entries: readonly LayerEntry[];
}

export interface ScanLimits {
  /** Uncompressed bytes of the layer: the guard against decompression bombs. */
  readonly layerBytes: number;
  readonly entries: number;
  /** Bytes of all names together. */
  readonly nameBytes: number;
  /** Bytes of one file whose content is needed. */
  readonly fileBytes: number;
  /** Bytes of all content kept by name. */
  readonly keptBytes: number;
}

export const SCAN_LIMITS: ScanLimits = {
  layerBytes: 64 * 1024 ** 3,
  entries: 1_000_000,
  nameBytes: 128 * 1024 ** 2,
  fileBytes: 32 * 1024 ** 2,
  keptBytes: 96 * 1024 ** 2,
};

/** Content that may be wanted because a hardlink to it may follow, here or in a layer above. */
const LINKABLE_FILE_MAX_BYTES = 128 * 1024;
const LINKABLE_TOTAL_MAX_BYTES = 32 * 1024 ** 2;

/** PATH_MAX of Linux: no runtime can unpack more. */
const NAME_MAX_LENGTH = 4096;

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const WHITEOUT_META = ".wh..wh.";

/** Enough to tell a program by. */
const PROGRAM_START_BYTES = 4;

/** What is known of a file when its content has gone by. */
type FileEnd = Partial<Pick<LayerEntry, "content" | "isNoManifest" | "facts">>;

/** Looks at one file's content; its chunks are only lent. */
interface FileReader {
  readonly write?: (chunk: Uint8Array) => void;
  readonly end: () => FileEnd;
}

const NOTHING: FileReader = { end: () => ({}) };

const NO_DIGESTS: FileDigests = {};

type Compression = "none" | "gzip" | "zstd";

const COMPRESSION_OF: Readonly<Record<string, Compression>> = {
  "application/vnd.oci.image.layer.v1.tar": "none",
  "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
  "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
  "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
  "application/vnd.docker.image.rootfs.diff.tar": "none",
  "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
  "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
  "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
};

/**
 * True for a file whose content the catalogers read: dpkg's and apk's database, Debian's copyright
 * files, os-release, Python's metadata, npm's record of what it installed, and each package.json that can be a package's own (directly in a directory of node_modules,
 * or outside any node_modules).
 */
export function isWanted(path: string): boolean {
  if (path === "etc/os-release" || path === "usr/lib/os-release") return true;
  if (/(?:^|\/)dpkg\/(?:status|diversions|status\.d\/[^/]+|info\/[^/]+\.(?:list|md5sums))$/.test(path)) return true;
  if (/^usr\/share\/doc\/[^/]+\/copyright$/.test(path)) return true;
  if (/(?:^|\/)apk\/db\/installed$/.test(path)) return true;
  if (/\.(?:dist-info\/(?:METADATA|RECORD)|egg-info\/PKG-INFO|egg-info)$/.test(path)) return true;
  if (/(?:^|\/)node_modules\/\.package-lock\.json$/.test(path)) return true;
  if (path !== "package.json" && !path.endsWith("/package.json")) return false;
  const inside = path.lastIndexOf("node_modules/");
  if (inside < 0 || (inside > 0 && path[inside - 1] !== "/")) return true;
  return /^(?:@[^/]+\/)?[^/]+\/package\.json$/.test(path.slice(inside + "node_modules/".length));
}

/**
 * `scanLayer` for a caller that passes the bytes elsewhere too: `write` each chunk of the blob, then
 * `end`. A chunk may be reused as soon as `write` has resolved. After a failure every further call fails
 * in the same way; a caller that gives up calls `abort`.
 */
export class LayerScanner {
  readonly #limits: ScanLimits;
  readonly #hash = createHash("sha256");
  readonly #tar: TarReader;
  readonly #decompressor: Gunzip | ZstdDecompress | undefined;
  readonly #whiteouts: string[] = [];
  readonly #opaqueDirectories: string[] = [];
  readonly #digests = new DigestChoice();
  readonly #entries: LayerEntry[] = [];
  #pending: Buffer[] = [];
  #compressedBytes = 0;
  #uncompressedBytes = 0;
  #nameBytes = 0;
  #entryCount = 0;
  #keptBytes = 0;
  #linkableBytes = 0;
  #onEntryEnd: () => void = () => {};
  #isEnding = false;
  #failure: unknown;
  #rejectWaiter: ((cause: unknown) => void) | undefined;

  /** @throws SBOM_MEDIA_TYPE_UNSUPPORTED */
  constructor(mediaType: string, limits: Partial<ScanLimits> = {}) {
    const compression = Object.hasOwn(COMPRESSION_OF, mediaType) ? COMPRESSION_OF[mediaType] : undefined;
    if (compression === undefined) {
      throw sbomError("SBOM_MEDIA_TYPE_UNSUPPORTED", `layer has media type ${quote(mediaType)}, want a tar layer`);
    }
    this.#limits = { ...SCAN_LIMITS, ...limits };
    this.#tar = new TarReader({ onEntry: (header) => this.#entry(header), onEntryEnd: () => this.#onEntryEnd() });
    if (compression === "none") return;
    const decompressor =
      compression === "gzip"
        ? createGunzip({ chunkSize: 256 * 1024 })
        : createZstdDecompress({ chunkSize: 256 * 1024 });
    decompressor.on("data", (chunk: Buffer) => {
      this.#pending.push(chunk);
      // In a microtask, when the next piece is already being inflated on another thread.
      if (this.#pending.length === 1) queueMicrotask(() => this.#drain());
    });
    decompressor.on("error", (cause) => this.#fail(malformed(cause)));
    decompressor.on("end", () => {
      // zlib ends by itself, without an error and without calling back, where garbage follows the data.
      if (!this.#isEnding) this.#fail(malformed("bytes follow the compressed data"));
    });
    this.#decompressor = decompressor;
  }

  /** @throws SBOM_LAYER_MALFORMED | SBOM_LAYER_TOO_LARGE | SBOM_FILE_TOO_LARGE */
  async write(chunk: Uint8Array): Promise<void> {
    this.#assertWorking();
    this.#compressedBytes += chunk.byteLength;
    const decompressor = this.#decompressor;
    if (!decompressor) {
      this.#guard(() => this.#plain(chunk));
    } else {
      await this.#settled((resolve) => {
        decompressor.write(chunk, (cause) => (cause ? this.#fail(malformed(cause)) : resolve()));
      });
    }
    this.#assertWorking();
  }

  /** @throws as `write` does. The digest of the compressed bytes is the caller's to check. */
  async end(): Promise<LayerScan> {
    this.#assertWorking();
    const decompressor = this.#decompressor;
    if (decompressor) {
      this.#isEnding = true;
      await this.#settled((resolve) => decompressor.once("end", resolve).end());
      this.#drain();
      this.#assertWorking();
      if (decompressor.bytesWritten !== this.#compressedBytes) {
        const extra = this.#compressedBytes - decompressor.bytesWritten;
        this.#guard(() => {
          throw malformed(`${extra} bytes follow the compressed data`);
        });
      }
    }
    this.#guard(() => this.#tar.end());
    return {
      diffId: digestFromHex(this.#hash.digest("hex")),
      uncompressedBytes: this.#uncompressedBytes,
      whiteouts: this.#whiteouts,
      opaqueDirectories: this.#opaqueDirectories,
      entries: this.#entries,
    };
  }

  /** Frees what the scanner holds. */
  abort(): void {
    this.#fail(sbomError("SBOM_LAYER_MALFORMED", "layer: the scan was given up"));
  }

  #settled(start: (resolve: () => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#rejectWaiter = reject;
      start(() => {
        this.#rejectWaiter = undefined;
        resolve();
      });
    });
  }

  #drain(): void {
    const chunks = this.#pending;
    this.#pending = [];
    if (this.#failure !== undefined) return;
    try {
      for (const chunk of chunks) this.#plain(chunk);
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (cause) {
      this.#fail(cause);
      throw cause;
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= cause;
    this.#pending = [];
    this.#decompressor?.destroy();
    this.#rejectWaiter?.(this.#failure);
    this.#rejectWaiter = undefined;
  }

  #assertWorking(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #plain(chunk: Uint8Array): void {
    this.#uncompressedBytes += chunk.byteLength;
    if (this.#uncompressedBytes > this.#limits.layerBytes) {
      throw tooLarge(`more than ${this.#limits.layerBytes} uncompressed bytes`);
    }
    this.#hash.update(chunk);
    this.#tar.write(chunk);
  }

  #entry(header: TarHeader): ((chunk: Uint8Array) => void) | undefined {
    this.#onEntryEnd = () => {};
    this.#entryCount += 1;
    this.#nameBytes += header.path.length + header.link.length;
    if (this.#entryCount > this.#limits.entries) throw tooLarge(`more than ${this.#limits.entries} entries`);
    if (this.#nameBytes > this.#limits.nameBytes) throw tooLarge(`names of more than ${this.#limits.nameBytes} bytes`);

    if (header.path.length > NAME_MAX_LENGTH || header.link.length > NAME_MAX_LENGTH) {
      throw malformed(`path ${quote(header.path)} or its link has more than ${NAME_MAX_LENGTH} characters`);
    }
    const path = cleanPath(header.path);
    const slash = path.lastIndexOf("/");
    const directory = slash < 0 ? "" : path.slice(0, slash);
    const base = path.slice(slash + 1);
    if (base.startsWith(WHITEOUT)) {
      this.#whiteout(path, directory, base);
      return undefined;
    }
    const link = header.kind === "hardlink" ? cleanPath(header.link) : header.link;
    const { kind, isExecutable, sizeBytes, isSparse } = header;
    const entry = { path, kind, link, isExecutable, isEmpty: kind === "file" && sizeBytes === 0 };
    const reader = kind === "file" ? this.#readerOf(path, header) : NOTHING;
    const digester = kind === "file" && !isSparse ? new FileDigester(sizeBytes, this.#digests.for(path)) : undefined;
    this.#onEntryEnd = () => {
      const { content, isNoManifest = false, facts } = reader.end();
      this.#entries.push({ ...entry, digests: digester?.values() ?? NO_DIGESTS, content, isNoManifest, facts });
    };
    return (chunk) => {
      digester?.write(chunk);
      reader.write?.(chunk);
    };
  }

  #whiteout(path: string, directory: string, base: string): void {
    if (base === OPAQUE) {
      this.#opaqueDirectories.push(directory);
    } else if (!base.startsWith(WHITEOUT_META)) {
      // Other names with the doubled prefix are the old aufs driver's own; no runtime unpacks them.
      const hidden = base.slice(WHITEOUT.length);
      if (hidden === "" || hidden === "." || hidden === "..") throw malformed(`whiteout ${quote(path)} names no file`);
      this.#whiteouts.push(directory === "" ? hidden : `${directory}/${hidden}`);
    }
  }

  #readerOf(path: string, { sizeBytes, isSparse }: TarHeader): FileReader {
    if (isWanted(path)) {
      this.#reserve(path, sizeBytes, isSparse);
      return collect(sizeBytes, (content) => ({ content }));
    }
    if (JAVA_ARCHIVE.test(path)) return readJava(path, sizeBytes, isSparse);
    if (RPM_DATABASE.test(path)) return readRpm(sizeBytes, isSparse);
    if (isSparse || sizeBytes < 2) return NOTHING;
    // No package.json is larger; a program may say what it was made of.
    return sizeBytes > LINKABLE_FILE_MAX_BYTES ? probeProgram() : this.#keepManifest(sizeBytes);
  }

  /** @throws SBOM_LAYER_MALFORMED | SBOM_FILE_TOO_LARGE | SBOM_LAYER_TOO_LARGE */
  #reserve(path: string, sizeBytes: number, isSparse: boolean): void {
    if (isSparse) throw malformed(`file ${quote(path)} is stored as a sparse file`);
    if (sizeBytes > this.#limits.fileBytes) {
      throw sbomError(
        "SBOM_FILE_TOO_LARGE",
        `file ${quote(path)}: got ${sizeBytes} bytes, want at most ${this.#limits.fileBytes}`,
      );
    }
    this.#keptBytes += sizeBytes;
    if (this.#keptBytes > this.#limits.keptBytes) {
      throw tooLarge(`package databases of more than ${this.#limits.keptBytes} bytes`);
    }
  }

  /** Of a file under any name whose content may be a package.json. */
  #keepManifest(sizeBytes: number): FileReader {
    let content: Buffer | undefined;
    let filled = 0;
    return {
      write: (chunk) => {
        if (filled === 0 && looksLikeJson(chunk)) content = Buffer.allocUnsafeSlow(sizeBytes);
        content?.set(chunk, filled);
        filled += chunk.byteLength;
      },
      end: () => {
        const isNoManifest = !(content && mayBeManifest(content));
        return { content: content && !isNoManifest && this.#keepLinkable(content) ? content : undefined, isNoManifest };
      },
    };
  }

  /** A store of hardlinked packages (pnpm's) has its package.json files under other names. */
  #keepLinkable(content: Buffer): boolean {
    if (this.#linkableBytes + content.length > LINKABLE_TOTAL_MAX_BYTES) return false;
    this.#linkableBytes += content.length;
    return true;
  }
}

/**
 * Scans a layer from the bytes of its blob. `mediaType` is the descriptor's and decides the compression.
 * @throws SBOM_MEDIA_TYPE_UNSUPPORTED | SBOM_LAYER_MALFORMED | SBOM_LAYER_TOO_LARGE | SBOM_FILE_TOO_LARGE,
 * and what `stream` throws. Does not check the blob's digest, nor compare the diff_id with anything.
 */
export async function scanLayer(
  stream: AsyncIterable<Uint8Array>,
  mediaType: string,
  limits: Partial<ScanLimits> = {},
): Promise<LayerScan> {
  const scanner = new LayerScanner(mediaType, limits);
  try {
    for await (const chunk of stream) await scanner.write(chunk);
    return await scanner.end();
  } catch (cause) {
    scanner.abort();
    throw cause;
  }
}

/** Into memory of its own: a slice of a shared one would keep that alive. */
function collect(sizeBytes: number, end: (content: Buffer) => FileEnd): FileReader {
  const content = Buffer.allocUnsafeSlow(sizeBytes);
  let filled = 0;
  return {
    write: (chunk) => {
      content.set(chunk, filled);
      filled += chunk.byteLength;
    },
    end: () => end(content),
  };
}

/** Kept whole only until its end, and only one at a time. */
function readJava(path: string, sizeBytes: number, isSparse: boolean): FileReader {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (isSparse || sizeBytes > JAVA_ARCHIVE_MAX_BYTES) {
    const problem = isSparse ? "a sparse file" : `larger than ${JAVA_ARCHIVE_MAX_BYTES} bytes`;
    return {
      end: () => ({ facts: { kind: "java", packages: [], problems: [`${name}: ${problem}`], sha512: undefined } }),
    };
  }
  return collect(sizeBytes, (content) => ({ facts: readJavaArchive(content, name) }));
}

function readRpm(sizeBytes: number, isSparse: boolean): FileReader {
  if (isSparse) return { end: () => ({ facts: unreadRpmDatabase("a sparse file") }) };
  if (sizeBytes > RPM_DATABASE_MAX_BYTES) {
    return { end: () => ({ facts: unreadRpmDatabase(`larger than ${RPM_DATABASE_MAX_BYTES} bytes`) }) };
  }
  return collect(sizeBytes, (content) => ({ facts: readRpmDatabase(content) }));
}

function probeProgram(): FileReader {
  let start: Buffer = Buffer.alloc(0);
  let probe: BinaryProbe | undefined;
  return {
    write: (chunk) => {
      probe?.write(chunk);
      if (probe || start.length >= PROGRAM_START_BYTES) return;
      start = Buffer.concat([start, chunk]);
      if (!startsLikeProgram(start)) return;
      probe = new BinaryProbe();
      probe.write(start);
    },
    end: () => ({ facts: probe?.facts() }),
  };
}

function looksLikeJson(start: Uint8Array): boolean {
  for (const byte of start.subarray(0, 64)) {
    if (byte === 0x7b) return true;
    // White space, and the three bytes of a byte order mark.
    if (![0x20, 0x09, 0x0a, 0x0d, 0xef, 0xbb, 0xbf].includes(byte)) return false;
  }
  return false;
}

function mayBeManifest(content: Buffer): boolean {
  return content.includes('"name"') && content.includes('"version"');
}

/** @throws SBOM_LAYER_MALFORMED if the path leads out of the root; Docker refuses such a layer too. */
function cleanPath(raw: string): string {
  if (!raw.includes("//") && !/(?:^|\/)\.{0,2}(?:\/|$)/.test(raw)) return raw;
  const parts: string[] = [];
  for (const part of raw.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) throw malformed(`path ${quote(raw)} leads out of the image`);
  }
  return parts.join("/");
}

function malformed(cause: unknown): Error {
  const what = typeof cause === "string" ? cause : reasonOf(cause);
  return sbomError("SBOM_LAYER_MALFORMED", `layer: ${what}`, cause instanceof Error ? { cause } : {});
}

function tooLarge(what: string): Error {
  return sbomError("SBOM_LAYER_TOO_LARGE", `layer: ${what}`);
}
