/**
 * A bundle's tar as media parts with parity. Parts are plain pieces: put one after the other they are the tar
 * again. Every file has its name only when it is whole and on stable storage; an interrupted split is
 * continued by the same command: what is there is compared with the bundle and kept.
 */
import { closeSync, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories } from "../layout/new-directory.ts";
import { listName, openPart, parityExponents, partOf } from "../layout/parts.ts";
import { readAt } from "../layout/read-at.ts";
import type { TarBytes } from "../layout/tar-bytes.ts";
import { type Digest, hexOf } from "../model/digest.ts";
import { transferError } from "./error.ts";
import type { Block } from "./multiply.ts";
import { type DataFile, inSetOrder, type ParitySet } from "./par2-packet.ts";
import { writeParityFiles } from "./parity-files.ts";
import { PartHasher, type PartHashes } from "./part-hashes.ts";
import { guard, hostPartsDisk, PartialFile, type PartsDisk, requireRoom } from "./parts-disk.ts";
import { parityOverhead, planSplit, type SplitPlan } from "./split-plan.ts";

/** NAME of a release's parts: short enough for the file names of a disc (64 characters with what follows). */
export function partsName(appliance: string, version: string, release: Digest): string {
  return `${appliance.slice(0, 20)}-${version.slice(0, 18)}-${hexOf(release).slice(0, 8)}`;
}

export interface SplitOptions {
  readonly bundle: TarBytes;
  /** What `partsName` gives. */
  readonly name: string;
  readonly out: string;
  /** No file is larger. */
  readonly sizeBytes: number;
  /** How many parity files; as many lost parts can be made again. */
  readonly parity: number;
  /** Bytes of what is being done, of all. */
  readonly onProgress: (what: "copied" | "parity", doneBytes: number, totalBytes: number) => void;
  readonly disk?: PartsDisk;
}

export interface SplitFile {
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
}

export interface SplitResult {
  readonly parts: readonly SplitFile[];
  readonly parity: readonly SplitFile[];
  /** The path of the list for `sha256sum -c`. */
  readonly list: string;
}

/**
 * @throws SPLIT_SIZE_UNUSABLE | PARTS_DIRECTORY_IN_USE if `out` holds other parts | PARTS_DISK_FULL, before
 * anything is written if that can be told | PARTS_WRITE_FAILED | LAYOUT_TRUNCATED. Whole parts stay, for the same
 * command to go on with; a directory without any does not.
 */
export function splitBundle(options: SplitOptions): SplitResult {
  const { bundle, out, name, disk = hostPartsDisk, onProgress } = options;
  const plan = planSplit(name, bundle.size, options.sizeBytes, options.parity);
  const takeBack = guard(out, () => makeDirectories(out));
  try {
    requireOwnDirectory(out, plan);
    requireRoom(out, missingBytes(out, plan));
    const parts = copyParts(bundle, out, plan, disk, (done) => onProgress("copied", done, bundle.size));
    const parity = makeParity(
      out,
      plan,
      parts.map(({ file }) => file),
      options,
    );
    const files = [...parts.map(({ sha256, file }) => ({ name: file.name, size: file.size, sha256 })), ...parity];
    const list = join(out, listName(name));
    writeList(disk, list, files);
    return { parts: files.slice(0, parts.length), parity, list };
  } catch (cause) {
    takeBack();
    throw cause;
  }
}

/** For `sha256sum -c`. @throws PARTS_WRITE_FAILED */
export function writeList(disk: PartsDisk, path: string, files: readonly Omit<SplitFile, "size">[]): void {
  const bytes = Buffer.from(files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(""));
  const file = new PartialFile(disk, path);
  try {
    file.write(bytes, 0);
    file.finish(bytes.length);
  } catch (cause) {
    file.discard();
    throw cause;
  }
}

/** Parts of another bundle, size or number beside these would make all of them unreadable. */
function requireOwnDirectory(out: string, { name, parts, parity }: SplitPlan): void {
  const own = new Set([...parts, ...parity].map((file) => file.name));
  const foreign = readdirSync(out).find((entry) => {
    const file = entry.replace(/\.partial$/, "");
    return (partOf(file) !== undefined || parityExponents(file) !== undefined) && !own.has(file);
  });
  if (foreign !== undefined) throw inUse(out, foreign, `parts of ${name}`);
}

function inUse(out: string, entry: string, want: string): Error {
  return transferError(
    "PARTS_DIRECTORY_IN_USE",
    `media parts: destination ${JSON.stringify(out)}: got ${JSON.stringify(entry)}, want ${want} or nothing`,
    { hints: ["choose an empty directory for --out, or remove the file"] },
  );
}

function missingBytes(out: string, { name, parts, parity, blockBytes }: SplitPlan): number {
  const parityBytes = parityOverhead(name, parts.length, parity.length);
  return [...parts, ...parity.map((file) => ({ ...file, size: parityBytes + file.count * blockBytes }))]
    .filter((file) => !existsSync(join(out, file.name)))
    .reduce((sum, file) => sum + file.size, 0);
}

/** Every part in its place: written, or found there with the same bytes. */
function copyParts(
  bundle: TarBytes,
  out: string,
  plan: SplitPlan,
  disk: PartsDisk,
  onBytes: (doneBytes: number) => void,
): PartHashes[] {
  const hashes: PartHashes[] = [];
  let done = 0;
  let part: PartInPlace | undefined;
  try {
    for (const chunk of bundle.chunks()) {
      for (let at = 0; at < chunk.length; ) {
        const { name, size } = plan.parts[hashes.length] as SplitPlan["parts"][number];
        part ??= new PartInPlace(disk, out, name, size, plan.parity.length > 0 ? plan.blockBytes : undefined);
        const run = chunk.subarray(at, at + part.wanted);
        part.add(run);
        at += run.length;
        done += run.length;
        if (part.wanted > 0) continue;
        hashes.push(part.end());
        part = undefined;
      }
      onBytes(done);
    }
    return hashes;
  } finally {
    part?.discard();
  }
}

class PartInPlace {
  readonly #out: string;
  readonly #name: string;
  readonly #size: number;
  readonly #hasher: PartHasher;
  readonly #there: ReturnType<typeof openPart> | undefined;
  readonly #written: PartialFile | undefined;
  #done = 0;

  constructor(disk: PartsDisk, out: string, name: string, size: number, blockBytes: number | undefined) {
    this.#out = out;
    this.#name = name;
    this.#size = size;
    this.#hasher = new PartHasher(blockBytes);
    const path = join(out, name);
    if (existsSync(path)) this.#there = openPart(path);
    else this.#written = new PartialFile(disk, path);
  }

  /** Bytes that it still lacks. */
  get wanted(): number {
    return this.#size - this.#done;
  }

  add(bytes: Buffer): void {
    this.#hasher.update(bytes);
    this.#written?.write(bytes, this.#done);
    if (this.#there) {
      const found = Buffer.allocUnsafe(bytes.length);
      const isSame = readAt(this.#there.fd, found, this.#done) === bytes.length && found.equals(bytes);
      if (!isSame || this.#there.size !== this.#size) {
        throw inUse(this.#out, this.#name, "the bytes of this bundle in it");
      }
    }
    this.#done += bytes.length;
  }

  end(): PartHashes {
    this.#written?.finish(this.#size);
    if (this.#there) closeSync(this.#there.fd);
    return this.#hasher.end(this.#name);
  }

  discard(): void {
    this.#written?.discard();
    if (this.#there) closeSync(this.#there.fd);
  }
}

function makeParity(
  out: string,
  plan: SplitPlan,
  files: readonly DataFile[],
  { onProgress, disk = hostPartsDisk }: SplitOptions,
): SplitFile[] {
  if (plan.parity.length === 0) return [];
  const set: ParitySet = { blockBytes: plan.blockBytes, files: inSetOrder(files) };
  const opened = set.files.map(({ name }) => openPart(join(out, name)));
  try {
    const data = dataBlocks(
      set,
      opened.map(({ fd }) => fd),
    );
    // A parity file that is there is made again: to read whether it is right would take as long.
    const wanted = plan.parity.map(({ name, first, count }) => ({ path: join(out, name), first, count }));
    const total = data.length * set.blockBytes;
    let done = 0;
    const onBytes = (bytes: number): void => {
      done += bytes;
      onProgress("parity", done, total);
    };
    const hashes = writeParityFiles(set, data, wanted, { disk, onBytes });
    return plan.parity.map(({ name }, i) => ({
      name,
      size: statSync(join(out, name)).size,
      sha256: hashes[i] as string,
    }));
  } finally {
    for (const { fd } of opened) closeSync(fd);
  }
}

/** Every block of the set, in its order; `fds` are of the set's files. */
export function dataBlocks({ blockBytes, files }: ParitySet, fds: readonly number[]): Block[] {
  return files.flatMap(({ size, blocks }, i) =>
    blocks.map((_, block) => ({
      fd: fds[i] as number,
      position: block * blockBytes,
      length: Math.min(blockBytes, size - block * blockBytes),
    })),
  );
}
