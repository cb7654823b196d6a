/** Writes to the log's directory that are on stable storage when they return. Tests put a failing one beneath. */
import { type FileHandle, mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface LogDisk {
  /** All of `bytes`, on stable storage when it resolves if `file` was opened with O_DSYNC. */
  write(file: FileHandle, bytes: Uint8Array, position: number): Promise<void>;
  sync(file: FileHandle): Promise<void>;
}

export const hostDisk: LogDisk = {
  async write(file, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  },
  sync: (file) => file.sync(),
};

export async function syncDirectory(disk: LogDisk, path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await disk.sync(directory);
  } finally {
    await directory.close();
  }
}

async function createFile(disk: LogDisk, path: string, bytes: Uint8Array): Promise<FileHandle> {
  const file = await open(path, "w", 0o640);
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
  await rename(temporary, path);
  await syncDirectory(disk, dirname(path));
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
    await mkdir(join(root, directory), { recursive: true, mode: 0o750 });
    for (let above = directory; above !== "."; above = dirname(above)) directories.add(above);
  }
  for (let at = 0; at < files.length; at += FILES_MAX) await writeGroup(disk, root, files.slice(at, at + FILES_MAX));
  for (const directory of directories) await syncDirectory(disk, join(root, directory));
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
