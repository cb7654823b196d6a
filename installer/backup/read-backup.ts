/**
 * Reads a backup into a directory and believes nothing of it: only what its manifest names, in that order, each with
 * its size and digest; an audit log's tiles by the log's own signed root, once all of them are there.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type Digest, digestFromHex } from "../../bundles/model/digest.ts";
import { parseLogKey } from "../audit/checkpoint.ts";
import { closedEpochPath, verifyEpochs } from "../audit/epochs.ts";
import { type Disk, makeDirectory, readStateFile, syncNames, writeStreamed } from "../site/disk.ts";
import { openSealed } from "./age-file.ts";
import {
  AUDIT_LOG,
  type BackupManifest,
  MANIFEST_MAX_BYTES,
  MANIFEST_PATH,
  parseBackupManifest,
  WITHOUT_LOG,
} from "./backup-manifest.ts";
import { backupError } from "./error.ts";
import { isLogMember } from "./log-members.ts";
import { isMemberPath, memberBytes, type TarMember, TarReader } from "./tar-stream.ts";

/** A file that has more bytes than it can need is not what it says. */
const TILE_MAX_BYTES = 256 * (2 + 65_535);
const KEY_MAX_BYTES = 4096;

/** A backup whose manifest was read; the rest follows with `unpack`, once. */
export interface OpenedBackup {
  readonly path: string;
  readonly manifest: BackupManifest;
  /**
   * Writes all of it below `directory`, which must be there and empty, private and durable.
   * @throws BACKUP_DAMAGED | BACKUP_TRUNCATED | BACKUP_MALFORMED | STATE_DISK_FULL | AUDIT_… of its audit log
   */
  unpack(disk: Disk, directory: string, onProgress?: (done: number, all: number) => void): Promise<void>;
  /** Instead of `unpack`. */
  close(): Promise<void>;
}

/**
 * Opens `path` as far as its manifest. @throws BACKUP_UNREADABLE | BACKUP_MALFORMED | BACKUP_KEY_WRONG |
 * BACKUP_TOO_NEW | BACKUP_DAMAGED | BACKUP_TRUNCATED
 */
export async function openBackup(path: string, identities: readonly string[]): Promise<OpenedBackup> {
  const { plain, plainBytes } = await openSealed(path, identities);
  const source = plain[Symbol.asyncIterator]();
  const reader = new TarReader({ [Symbol.asyncIterator]: () => source });
  const close = async (): Promise<void> => void (await source.return?.());
  try {
    const first = await reader.next();
    if (first?.path !== MANIFEST_PATH || first.size > MANIFEST_MAX_BYTES) {
      throw backupError("BACKUP_MALFORMED", `${JSON.stringify(path)}: it does not begin with a manifest`);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of reader.content()) chunks.push(chunk);
    const manifest = parseBackupManifest(Buffer.concat(chunks));
    requireWhole(path, plainBytes, memberBytes(first.size) + manifest.restBytes);
    requireClosed(manifest);
    return {
      path,
      manifest,
      close,
      unpack: (disk, directory, onProgress = () => {}) =>
        new Unpacking(disk, directory, manifest, onProgress).run(reader),
    };
  } catch (cause) {
    await close();
    throw cause;
  }
}

/** Said at once, and not after an hour of reading. */
function requireWhole(path: string, got: number | undefined, want: number): void {
  if (got === want) return;
  const name = JSON.stringify(path);
  const hints = ["copy it again from where it was kept"];
  if (got === undefined || got < want) {
    const what = got === undefined ? "not a whole number of chunks" : `got ${got} bytes inside, want ${want}`;
    throw backupError("BACKUP_TRUNCATED", `${name}: it is cut off: ${what}`, { hints });
  }
  throw backupError("BACKUP_MALFORMED", `${name}: got ${got} bytes inside, want ${want}`, { hints });
}

/** The manifest names no path twice, none outside, no log without its parts, and none where it says that there is none. */
function requireClosed({ kind, files, logs }: BackupManifest): void {
  if (kind === WITHOUT_LOG && logs.length > 0) {
    throw backupError("BACKUP_MALFORMED", "the backup's manifest: an audit log in a backup without one");
  }
  const paths = new Set<string>([MANIFEST_PATH]);
  for (const { path } of files) {
    const isTile = logs.some((log) => path.startsWith(`${log.path}/tile/`));
    if (!isMemberPath(path) || paths.has(path) || isTile) {
      throw backupError("BACKUP_MALFORMED", `the backup's manifest: file ${JSON.stringify(path)}`);
    }
    paths.add(path);
  }
  for (const [i, { path }] of logs.entries()) {
    const isNext = path === (i === 0 ? AUDIT_LOG : closedEpochPath(AUDIT_LOG, i));
    if (isNext && paths.has(`${path}/checkpoint`) && paths.has(`${path}/key.pub`)) continue;
    throw backupError("BACKUP_MALFORMED", `the backup's manifest: ${path} without its checkpoint and key`);
  }
}

class Unpacking {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #manifest: BackupManifest;
  readonly #onProgress: (done: number, all: number) => void;
  readonly #made = new Set<string>();
  readonly #tiles = new Set<string>();
  #done = 0;

  constructor(
    disk: Disk,
    directory: string,
    manifest: BackupManifest,
    onProgress: (done: number, all: number) => void,
  ) {
    this.#disk = disk;
    this.#directory = directory;
    this.#manifest = manifest;
    this.#onProgress = onProgress;
  }

  async run(reader: TarReader): Promise<void> {
    for (const file of this.#manifest.files) {
      const member = await reader.next();
      const { path, size, mode, uid, digest } = file;
      if (member?.path !== path || member.size !== size || member.mode !== mode || member.uid !== uid) {
        throw backupError("BACKUP_MALFORMED", `got ${describe(member)}, want ${path} of ${size} bytes`);
      }
      const got = await this.#write(member, reader);
      if (got !== digest) {
        throw backupError("BACKUP_DAMAGED", `${path}: got ${got}, want ${digest}`, {
          hints: ["it was damaged before it was sealed: restore from another backup"],
        });
      }
    }
    for (let member = await reader.next(); member; member = await reader.next()) {
      if (!this.#isTile(member)) throw backupError("BACKUP_MALFORMED", `got ${describe(member)}, want a log's tile`);
      await this.#write(member, reader);
    }
    for (const directory of this.#made) syncNames(this.#disk, join(this.#directory, directory));
    syncNames(this.#disk, this.#directory);
    if (this.#manifest.logs.length > 0) this.#requireLogs();
  }

  /** A tile that one of the logs has up to its checkpoint, and that is not there yet: the root says what is in it. */
  #isTile({ path, size }: TarMember): boolean {
    const log = this.#manifest.logs.findLast((one) => path.startsWith(`${one.path}/tile/`));
    if (!log || size > TILE_MAX_BYTES || this.#tiles.has(path)) return false;
    this.#tiles.add(path);
    return isLogMember(path.slice(log.path.length + 1), log.size);
  }

  async #write(member: TarMember, reader: TarReader): Promise<Digest> {
    const parts = member.path.split("/").slice(0, -1);
    for (const [i] of parts.entries()) this.#makeDirectory(parts.slice(0, i + 1).join("/"));
    const hash = createHash("sha256");
    const chunks = async function* (onBytes: (count: number) => void): AsyncGenerator<Uint8Array> {
      for await (const chunk of reader.content()) {
        hash.update(chunk);
        onBytes(chunk.length);
        yield chunk;
      }
    };
    const count = (bytes: number): void => {
      this.#done += bytes;
      this.#onProgress(Math.min(this.#done, this.#manifest.restBytes), this.#manifest.restBytes);
    };
    await writeStreamed(this.#disk, join(this.#directory, member.path), chunks(count), 0o600);
    return digestFromHex(hash.digest("hex"));
  }

  #makeDirectory(path: string): void {
    if (this.#made.has(path)) return;
    makeDirectory(this.#disk, join(this.#directory, path));
    this.#made.add(path);
  }

  /** Each epoch, and that each continues the one before. @throws AUDIT_… | BACKUP_MALFORMED if they are others than the manifest's */
  #requireLogs(): void {
    const directory = join(this.#directory, AUDIT_LOG);
    const pem = readStateFile(join(directory, "key.pub"), KEY_MAX_BYTES) ?? Buffer.alloc(0);
    const present = verifyEpochs(directory, { key: parseLogKey(pem.toString("utf8"), `${AUDIT_LOG}/key.pub`) });
    const found = [present, ...present.closed.toReversed()];
    const { logs } = this.#manifest;
    for (const [i, { path, origin, size, root }] of logs.entries()) {
      const log = found[i];
      if (log?.origin === origin && log.entries === size && log.root === root) continue;
      const got = log ? `${log.entries} entries, root ${log.root}` : "no such epoch";
      throw backupError("BACKUP_MALFORMED", `${path}: got ${got}; want ${size}, ${root}`);
    }
    if (found.length > logs.length) {
      throw backupError("BACKUP_MALFORMED", `audit log: got ${found.length} epochs, want ${logs.length}`);
    }
  }
}

function describe(member: TarMember | undefined): string {
  return member ? `${member.path} of ${member.size} bytes` : "the end";
}

/** The log's own directory in what was unpacked, if the appliance has one. */
export function unpackedLog(directory: string, { logs }: BackupManifest): string | undefined {
  return logs.length > 0 ? join(directory, AUDIT_LOG) : undefined;
}
