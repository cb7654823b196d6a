/**
 * Reads a snapshot of OSV, one record after the other, without an index and without unpacking: what OSV
 * exports (all.zip, one JSON a record), a directory of such files and archives, a tar of them (plain, gzip or
 * zstd), or NDJSON. Memory holds one record and, of a ZIP archive, its central directory. Where its bytes come
 * from is for snapshot-on-disk.ts and carried-records.ts.
 */
import { createHash } from "node:crypto";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestFromHex, digestOf } from "../../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { sbomError } from "../error.ts";
import { TarReader } from "../generate/tar-reader.ts";
import { type RandomAccess, readAhead, readZipMember, zipMembers } from "../zip-reader.ts";
import { OSV_RECORD_MAX_BYTES } from "./osv-record.ts";
import { type SnapshotKind, snapshotKindOf } from "./snapshot-kind.ts";

export interface SnapshotText {
  /** Where it stands: the file's path and, in an archive, the member's name or the line. */
  readonly name: string;
  /** The record's JSON, not looked at; undefined if it could not be read, with the reason. */
  readonly text: string | undefined;
  readonly reason?: string;
}

export interface SnapshotFile {
  /** For messages, and part of the snapshot's digest if it has several files. */
  readonly name: string;
  /** Undefined if it holds no records: it is counted and passed over. */
  readonly kind: SnapshotKind | undefined;
  stream(): AsyncIterable<Uint8Array>;
  /** Runs `use` on the same bytes in any order. */
  withRandomAccess(use: (bytes: RandomAccess) => AsyncGenerator<SnapshotText>): AsyncGenerator<SnapshotText>;
}

export interface SnapshotSource {
  /** A path, or words for where it lies. */
  readonly location: string;
  /** Nothing else than the files of a directory shows whether one is missing; a file is whole or damaged. */
  readonly isDirectory: boolean;
  /** In the order in which they are read. */
  readonly files: readonly SnapshotFile[];
}

/** One pass over a snapshot. `texts` must be read to its end before `digest` or `ignored` say anything. */
export class Snapshot {
  readonly #source: SnapshotSource;
  readonly #digests: [name: string, digest: Digest][] = [];
  /** Files of a directory or archive that are no records by their name. */
  readonly ignored: string[] = [];

  constructor(source: SnapshotSource) {
    this.#source = source;
  }

  /** Of the file; of a directory or of several files, of the canonical JSON list of their names and digests. */
  digest(): Digest {
    const [only, ...others] = this.#digests;
    return only && others.length === 0 && !this.#source.isDirectory ? only[1] : digestOf(canonicalJson(this.#digests));
  }

  /** @throws SCAN_DATABASE_UNREADABLE for a file or archive that cannot be read to its end, and what its source throws */
  async *texts(): AsyncGenerator<SnapshotText> {
    for (const file of this.#source.files) {
      if (file.kind === undefined) {
        this.ignored.push(file.name);
        continue;
      }
      try {
        yield* this.#file(file, file.kind);
      } catch (cause) {
        throw asUnreadable(cause, `${this.#source.location}: ${file.name}`);
      }
    }
  }

  async *#file(file: SnapshotFile, kind: SnapshotKind): AsyncGenerator<SnapshotText> {
    const hash = createHash("sha256");
    const { name } = file;
    const hashed = hashing(file.stream(), hash);
    if (kind === "zip") {
      // The whole is hashed before any of it is believed.
      for await (const _ of hashed);
      yield* file.withRandomAccess((bytes) => zipTexts(bytes, name, this.ignored));
    } else if (kind === "record") yield { name, ...(await wholeText(hashed)) };
    else if (kind === "lines") yield* lineTexts(hashed, name);
    else yield* tarTexts(inflated(hashed, kind), name, this.ignored);
    this.#digests.push([name, digestFromHex(hash.digest("hex"))]);
  }
}

function asUnreadable(cause: unknown, where: string): unknown {
  const isOurs = cause instanceof SealiftError;
  if (isOurs && cause.code !== "SBOM_ZIP_MALFORMED" && cause.code !== "SBOM_LAYER_MALFORMED") return cause;
  return sbomError("SCAN_DATABASE_UNREADABLE", `vulnerability records ${JSON.stringify(where)}: ${reasonOf(cause)}`, {
    cause,
    hints: ["copy the snapshot again and compare its digest with the source's"],
  });
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

/** What is not read must not look as if there were nothing in it. */
const NESTED = { text: undefined, reason: "an archive within an archive is not read" } as const;

const UTF8 = new TextDecoder("utf-8", { fatal: true });

function textOf(bytes: Uint8Array): Omit<SnapshotText, "name"> {
  try {
    return { text: UTF8.decode(bytes) };
  } catch {
    return { text: undefined, reason: "not UTF-8" };
  }
}

async function* lineTexts(stream: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<SnapshotText> {
  let parts: Uint8Array[] = [];
  let size = 0;
  let number = 0;
  const line = (): SnapshotText | undefined => {
    const bytes = Buffer.concat(parts);
    parts = [];
    size = 0;
    number += 1;
    if (bytes.length === 0) return undefined;
    return { name: `${name}:${number}`, ...(bytes.length > OSV_RECORD_MAX_BYTES ? TOO_LARGE : textOf(bytes)) };
  };
  for await (const chunk of stream) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      const text = line();
      if (text) yield text;
      start = end + 1;
    }
    parts.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size > OSV_RECORD_MAX_BYTES) throw new RangeError(`line ${number + 1}: ${TOO_LARGE.reason}`);
  }
  const last = line();
  if (last) yield last;
}

async function* zipTexts(archive: RandomAccess, name: string, ignored: string[]): AsyncGenerator<SnapshotText> {
  const zip = readAhead(archive);
  for (const member of zipMembers(archive)) {
    const full = `${name}/${member.name}`;
    if (member.name.endsWith("/")) continue;
    const kind = snapshotKindOf(member.name);
    if (kind === undefined) ignored.push(full);
    else if (kind !== "record") yield { name: full, ...NESTED };
    else yield { name: full, ...textOf(readZipMember(zip, member, OSV_RECORD_MAX_BYTES)) };
  }
}

async function* inflated(stream: AsyncIterable<Uint8Array>, kind: SnapshotKind): AsyncGenerator<Uint8Array> {
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
      const inside = snapshotKindOf(path);
      if (inside !== "record") {
        if (inside === undefined) ignored.push(full);
        else ready.push({ name: full, ...NESTED });
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
