/** A snapshot of OSV as a person names it: a file, or a directory of files and archives. */
import { closeSync, createReadStream, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { readAt } from "../../bundles/layout/read-at.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { sbomError } from "../error.ts";
import { byText } from "../generate/catalog.ts";
import type { RandomAccess } from "../zip-reader.ts";
import type { SnapshotFile, SnapshotSource, SnapshotText } from "./snapshot.ts";
import { snapshotKindOf } from "./snapshot-kind.ts";

const FILES_MAX = 2_000_000;

/** @throws SCAN_DATABASE_NOT_FOUND | SCAN_DATABASE_UNREADABLE. Reads no file yet. */
export function snapshotOnDisk(path: string): SnapshotSource {
  try {
    const isDirectory = statSync(path).isDirectory();
    const files = isDirectory ? directoryFiles(path) : [fileAt(path, basename(path))];
    return { location: path, isDirectory, files };
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw sbomError(
      missing ? "SCAN_DATABASE_NOT_FOUND" : "SCAN_DATABASE_UNREADABLE",
      `vulnerability records ${JSON.stringify(path)}: ${reasonOf(cause)}`,
      { cause, hints: missing ? ["--db names a directory, a zip or a tar of OSV records"] : [] },
    );
  }
}

function directoryFiles(root: string): SnapshotFile[] {
  const names = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, "/").length))
    .sort(byText);
  if (names.length > FILES_MAX) throw new RangeError(`got ${names.length} files, want at most ${FILES_MAX}`);
  return names.map((name) => fileAt(join(root, name), name));
}

function fileAt(path: string, name: string): SnapshotFile {
  return {
    name,
    kind: snapshotKindOf(path),
    stream: () => createReadStream(path, { highWaterMark: 64 * 1024 }),
    withRandomAccess: (use) => withOpenFile(path, use),
  };
}

async function* withOpenFile(
  path: string,
  use: (bytes: RandomAccess) => AsyncGenerator<SnapshotText>,
): AsyncGenerator<SnapshotText> {
  const fd = openSync(path, "r");
  try {
    yield* use({
      size: fstatSync(fd).size,
      read: (offset, length, room) => {
        const buffer = room?.subarray(0, length) ?? Buffer.allocUnsafe(length);
        if (readAt(fd, buffer, offset) !== length) {
          throw new RangeError("the file became shorter while it was read");
        }
        return buffer;
      },
    });
  } finally {
    closeSync(fd);
  }
}
