/**
 * Reads a snapshot of OSV from disk, one record after the other, without an index and without unpacking:
 * what OSV exports (all.zip, one JSON a record), a directory of such files and archives, a tar of them
 * (plain, gzip or zstd), or NDJSON. Memory holds one record and, of a ZIP archive, its central directory.
 */
import { createHash } from "node:crypto";
import { closeSync, createReadStream, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestFromHex, digestOf } from "../../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { sbomError } from "../error.ts";
import { byText } from "../generate/catalog.ts";
import { TarReader } from "../generate/tar-reader.ts";
import { type RandomAccess, readZipMember, zipMembers } from "../zip-reader.ts";
import { OSV_RECORD_MAX_BYTES } from "./osv-record.ts";

export interface SnapshotText {
  /** Where it stands: the file's path and, in an archive, the member's name or the line. */
  readonly name: string;
  /** The record's JSON, not looked at; undefined if it could not be read, with the reason. */
  readonly text: string | undefined;
  readonly reason?: string;
}

export interface SnapshotDigest {
  /** Of the file; of a directory, of the canonical JSON list of its files' paths and digests. */
  digest(): Digest;
  /** Files of the directory or archive that are no records by their name. */
  readonly ignored: readonly string[];
}

const FILES_MAX = 2_000_000;
const KINDS: readonly (readonly [pattern: RegExp, kind: Kind])[] = [
  [/\.json$/, "record"],
  [/\.(?:ndjson|jsonl)$/, "lines"],
  [/\.zip$/, "zip"],
  [/\.tar$/, "tar"],
  [/\.(?:tar\.gz|tgz)$/, "tar.gz"],
  [/\.(?:tar\.zst|tzst)$/, "tar.zst"],
];
type Kind = "record" | "lines" | "zip" | "tar" | "tar.gz" | "tar.zst";

/** One pass over a snapshot. `texts` must be read to its end before `digest` or `ignored` say anything. */
export class Snapshot implements SnapshotDigest {
  readonly #path: string;
  readonly #digests: [path: string, digest: Digest][] = [];
  readonly ignored: string[] = [];
  #isDirectory = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Nothing else than this directory's files shows whether one is missing; a file is whole or damaged. */
  get isDirectory(): boolean {
    return this.#isDirectory;
  }

  digest(): Digest {
    const [only] = this.#digests;
    return !this.#isDirectory && only ? only[1] : digestOf(canonicalJson(this.#digests));
  }

  /** @throws SCAN_DATABASE_NOT_FOUND | SCAN_DATABASE_UNREADABLE for a file or archive that cannot be read to its end */
  async *texts(): AsyncGenerator<SnapshotText> {
    for (const path of this.#files()) {
      const name = this.#isDirectory ? path : basename(path);
      const kind = kindOf(path);
      if (kind === undefined) {
        this.ignored.push(name);
        continue;
      }
      const full = this.#isDirectory ? join(this.#path, path) : path;
      try {
        yield* this.#file(full, name, kind);
      } catch (cause) {
        if (
          cause instanceof SealiftError &&
          cause.code !== "SBOM_ZIP_MALFORMED" &&
          cause.code !== "SBOM_LAYER_MALFORMED"
        ) {
          throw cause;
        }
        throw sbomError(
          "SCAN_DATABASE_UNREADABLE",
          `vulnerability records ${JSON.stringify(full)}: ${reasonOf(cause)}`,
          {
            cause,
            hints: ["copy the snapshot again and compare its digest with the source's"],
          },
        );
      }
    }
  }

  #files(): string[] {
    try {
      this.#isDirectory = statSync(this.#path).isDirectory();
      if (!this.#isDirectory) return [this.#path];
      const found = readdirSync(this.#path, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(join(this.#path, "/").length))
        .sort(byText);
      if (found.length > FILES_MAX) throw new RangeError(`got ${found.length} files, want at most ${FILES_MAX}`);
      return found;
    } catch (cause) {
      const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
      throw sbomError(
        missing ? "SCAN_DATABASE_NOT_FOUND" : "SCAN_DATABASE_UNREADABLE",
        `vulnerability records ${JSON.stringify(this.#path)}: ${reasonOf(cause)}`,
        { cause, hints: missing ? ["--db names a directory, a zip or a tar of OSV records"] : [] },
      );
    }
  }

  async *#file(path: string, name: string, kind: Kind): AsyncGenerator<SnapshotText> {
    const hash = createHash("sha256");
    if (kind === "zip") {
      for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
      yield* zipTexts(path, name, this.ignored);
    } else {
      const hashed = hashing(createReadStream(path, { highWaterMark: 256 * 1024 }), hash);
      if (kind === "record") yield { name, ...(await wholeText(hashed)) };
      else if (kind === "lines") yield* lineTexts(hashed, name);
      else yield* tarTexts(inflated(hashed, kind), name, this.ignored);
    }
    this.#digests.push([name, digestFromHex(hash.digest("hex"))]);
  }
}

function kindOf(name: string): Kind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1];
}

async function* hashing(
  stream: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    hash.update(chunk);
    yield chunk;
  }
}

async function wholeText(stream: AsyncIterable<Uint8Array>): Promise<Omit<SnapshotText, "name">> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.byteLength;
    if (size <= OSV_RECORD_MAX_BYTES) chunks.push(chunk);
  }
  return size > OSV_RECORD_MAX_BYTES ? TOO_LARGE : textOf(Buffer.concat(chunks));
}

const TOO_LARGE = { text: undefined, reason: `larger than ${OSV_RECORD_MAX_BYTES} bytes` } as const;

function textOf(bytes: Uint8Array): Omit<SnapshotText, "name"> {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { text: undefined, reason: "not UTF-8" };
  }
}

async function* lineTexts(stream: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<SnapshotText> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  const line = (bytes: Buffer): SnapshotText | undefined => {
    number += 1;
    if (bytes.length === 0) return undefined;
    return { name: `${name}:${number}`, ...(bytes.length > OSV_RECORD_MAX_BYTES ? TOO_LARGE : textOf(bytes)) };
  };
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10, start)) {
      const text = line(rest.subarray(start, end));
      if (text) yield text;
      start = end + 1;
    }
    rest = rest.subarray(start);
    if (rest.length > OSV_RECORD_MAX_BYTES) throw new RangeError(`line ${number + 1}: ${TOO_LARGE.reason}`);
  }
  const last = line(rest);
  if (last) yield last;
}

function* zipTexts(path: string, name: string, ignored: string[]): Generator<SnapshotText> {
  const fd = openSync(path, "r");
  try {
    const zip: RandomAccess = {
      size: fstatSync(fd).size,
      read: (offset, length) => {
        const buffer = Buffer.allocUnsafe(length);
        for (let at = 0; at < length; ) {
          const got = readSync(fd, buffer, at, length - at, offset + at);
          if (got === 0) throw new RangeError("the file became shorter while it was read");
          at += got;
        }
        return buffer;
      },
    };
    for (const member of zipMembers(zip)) {
      const full = `${name}/${member.name}`;
      if (member.name.endsWith("/")) continue;
      if (kindOf(member.name) !== "record") ignored.push(full);
      else yield { name: full, ...textOf(readZipMember(zip, member, OSV_RECORD_MAX_BYTES)) };
    }
  } finally {
    closeSync(fd);
  }
}

async function* inflated(stream: AsyncIterable<Uint8Array>, kind: Kind): AsyncGenerator<Uint8Array> {
  if (kind === "tar") return yield* stream;
  const { pipeline, Readable } = await import("node:stream");
  const inflate = kind === "tar.gz" ? createGunzip() : createZstdDecompress();
  // A failure reaches whoever reads `inflate`.
  pipeline(Readable.from(stream), inflate, () => {});
  for await (const chunk of inflate) yield chunk as Buffer;
}

async function* tarTexts(
  stream: AsyncIterable<Uint8Array>,
  name: string,
  ignored: string[],
): AsyncGenerator<SnapshotText> {
  let ready: SnapshotText[] = [];
  let onEnd = (): void => {};
  const reader = new TarReader({
    onEntry: ({ path, kind, sizeBytes, isSparse }) => {
      onEnd = () => {};
      if (kind !== "file") return undefined;
      const full = `${name}/${path}`;
      if (kindOf(path) !== "record") {
        ignored.push(full);
        return undefined;
      }
      if (isSparse || sizeBytes > OSV_RECORD_MAX_BYTES) {
        ready.push({ name: full, ...TOO_LARGE });
        return undefined;
      }
      const chunks: Buffer[] = [];
      onEnd = () => ready.push({ name: full, ...textOf(Buffer.concat(chunks)) });
      return (chunk) => void chunks.push(Buffer.from(chunk));
    },
    onEntryEnd: () => onEnd(),
  });
  for await (const chunk of stream) {
    reader.write(chunk);
    const now = ready;
    ready = [];
    yield* now;
  }
  reader.end();
}
