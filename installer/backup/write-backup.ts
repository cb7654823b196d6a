/** Writes a backup: one file, sealed, that appears under its name when all of it is on stable storage. */
import { createHash } from "node:crypto";
import { accessSync, constants, createReadStream, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestFromHex } from "../../bundles/model/digest.ts";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { type Disk, hostDisk } from "../site/disk.ts";
import { sealed } from "./age-file.ts";
import {
  type BackupFile,
  type BackupManifest,
  MANIFEST_PATH,
  parseBackupManifest,
  WITHOUT_LOG,
} from "./backup-manifest.ts";
import { backupError } from "./error.ts";
import { END_BYTES, memberBytes, tarEnd, tarMember } from "./tar-stream.ts";

/** A file that goes in, and where its bytes are. */
export interface BackupSource {
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly content: () => AsyncIterable<Uint8Array>;
}

/** What is put into a backup. Both are gone through twice: once to be named and counted, once to be written. */
export interface BackupContent {
  readonly files: readonly BackupSource[];
  /** Not named in the manifest: each audit log's own root names its tiles. */
  readonly tiles: () => Iterable<BackupSource>;
  /** What the manifest says besides. */
  readonly about: Omit<BackupManifest, "files" | "restBytes">;
}

export interface WriteOptions {
  readonly recipients: readonly string[];
  readonly onProgress?: (doneBytes: number, allBytes: number) => void;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk;
}

export interface WrittenBackup {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
  readonly manifest: BackupManifest;
}

export function fileSource(root: string, file: Omit<BackupSource, "content">): BackupSource {
  return { ...file, content: () => createReadStream(join(root, file.path)) };
}

export function bytesSource(path: string, bytes: Uint8Array, mode = 0o600): BackupSource {
  const content = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes;
  };
  return { path, size: bytes.length, mode, uid: 0, content };
}

/** Bytes that the tar will have, but for its manifest: what must fit where it is written. */
export function contentBytes({ files, tiles }: Pick<BackupContent, "files" | "tiles">): number {
  let bytes = END_BYTES;
  for (const { size } of files) bytes += memberBytes(size);
  for (const { size } of tiles()) bytes += memberBytes(size);
  return bytes;
}

const SUFFIX = ".tar.age";
/** One that was cut off. */
const UNFINISHED = ".new";

function prefixOf(siteId: string): string {
  return `sealift-${siteId}-`;
}

/**
 * `sealift-<site>-20261121T180500Z.tar.age`: by their names they are in the order of their times. One without an audit
 * log is called otherwise, so that nobody and no `--keep` takes it for the newest whole one.
 */
export function backupName({ siteId, created, kind }: Pick<BackupManifest, "siteId" | "created" | "kind">): string {
  const time = `${created.slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
  const name = `${prefixOf(siteId)}${time}${SUFFIX}`;
  return kind === WITHOUT_LOG ? `without-audit-log-${name}` : name;
}

/** Names of this site's whole backups in `directory`, newest first. */
export function backupsIn(directory: string, siteId: string): string[] {
  const time = /^\d{8}T\d{6}Z$/;
  return readdirSync(directory)
    .filter((name) => name.startsWith(prefixOf(siteId)) && name.endsWith(SUFFIX))
    .filter((name) => time.test(name.slice(prefixOf(siteId).length, -SUFFIX.length)))
    .sort()
    .reverse();
}

/** That a backup can be written there, before an hour of dumps. @throws BACKUP_WRITE_FAILED */
export function requireDirectory(directory: string): void {
  guarded(directory, () => {
    accessSync(directory, constants.W_OK | constants.X_OK);
    if (!statSync(directory).isDirectory()) throw new TypeError("not a directory");
  });
}

/**
 * Removes all but `keep` backups of this site: `made`, which was written just now, and the newest of the others by their
 * names. A clock that went wrong once has left one from the future, which must not cost the one that is right.
 * Returns the names of those that went. @throws BACKUP_WRITE_FAILED
 */
export function removeOldBackups(
  { path: made, manifest: { siteId } }: Pick<WrittenBackup, "path" | "manifest">,
  keep: number,
  disk = hostDisk,
): string[] {
  const directory = dirname(made);
  const others = backupsIn(directory, siteId).filter((name) => name !== basename(made));
  const old = others.slice(keep - 1);
  for (const name of old) guarded(join(directory, name), () => disk.unlink(join(directory, name)));
  if (old.length > 0) guarded(directory, () => syncDirectory(disk, directory));
  return old;
}

/**
 * Writes `content` as a new file in `directory`. Whatever goes wrong nothing of it is left; what a killed run left
 * of this site's is removed first. @throws FILE_EXISTS for a backup of this second | BACKUP_WRITE_FAILED, and what
 * reading `content` throws
 */
export async function writeBackup(
  directory: string,
  content: BackupContent,
  options: WriteOptions,
): Promise<WrittenBackup> {
  const { siteId } = content.about;
  const { disk = hostDisk } = options;
  const name = backupName(content.about);
  const path = join(directory, name);
  guarded(directory, () => removeUnfinished(disk, directory, siteId));
  if (readdirSync(directory).includes(name)) throw fileExists(path);
  const unfinished = join(directory, `.${name}${UNFINISHED}`);
  const manifest: BackupManifest = {
    ...content.about,
    files: await named(content.files, options.signal),
    restBytes: contentBytes(content),
  };
  // What could not be restored is not written either.
  parseBackupManifest(canonicalJson(manifest));
  try {
    const { size, digest } = await writeSealed(disk, unfinished, tar(manifest, content, options), options.recipients);
    guarded(path, () => {
      disk.rename(unfinished, path);
      syncDirectory(disk, directory);
    });
    return { path, size, digest, manifest };
  } catch (cause) {
    // The first error is the one to tell; what is left over goes with the next backup.
    removeIfThere(disk, unfinished);
    throw cause;
  }
}

async function named(files: readonly BackupSource[], signal: AbortSignal | undefined): Promise<BackupFile[]> {
  const found: BackupFile[] = [];
  for (const { path, size, mode, uid, content } of files) {
    signal?.throwIfAborted();
    const hash = createHash("sha256");
    for await (const chunk of content()) hash.update(chunk);
    found.push({ path, size, digest: digestFromHex(hash.digest("hex")), mode, uid });
  }
  return found;
}

async function* tar(
  manifest: BackupManifest,
  { files, tiles }: BackupContent,
  { onProgress = () => {}, signal }: WriteOptions,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      signal?.throwIfAborted();
      done += chunk.length;
      onProgress(done, manifest.restBytes);
      yield chunk;
    }
  };
  yield* member(bytesSource(MANIFEST_PATH, canonicalJson(manifest)));
  for (const [i, file] of files.entries()) yield* counted(member(file, manifest.files[i]));
  for (const tile of tiles()) yield* counted(member(tile));
  yield tarEnd();
}

/** `named` is what the manifest said of it a moment ago. */
async function* member(source: BackupSource, named?: BackupFile): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  const content = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of source.content()) {
      hash.update(chunk);
      yield chunk;
    }
  };
  yield* tarMember(source, content());
  if (named && named.digest !== digestFromHex(hash.digest("hex"))) {
    throw backupError("BACKUP_WRITE_FAILED", `source ${JSON.stringify(source.path)}: it changed while it was read`);
  }
}

/** Readable by root alone, and on stable storage when this returns, but not its name. */
async function writeSealed(
  disk: Disk,
  path: string,
  plain: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
): Promise<{ readonly size: number; readonly digest: Digest }> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = guarded(path, () => disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  const hash = createHash("sha256");
  let size = 0;
  try {
    for await (const chunk of sealed(recipients, plain)) {
      hash.update(chunk);
      for (let at = 0; at < chunk.length; ) {
        at += guarded(path, () => disk.write(fd, chunk.subarray(at), size + at));
      }
      size += chunk.length;
    }
    guarded(path, () => disk.sync(fd));
  } finally {
    disk.close(fd);
  }
  return { size, digest: digestFromHex(hash.digest("hex")) };
}

function removeUnfinished(disk: Disk, directory: string, siteId: string): void {
  const left = readdirSync(directory).filter(
    (name) => name.startsWith(".") && name.includes(prefixOf(siteId)) && name.endsWith(`${SUFFIX}${UNFINISHED}`),
  );
  for (const name of left) disk.unlink(join(directory, name));
}

function removeIfThere(disk: Disk, path: string): void {
  try {
    disk.unlink(path);
  } catch {}
}

function syncDirectory(disk: Disk, directory: string): void {
  const fd = disk.open(directory, constants.O_RDONLY | constants.O_DIRECTORY, 0);
  try {
    disk.sync(fd);
  } finally {
    disk.close(fd);
  }
}

const MORE_ROOM = "give --out a directory on a file system with more room; nothing of this backup was left";
const WRITE_HINTS: Readonly<Partial<Record<string, string>>> = {
  ENOSPC: MORE_ROOM,
  EDQUOT: MORE_ROOM,
  EFBIG: "the file system of --out holds no file of this size (FAT32: 4 GiB); format the medium as ext4 or exFAT",
};

function guarded<Value>(path: string, work: () => Value): Value {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
    const hint = WRITE_HINTS[(cause as NodeJS.ErrnoException).code ?? ""];
    throw backupError("BACKUP_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, {
      cause,
      hints: hint === undefined ? [] : [hint],
    });
  }
}
