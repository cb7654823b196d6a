/**
 * Every write of media parts goes through here, so that tests can let any one of them fail. A file grows as
 * `<path>.partial` and takes its name when it is complete and on stable storage.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { reasonOf, SealiftError } from "../model/sealift-error.ts";
import { transferError } from "./error.ts";

/** The system calls that change a disk. Each throws a Node system error. */
export interface PartsDisk {
  create(path: string): number;
  /** All of `bytes`. */
  write(fd: number, bytes: Uint8Array, position: number): void;
  truncate(fd: number, size: number): void;
  sync(fd: number): void;
  rename(from: string, to: string): void;
}

export function writeAt(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(fd, bytes, done, bytes.byteLength - done, position + done);
  }
}

export const hostPartsDisk: PartsDisk = {
  create: (path) => {
    // Whatever a medium has under this name, a device of this machine perhaps: it is not written into.
    rmSync(path, { force: true });
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o644);
  },
  write: writeAt,
  truncate: ftruncateSync,
  sync: fsyncSync,
  rename: renameSync,
};

const SUFFIX = ".partial";

/** A file that has not its name yet. */
export class PartialFile {
  readonly path: string;
  readonly fd: number;
  readonly #disk: PartsDisk;
  #isOpen = true;

  /** @throws PARTS_WRITE_FAILED */
  constructor(disk: PartsDisk, path: string) {
    this.path = path;
    this.#disk = disk;
    this.fd = guard(path, () => disk.create(`${path}${SUFFIX}`));
  }

  write(bytes: Uint8Array, position: number): void {
    guard(this.path, () => this.#disk.write(this.fd, bytes, position));
  }

  /** To exactly `size` bytes, on stable storage and under its name; then closed. */
  finish(size: number): void {
    guard(this.path, () => {
      if (fstatSync(this.fd).size !== size) this.#disk.truncate(this.fd, size);
      this.#disk.sync(this.fd);
      this.#disk.rename(`${this.path}${SUFFIX}`, this.path);
      this.#isOpen = false;
      closeSync(this.fd);
      const directory = openSync(dirname(this.path), constants.O_RDONLY);
      try {
        this.#disk.sync(directory);
      } finally {
        closeSync(directory);
      }
    });
  }

  /** Away with it; after `finish` nothing. */
  discard(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.fd);
    rmSync(`${this.path}${SUFFIX}`, { force: true });
  }
}

/** Runs `work`; a system error becomes PARTS_WRITE_FAILED, or PARTS_DISK_FULL, and names `path`. */
export function guard<Value>(path: string, work: () => Value): Value {
  try {
    return work();
  } catch (cause) {
    throw writeFailed(path, cause);
  }
}

export function writeFailed(path: string, cause: unknown): unknown {
  if (cause instanceof SealiftError) return cause;
  const full = ["ENOSPC", "EDQUOT"].includes((cause as NodeJS.ErrnoException).code ?? "");
  return transferError(
    full ? "PARTS_DISK_FULL" : "PARTS_WRITE_FAILED",
    `media parts: destination ${JSON.stringify(path)}: ${reasonOf(cause)}`,
    {
      cause,
      hints: ["make room or choose another directory, then run the same command again: it goes on where it was"],
    },
  );
}

/** @throws PARTS_DISK_FULL if `directory`'s file system has less than `bytes` free */
export function requireRoom(directory: string, bytes: number): void {
  const { bavail, bsize } = guard(directory, () => statfsSync(directory));
  const free = bavail * bsize;
  if (bytes <= free) return;
  throw transferError(
    "PARTS_DISK_FULL",
    `media parts: destination ${JSON.stringify(directory)}: got ${free} bytes free, want ${bytes}`,
    { hints: ["make room or choose another directory; nothing was written"] },
  );
}
