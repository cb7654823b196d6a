/**
 * The site's store: `store/<hex>` is a stored release, a complete OCI layout directory with its signature
 * objects, so that `sealift verify`, oras and cosign read it, and a rollback needs no medium. It appears
 * by one rename, when every byte of it was checked and is on stable storage. Names that begin with a dot
 * are work that did not end; `tidyStore` puts that right. All of it under the site's lock.
 *
 * Blobs of carried files have mode 0644, because a container's user reads them through a bind mount;
 * everything else 0600. Equal blobs of two stored releases are one file with two names.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type BundleRelease, groupBlobs, readLayoutIndex, renderIndexFile } from "../../bundles/layout/contents.ts";
import { layoutError } from "../../bundles/layout/error.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE, LAYOUT_FILE_BYTES, type Layout } from "../../bundles/layout/layout.ts";
import { readAt } from "../../bundles/layout/read-at.ts";
import { readSignatureObjects } from "../../bundles/layout/signature-object.ts";
import { type Digest, digestFromHex, digestOf, hexOf } from "../../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import { statementPath } from "../../verify/approval-files.ts";
import {
  type Disk,
  linkFile,
  makeDirectory,
  removeDurably,
  removeTree,
  renameDurably,
  syncNames,
  systemCode,
  unreadable,
  writeStreamed,
  writeWhole,
} from "./disk.ts";
import { siteError } from "./error.ts";

const BLOBS = dirname(blobName(digestFromHex("0".repeat(64))));
const RELEASE_NAME = /^[0-9a-f]{64}$/;
/** As verify/approval-files.ts reads them beside `store/<hex>`; here the name is of the content. */
const APPROVAL_NAME = /^([0-9a-f]{64})\.statement-[0-9a-f]{16}\.json$/;
/** `staging` is not whole yet, `removed` no longer, `replaced` is whole and waits for the one that replaces it. */
const WORK_NAME = /^\.([0-9a-f]{64})\.(staging|removed|replaced)$/;
const PRIVATE = 0o600;
/** What a container's own user must read. */
const SHARED = 0o644;
const HASH_BYTES = 1024 * 1024;
/** Left free for the ledger and the journal, which have to record what happens next. */
const RESERVE_BYTES = 16 * 1024 * 1024;
/** Bytes between two looks at signals and timers: reading and writing are synchronous. */
const BREATH_BYTES = 32 * 1024 * 1024;

/** `store/<hex>` of a release, whether or not it is there. */
export function storedPath(directory: string, release: Digest): string {
  return join(directory, "store", hexOf(release));
}

/** The releases in the store, sorted; nothing is checked but their names. @throws STATE_UNREADABLE */
export function storedReleases(directory: string): Digest[] {
  return names(directory)
    .filter((name) => RELEASE_NAME.test(name))
    .map(digestFromHex);
}

/** @throws STATE_WRITE_FAILED | STATE_UNREADABLE. Nothing if it is not there; repeat it after a crash. */
export function removeStored(disk: Disk, directory: string, release: Digest): void {
  const path = storedPath(directory, release);
  for (const name of approvalNames(directory, hexOf(release))) removeDurably(disk, join(directory, "store", name));
  // By its name first: a half of a release must not look like one.
  if (isThere(path)) renameDurably(disk, path, workPath(directory, release, "removed"));
  tidyStore(disk, directory);
}

/**
 * Ends what a crash cut off: a release that was to be replaced and has not been comes back, other work
 * that did not end goes. Every run that changes the store begins with it.
 * @throws STATE_WRITE_FAILED | STATE_UNREADABLE
 */
export function tidyStore(disk: Disk, directory: string): void {
  for (const name of names(directory)) {
    const [, hex = "", what] = WORK_NAME.exec(name) ?? [];
    const [, approved] = APPROVAL_NAME.exec(name) ?? [];
    if (approved !== undefined && !isThere(join(directory, "store", approved))) {
      removeDurably(disk, join(directory, "store", name));
    }
    if (what === undefined) continue;
    const [work, path] = [join(directory, "store", name), join(directory, "store", hex)];
    if (what === "replaced" && !isThere(path)) renameDurably(disk, work, path);
    else removeTree(disk, work);
  }
}

function approvalNames(directory: string, hex: string): string[] {
  return names(directory).filter((name) => APPROVAL_NAME.exec(name)?.[1] === hex);
}

/** The approvals by which the release was allowed, in place of older ones; if it needed none, those stay. */
function placeApprovals(disk: Disk, directory: string, release: Digest, approvals: readonly Buffer[]): void {
  if (approvals.length === 0) return;
  const path = storedPath(directory, release);
  makeDirectory(disk, dirname(path));
  const placed = approvals.map((bytes) => {
    const approval = statementPath(path, "statement", hexOf(digestOf(bytes)));
    writeWhole(disk, approval, bytes);
    return approval;
  });
  for (const name of approvalNames(directory, hexOf(release))) {
    const approval = join(dirname(path), name);
    if (!placed.includes(approval)) removeDurably(disk, approval);
  }
}

/** Told the bytes that are in place, of all; also those that needed no copy. */
export type StageProgress = (doneBytes: number, totalBytes: number) => void;

/**
 * Puts `allowed` into the store, reading each byte from its open layout and checking it on the way. If it is
 * there, every byte of that is read: nothing is written if it is whole, and it is replaced if it is not.
 * Reviewers' approvals go beside it, where `verify` looks for them: before it, so that it is never there without.
 * Returns its path. Memory is bounded by the chunks of `Layout.stream`. What the disk gives back of a new copy
 * is not read here; each later reader checks what it reads (`damagedFiles` for what containers read).
 * @throws LAYOUT_… if the bundle was changed since it was verified, LAYOUT_UNREADABLE if its medium
 * fails | STATE_DISK_FULL, before anything is written if that can be told | STATE_WRITE_FAILED |
 * STATE_UNREADABLE. Nothing new is in the store then.
 */
export async function stageRelease(
  disk: Disk,
  directory: string,
  allowed: AllowedRelease,
  onProgress: StageProgress = () => {},
): Promise<string> {
  const release = allowed.release.descriptor.digest;
  const path = storedPath(directory, release);
  tidyStore(disk, directory);
  const files = planFiles(allowed);
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  placeApprovals(disk, directory, release, allowed.approvals);
  if (holdsExactly(path, files) && (await holdsBytes(path, files, (done) => onProgress(done, totalBytes)))) return path;
  makeDirectory(disk, dirname(path));
  const neighbours = new Neighbours(directory);
  requireRoom(directory, files, neighbours);
  const staging = workPath(directory, release, "staging");
  try {
    await fill(disk, staging, files, allowed.layout, neighbours, (done) => onProgress(done, totalBytes));
    if (isThere(path)) renameDurably(disk, path, workPath(directory, release, "replaced"));
    renameDurably(disk, staging, path);
  } catch (cause) {
    // A full disk must not stay full of this. What cannot be put right now the next run does.
    try {
      tidyStore(disk, directory);
    } catch {}
    throw cause;
  }
  tidyStore(disk, directory);
  return path;
}

/**
 * That `stageRelease` would find the room it needs now; nothing is written.
 * @throws STATE_DISK_FULL | STATE_UNREADABLE | LAYOUT_… if the bundle was changed since it was verified
 */
export function requireStoreRoom(directory: string, allowed: AllowedRelease): void {
  const files = planFiles(allowed);
  if (holdsExactly(storedPath(directory, allowed.release.descriptor.digest), files)) return;
  requireRoom(directory, files, new Neighbours(directory));
}

/** A file of a stored release. */
interface StoredFile {
  readonly name: string;
  readonly size: number;
  readonly mode: number;
  /** Where its bytes come from: a blob of the layout, or these. */
  readonly content: Digest | Buffer;
}

type OpenRelease = Pick<AllowedRelease, "layout" | "release">;

/** Every file of the release, with `index.json` as it must be; sizes of blobs as they are. @throws LAYOUT_… */
function planFiles({ layout, release }: OpenRelease): StoredFile[] {
  const { others } = readLayoutIndex(layout);
  const objects = readSignatureObjects(layout, others);
  const index = renderIndexFile(release, objects);
  if (!layout.readUnverified(INDEX_FILE, index.length).equals(index)) {
    throw layoutError(
      "LAYOUT_FOREIGN_FILE",
      `${INDEX_FILE}: is not what Sealift writes for release ${release.descriptor.digest}`,
    );
  }
  const shared = new Set(
    [...release.files.values()].flatMap(({ manifest }) => manifest.layers.map(({ digest }) => digest)),
  );
  const { payload, documents, signatures } = groupBlobs(release, objects);
  const blobs = [...payload, ...documents, ...signatures].map((digest): StoredFile => {
    const size = layout.blob(digest)?.size;
    if (size === undefined) throw layoutError("LAYOUT_BLOB_MISSING", `blob ${digest} is not in the bundle`);
    return { name: blobName(digest), size, mode: shared.has(digest) ? SHARED : PRIVATE, content: digest };
  });
  const own = (name: string, content: Buffer): StoredFile => ({ name, size: content.length, mode: PRIVATE, content });
  return [own(LAYOUT_FILE, LAYOUT_FILE_BYTES), ...blobs, own(INDEX_FILE, index)];
}

/** Whether `path` holds these files by name, size and mode, and no others. Their bytes are not read. */
function holdsExactly(path: string, files: readonly StoredFile[]): boolean {
  try {
    return filesIn(path).length === files.length && files.every((file) => outerProblem(path, file) === undefined);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT" || systemCode(cause) === "ENOTDIR") return false;
    throw unreadable(path, cause);
  }
}

/** Names within the layout at `path` of all that is no directory. */
function filesIn(path: string): string[] {
  return ["", "blobs", BLOBS].flatMap((inner) =>
    readdirSync(join(path, inner), { withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map(({ name }) => join(inner, name)),
  );
}

/** Whether the bytes of each of these files at `path` are the right ones. */
async function holdsBytes(
  path: string,
  files: readonly StoredFile[],
  onBytes: (doneBytes: number) => void,
): Promise<boolean> {
  const meter = new Meter(onBytes);
  for (const file of files) {
    if (!(await holdsContent(path, file))) return false;
    await meter.add(file.size);
  }
  return true;
}

async function holdsContent(path: string, { name, content }: StoredFile): Promise<boolean> {
  return (await digestOfFile(join(path, name))) === (typeof content === "string" ? content : digestOf(content));
}

/** A file of a stored release that is not as it was put there. */
export interface StoredDamage {
  /** Within `store/<hex>`. */
  readonly file: string;
  readonly problem: string;
}

/**
 * What is wrong with a release that lies in the site's store, `layout` and `release` being read from there: each
 * of its files by name, kind, size and mode, and with `onProgress` by its bytes, read in chunks; and files that
 * are not of the release. @throws LAYOUT_… if what says which files there are does not hold itself
 */
export async function storedDamage(
  directory: string,
  stored: OpenRelease,
  onProgress?: StageProgress,
): Promise<StoredDamage[]> {
  const path = storedPath(directory, stored.release.descriptor.digest);
  const sizes = declaredSizes(stored);
  const files = planFiles(stored).map((file): StoredFile => ({ ...file, size: sizes.get(file.content) ?? file.size }));
  const damage = files.flatMap((file) => {
    const problem = outerProblem(path, file);
    return problem === undefined ? [] : [{ file: file.name, problem }];
  });
  const names = new Set(files.map(({ name }) => name));
  const foreign = filesIn(path).filter((name) => !names.has(name));
  damage.push(...foreign.map((file) => ({ file, problem: "it is not of the release" })));
  if (!onProgress) return damage;
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  const meter = new Meter((done) => onProgress(done, totalBytes));
  for (const file of files) {
    if (!damage.some((one) => one.file === file.name) && !(await holdsContent(path, file))) {
      damage.push({ file: file.name, problem: "its bytes are not the ones that were put there" });
    }
    await meter.add(file.size);
  }
  return damage;
}

/** As the release's manifests have them: what a file that was cut off cannot say itself. */
function declaredSizes({ release }: OpenRelease): ReadonlyMap<StoredFile["content"], number> {
  const entries = [release.document, ...release.images.values(), ...release.files.values()];
  const descriptors = entries.flatMap(({ descriptor, manifest }) => [descriptor, manifest.config, ...manifest.layers]);
  return new Map([release.descriptor, ...descriptors].map(({ digest, size }) => [digest, size]));
}

/** What can be seen of a file without reading it; undefined if it is as it was put there. */
function outerProblem(path: string, { name, size, mode }: StoredFile): string | undefined {
  const stat = lstatSync(join(path, name), { throwIfNoEntry: false });
  if (!stat) return "it is not there";
  if (!stat.isFile()) return "it is not a regular file";
  if (stat.size !== size) return `got ${stat.size} bytes, want ${size}`;
  const got = stat.mode & 0o777;
  return got === mode ? undefined : `got mode ${got.toString(8)}, want ${mode.toString(8)}`;
}

/**
 * Names of the carried files of a stored release whose bytes are not the release's any more, or cannot be
 * read. Containers mount these files, so nobody else checks what they read.
 */
export async function damagedFiles(directory: string, { descriptor, files }: BundleRelease): Promise<string[]> {
  const path = storedPath(directory, descriptor.digest);
  const damaged: string[] = [];
  for (const [file, { manifest }] of files) {
    for (const { digest } of manifest.layers) {
      if ((await digestOfFile(join(path, blobName(digest)))) !== digest) damaged.push(file);
    }
  }
  return damaged;
}

/** The blobs of the releases that are there already. */
class Neighbours {
  readonly #directories: readonly string[];

  constructor(directory: string) {
    this.#directories = storedReleases(directory).map((release) => storedPath(directory, release));
  }

  /** Paths at which a file of this name, size and mode lies. Nobody has read its bytes. */
  find({ name, size, mode }: StoredFile): string[] {
    return this.#directories
      .map((directory) => join(directory, name))
      .filter((path) => {
        const stat = lstatSync(path, { throwIfNoEntry: false });
        return stat?.isFile() && stat.size === size && (stat.mode & 0o777) === mode;
      });
  }
}

/** @throws STATE_DISK_FULL if the files that have no equal neighbour do not fit */
function requireRoom(directory: string, files: readonly StoredFile[], neighbours: Neighbours): void {
  const store = join(directory, "store");
  const { bavail, bsize } = statfsSync(store);
  const need = files
    .filter((file) => neighbours.find(file).length === 0)
    .reduce((sum, { size }) => sum + Math.ceil(size / bsize) * bsize, RESERVE_BYTES);
  const free = bavail * bsize;
  if (need <= free) return;
  throw siteError("STATE_DISK_FULL", `destination ${JSON.stringify(store)}: got ${free} bytes free, want ${need}`, {
    hints: ["make room on the state directory's filesystem, then run the same command again; nothing was written"],
  });
}

async function fill(
  disk: Disk,
  staging: string,
  files: readonly StoredFile[],
  layout: Layout,
  neighbours: Neighbours,
  onBytes: (doneBytes: number) => void,
): Promise<void> {
  for (const inner of ["", "blobs", BLOBS]) makeDirectory(disk, join(staging, inner));
  const meter = new Meter(onBytes);
  for (const file of files) {
    const path = join(staging, file.name);
    const equal = typeof file.content === "string" ? await equalNeighbour(file, file.content, neighbours) : undefined;
    if (equal !== undefined && linkFile(disk, equal, path)) await meter.add(file.size);
    else await writeStreamed(disk, path, meter.over(source(layout, file)), file.mode);
  }
  for (const inner of [BLOBS, "blobs", ""]) syncNames(disk, join(staging, inner));
}

async function* source(layout: Layout, { content }: StoredFile): AsyncGenerator<Uint8Array> {
  if (typeof content !== "string") {
    yield content;
    return;
  }
  try {
    yield* layout.stream(content);
  } catch (cause) {
    if (cause instanceof SealiftError || systemCode(cause) === undefined) throw cause;
    throw layoutError("LAYOUT_UNREADABLE", `bundle ${JSON.stringify(layout.location)}: ${reasonOf(cause)}`, {
      cause,
      hints: ["the medium cannot be read there; try another copy of the bundle"],
    });
  }
}

/** A neighbour whose bytes are `digest`'s today; one that has rotted is passed over, and the bundle's copy taken. */
async function equalNeighbour(file: StoredFile, digest: Digest, neighbours: Neighbours): Promise<string | undefined> {
  for (const path of neighbours.find(file)) if ((await digestOfFile(path)) === digest) return path;
  return undefined;
}

/** Undefined if it cannot be read. */
async function digestOfFile(path: string): Promise<Digest | undefined> {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { size } = fstatSync(fd);
    const hash = createHash("sha256");
    const chunk = Buffer.allocUnsafe(HASH_BYTES);
    for (let position = 0; position < size; position += chunk.length) {
      hash.update(chunk.subarray(0, readAt(fd, chunk, position)));
      if (position % BREATH_BYTES === 0) await setImmediate();
    }
    return digestFromHex(hash.digest("hex"));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Counts bytes, and lets timers and signals through now and then. */
class Meter {
  readonly #onBytes: (doneBytes: number) => void;
  #done = 0;
  #breath = 0;

  constructor(onBytes: (doneBytes: number) => void) {
    this.#onBytes = onBytes;
  }

  async add(bytes: number): Promise<void> {
    this.#done += bytes;
    this.#onBytes(this.#done);
    if (this.#done - this.#breath < BREATH_BYTES) return;
    this.#breath = this.#done;
    await setImmediate();
  }

  async *over(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      yield chunk;
      await this.add(chunk.byteLength);
    }
  }
}

function workPath(directory: string, release: Digest, what: "staging" | "removed" | "replaced"): string {
  return join(directory, "store", `.${hexOf(release)}.${what}`);
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function names(directory: string): string[] {
  const store = join(directory, "store");
  try {
    return readdirSync(store).sort();
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return [];
    throw unreadable(store, cause);
  }
}
