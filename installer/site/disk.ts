/**
 * Every write of the site's state goes through here, so that "durable" is said once: a temporary file on
 * the same filesystem, fsync, rename, fsync of the directory. Files are small and calls are synchronous:
 * the order of the system calls is the order of the lines. Tests put a failing `Disk` beneath.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { siteError } from "./error.ts";

/** The system calls that change a disk. Each throws a Node system error. */
export interface Disk {
  open(path: string, flags: number, mode: number): number;
  /** May write less than all of `bytes`. */
  write(fd: number, bytes: Uint8Array, position: number): number;
  truncate(fd: number, size: number): void;
  chmod(fd: number, mode: number): void;
  chown(fd: number, uid: number, gid: number): void;
  sync(fd: number): void;
  close(fd: number): void;
  rename(from: string, to: string): void;
  /** A second name for the file `existing`. */
  link(existing: string, path: string): void;
  unlink(path: string): void;
  mkdir(path: string, mode: number): void;
  rmdir(path: string): void;
}

export const hostDisk: Disk = {
  open: openSync,
  write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
  truncate: ftruncateSync,
  chmod: fchmodSync,
  chown: fchownSync,
  sync: fsyncSync,
  close: closeSync,
  rename: renameSync,
  link: linkSync,
  unlink: unlinkSync,
  mkdir: (path, mode) => void mkdirSync(path, { mode }),
  rmdir: rmdirSync,
};

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY, O_DIRECTORY } = constants;

export function systemCode(cause: unknown): string | undefined {
  return (cause as NodeJS.ErrnoException | undefined)?.code;
}

const FULL = ["ENOSPC", "EDQUOT"];
const REFUSED = ["EACCES", "EPERM"];

/** Root is refused by a disk, anybody else by whom the state belongs to. */
function isOthers(cause: unknown): boolean {
  return REFUSED.includes(systemCode(cause) ?? "") && process.geteuid?.() !== 0;
}

function notRoot(what: string, cause: unknown): SealiftError {
  const hints = ["the site's state belongs to root: run this as root"];
  return siteError("STATE_NOT_ROOT", `${what}: ${reasonOf(cause)}`, { cause, hints });
}

/** What a system error is that came of reading `path`: STATE_NOT_ROOT or STATE_UNREADABLE. */
export function unreadable(path: string, cause: unknown): SealiftError {
  const what = `source ${JSON.stringify(path)}`;
  if (isOthers(cause)) return notRoot(what, cause);
  return siteError("STATE_UNREADABLE", `${what}: ${reasonOf(cause)}`, { cause });
}

/** Runs `work`; a system error becomes STATE_NOT_ROOT, STATE_DISK_FULL or STATE_WRITE_FAILED and names `path`. */
function guard<Value>(path: string, work: () => Value): Value {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof SealiftError || !systemCode(cause)) throw cause;
    const what = `destination ${JSON.stringify(path)}`;
    if (isOthers(cause)) throw notRoot(what, cause);
    if (!FULL.includes(systemCode(cause) as string)) {
      throw siteError("STATE_WRITE_FAILED", `${what}: ${reasonOf(cause)}`, { cause });
    }
    throw siteError("STATE_DISK_FULL", `${what}: ${reasonOf(cause)}`, {
      cause,
      hints: ["make room on the state directory's filesystem, then run the same command again"],
    });
  }
}

function writeAll(disk: Disk, fd: number, bytes: Uint8Array, position: number): void {
  for (let written = 0; written < bytes.length; ) {
    written += disk.write(fd, bytes.subarray(written), position + written);
  }
}

/** Puts the names in a directory on stable storage. @throws STATE_WRITE_FAILED */
export function syncNames(disk: Disk, path: string): void {
  guard(path, () => syncDirectory(disk, path));
}

function syncDirectory(disk: Disk, path: string): void {
  const fd = disk.open(path, O_RDONLY | O_DIRECTORY, 0);
  try {
    disk.sync(fd);
  } finally {
    disk.close(fd);
  }
}

function setMode(disk: Disk, directory: string, mode: number): void {
  const fd = disk.open(directory, O_RDONLY | O_DIRECTORY, 0);
  try {
    disk.chmod(fd, mode);
  } finally {
    disk.close(fd);
  }
}

function removeIfThere(disk: Disk, path: string): void {
  try {
    disk.unlink(path);
  } catch (cause) {
    if (systemCode(cause) !== "ENOENT") throw cause;
  }
}

/** The name that a file has until it is whole. Only the holder of the site's lock writes, so one is enough. */
function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.new`);
}

/** Makes whatever `make` puts at a temporary name appear at `path` in one step, durably. */
function appear(disk: Disk, path: string, make: (temporary: string) => void): void {
  guard(path, () => {
    const temporary = temporaryName(path);
    removeIfThere(disk, temporary);
    try {
      make(temporary);
      disk.rename(temporary, path);
    } catch (cause) {
      // The first error is the one to tell; what is left over is removed by the next writer.
      try {
        disk.unlink(temporary);
      } catch {}
      throw cause;
    }
    syncDirectory(disk, dirname(path));
  });
}

/**
 * Replaces or creates `path`: after a crash at any point it holds the old bytes or the new ones. Once this
 * returns the new ones survive a power cut. `mode` holds whatever the umask is; `owner` is user and group,
 * and needs root. @throws STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function writeWhole(disk: Disk, path: string, bytes: Uint8Array, mode = 0o600, owner?: number): void {
  appear(disk, path, (temporary) => {
    const fd = disk.open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      if (owner !== undefined) disk.chown(fd, owner, owner);
      if (mode !== 0o600) disk.chmod(fd, mode);
      writeAll(disk, fd, bytes, 0);
      disk.sync(fd);
    } finally {
      disk.close(fd);
    }
  });
}

/**
 * Writes a new file at `path` from a stream and puts its bytes, not its name, on stable storage: `syncNames`
 * does that once for a whole directory. When anything fails a part of it is left, so write into a directory
 * that is removed or renamed as a whole. `mode` holds whatever the umask is.
 * @throws STATE_WRITE_FAILED | STATE_DISK_FULL and what `chunks` throws
 */
export async function writeStreamed(
  disk: Disk,
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  mode: number,
): Promise<void> {
  const fd = guard(path, () => disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  try {
    let size = 0;
    for await (const chunk of chunks) {
      guard(path, () => writeAll(disk, fd, chunk, size));
      size += chunk.byteLength;
    }
    guard(path, () => {
      disk.chmod(fd, mode);
      disk.sync(fd);
    });
  } finally {
    disk.close(fd);
  }
}

/** What a filesystem says that cannot give this file another name; a copy does as well. */
const NO_LINK = ["EMLINK", "EXDEV", "EPERM", "ENOTSUP", "EOPNOTSUPP"];

/**
 * Gives the file `existing` the name `path` too, which must be free. False where the filesystem cannot.
 * The name is not on stable storage before `syncNames`. @throws STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function linkFile(disk: Disk, existing: string, path: string): boolean {
  return guard(path, () => {
    try {
      disk.link(existing, path);
      return true;
    } catch (cause) {
      if (NO_LINK.includes(systemCode(cause) ?? "")) return false;
      throw cause;
    }
  });
}

/**
 * Removes `path` and what a crash in `writeWhole` may have left of it. Nothing if it, or its directory, is
 * not there. @throws STATE_WRITE_FAILED
 */
export function removeDurably(disk: Disk, path: string): void {
  guard(path, () => {
    try {
      for (const one of [temporaryName(path), path]) removeIfThere(disk, one);
      syncDirectory(disk, dirname(path));
    } catch (cause) {
      if (systemCode(cause) !== "ENOENT") throw cause;
    }
  });
}

/**
 * Removes a directory and all in it, following no link; nothing if it is not there. A crash leaves a part:
 * call it again, or first rename what others would miss. @throws STATE_WRITE_FAILED
 */
export function removeTree(disk: Disk, path: string): void {
  guard(path, () => {
    removeEntries(disk, path);
    syncDirectory(disk, dirname(path));
  });
}

function removeEntries(disk: Disk, path: string): void {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const inner = join(path, entry.name);
      if (entry.isDirectory()) removeEntries(disk, inner);
      else disk.unlink(inner);
    }
    disk.rmdir(path);
  } catch (cause) {
    if (systemCode(cause) !== "ENOENT") throw cause;
  }
}

/** @throws STATE_WRITE_FAILED */
export function renameDurably(disk: Disk, from: string, to: string): void {
  guard(to, () => {
    disk.rename(from, to);
    syncDirectory(disk, dirname(to));
    if (dirname(from) !== dirname(to)) syncDirectory(disk, dirname(from));
  });
}

/**
 * Creates `path` in a directory that exists; nothing but its mode if it is there. `mode` holds whatever the
 * umask is. @throws STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function makeDirectory(disk: Disk, path: string, mode = 0o700): void {
  guard(path, () => {
    try {
      disk.mkdir(path, 0o700);
    } catch (cause) {
      if (systemCode(cause) !== "EEXIST") throw cause;
    }
    if (mode !== 0o700) setMode(disk, path, mode);
    syncDirectory(disk, dirname(path));
  });
}

/**
 * A file that only grows. `append` returns when the bytes are on stable storage. When it fails they are
 * cut off again, as far as the disk still lets us, and the handle takes no more: after a failed fsync
 * nobody knows what the disk holds, only reading it again tells.
 */
export class AppendFile {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #fd: number;
  #size: number;
  #isBroken = false;

  private constructor(disk: Disk, path: string, fd: number, size: number) {
    this.#disk = disk;
    this.#path = path;
    this.#fd = fd;
    this.#size = size;
  }

  /** A new, empty file at `path`. @throws STATE_WRITE_FAILED, also if it exists */
  static create(disk: Disk, path: string): AppendFile {
    return guard(path, () => {
      const fd = disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      return AppendFile.#opened(disk, path, fd, 0, () => syncDirectory(disk, dirname(path)));
    });
  }

  /** The file at `path`, of which the first `validBytes` are kept: a torn record behind them is cut off. */
  static open(disk: Disk, path: string, validBytes: number): AppendFile {
    return guard(path, () => {
      const fd = disk.open(path, O_WRONLY | O_NOFOLLOW, 0);
      return AppendFile.#opened(disk, path, fd, validBytes, () => {
        if (fstatSync(fd).size === validBytes) return;
        disk.truncate(fd, validBytes);
        disk.sync(fd);
      });
    });
  }

  static #opened(disk: Disk, path: string, fd: number, size: number, prepare: () => void): AppendFile {
    try {
      prepare();
      return new AppendFile(disk, path, fd, size);
    } catch (cause) {
      disk.close(fd);
      throw cause;
    }
  }

  /** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
  append(bytes: Uint8Array): void {
    guard(this.#path, () => {
      if (this.#isBroken) throw siteError("STATE_WRITE_FAILED", `${JSON.stringify(this.#path)}: a write failed before`);
      try {
        writeAll(this.#disk, this.#fd, bytes, this.#size);
        this.#disk.sync(this.#fd);
        this.#size += bytes.length;
      } catch (cause) {
        this.#isBroken = true;
        try {
          this.#disk.truncate(this.#fd, this.#size);
          this.#disk.sync(this.#fd);
        } catch {}
        throw cause;
      }
    });
  }

  close(): void {
    this.#disk.close(this.#fd);
  }
}

/**
 * The bytes of a file of the state, or undefined if there is none. Follows no link and reads regular files
 * only. @throws STATE_NOT_ROOT | STATE_UNREADABLE, also for more than `maxBytes` bytes
 */
export function readStateFile(path: string, maxBytes: number): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new TypeError("not a regular file");
    if (stat.size > maxBytes) throw new RangeError(`got ${stat.size} bytes, want at most ${maxBytes}`);
    const bytes = Buffer.alloc(stat.size);
    let filled = 0;
    for (let read = -1; read !== 0 && filled < bytes.length; filled += read) {
      read = readSync(fd, bytes, filled, bytes.length - filled, filled);
    }
    return bytes.subarray(0, filled);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw unreadable(path, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
