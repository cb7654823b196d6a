/** Changes to the log's directory that are on stable storage when they return. */
import { writeSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

/** All that changes anything in the log's directory. Tests put one beneath that fails, or that loses power. */
export interface LogDisk {
  /** Flags as for open(2); a new file has mode 0640. */
  open(path: string, flags: string | number): Promise<FileHandle>;
  /** All of `bytes`, on stable storage when it resolves if `file` was opened with O_DSYNC. */
  write(file: FileHandle, bytes: Uint8Array, position: number): Promise<void>;
  /** The same in this thread, which does nothing else meanwhile. */
  writeHere(file: FileHandle, bytes: Uint8Array, position: number): void;
  /** What `file` holds, a directory's names too. */
  sync(file: FileHandle): Promise<void>;
  /** With those above it, unless it is there. */
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A file or all of a directory, unless it is not there. */
  remove(path: string): Promise<void>;
}

export const hostDisk: LogDisk = {
  open: (path, flags) => open(path, flags, 0o640),
  async write(file, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  },
  writeHere({ fd }, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd, bytes, done, bytes.length - done, position + done);
    }
  },
  sync: (file) => file.sync(),
  async makeDirectory(path) {
    await mkdir(path, { recursive: true, mode: 0o750 });
  },
  rename,
  // Node's rm holds this thread up, which a large file makes long.
  remove: (path) => unlink(path).catch(() => rm(path, { recursive: true, force: true })),
};

/** What was written to the file, or done to the names of the directory, by whomever. */
export async function syncPath(disk: LogDisk, path: string): Promise<void> {
  await syncAndClose(disk, await disk.open(path, "r"));
}

async function createFile(disk: LogDisk, path: string, bytes: Uint8Array): Promise<FileHandle> {
  const file = await disk.open(path, "w");
  try {
    await disk.write(file, bytes, 0);
    return file;
  } catch (cause) {
    await file.close();
    throw cause;
  }
}

async function syncAndClose(disk: LogDisk, file: FileHandle): Promise<void> {
  try {
    await disk.sync(file);
  } finally {
    await file.close();
  }
}

/** After a crash at any point `path` holds the old bytes or the new ones. */
export async function replaceFile(disk: LogDisk, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  await syncAndClose(disk, await createFile(disk, temporary, bytes));
  await disk.rename(temporary, path);
  await syncPath(disk, dirname(path));
}

export interface NewFile {
  /** Below the log's directory. */
  readonly path: string;
  readonly bytes: Buffer;
}

/** Open at a time. */
const FILES_MAX = 64;

/**
 * Files that nobody reads before something else names them, so that a torn one does no harm: it is
 * written again. Directories are made as needed.
 */
export async function writeNewFiles(disk: LogDisk, root: string, files: readonly NewFile[]): Promise<void> {
  const directories = new Set<string>();
  for (const { path } of files) {
    const directory = dirname(path);
    if (directories.has(directory)) continue;
    await disk.makeDirectory(join(root, directory));
    // The root too: what names the files may get out before the name of their topmost directory does.
    for (let above = directory; above !== "."; above = dirname(above)) directories.add(above);
    directories.add(".");
  }
  for (let at = 0; at < files.length; at += FILES_MAX) await writeGroup(disk, root, files.slice(at, at + FILES_MAX));
  for (const directory of directories) await syncPath(disk, join(root, directory));
}

/** All are written before the first is synced: the file system's journal is then written once, not for each. */
async function writeGroup(disk: LogDisk, root: string, files: readonly NewFile[]): Promise<void> {
  const open: FileHandle[] = [];
  try {
    for (const { path, bytes } of files) open.push(await createFile(disk, join(root, path), bytes));
    for (const file of open) await disk.sync(file);
  } finally {
    for (const file of open) await file.close();
  }
}
