/**
 * One writer for a log's directory, also when two containers share it. Node has no call for file locks;
 * SQLite, which is inside Node, takes the kernel's (fcntl) on a file of no content. The kernel gives it to
 * one process of one machine, whatever containers they are in, and takes it back however that process
 * ends: nothing can be stale. The directory must be on a local filesystem.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

const SQLITE_BUSY = 5;

export class DirectoryLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** The lock of `directory`, or undefined if somebody has it. Never waits. */
  static tryTake(directory: string): DirectoryLock | undefined {
    const database = new DatabaseSync(join(directory, "lock"), { timeout: 0 });
    try {
      // Writes nothing: an exclusive transaction takes its lock when it begins.
      database.exec("BEGIN EXCLUSIVE");
      return new DirectoryLock(database);
    } catch (cause) {
      database.close();
      if ((cause as { errcode?: unknown }).errcode === SQLITE_BUSY) return undefined;
      throw cause;
    }
  }

  release(): void {
    this.#database.close();
  }
}
