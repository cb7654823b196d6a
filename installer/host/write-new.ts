/** Files that a person asked for: whole, or not there. */
import { lstat, open, rename, rm, writeFile } from "node:fs/promises";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

/**
 * Never replaces another. Readable by all unless `mode` says otherwise, and on the disk when this returns; whole or not there.
 * @throws FILE_EXISTS | FILE_WRITE_FAILED
 */
export async function writeNew(path: string, bytes: Uint8Array, mode = 0o644): Promise<void> {
  try {
    const file = await open(path, "wx", mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } catch (cause) {
      await rm(path, { force: true });
      throw cause;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw fileExists(path, undefined, cause);
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Replaces a file of this name, or leaves it as it was. What is there and no file is written to: a device, a pipe,
 * or what a link such as /dev/stdout leads to. @throws FILE_WRITE_FAILED
 */
export async function writeOver(path: string, text: string): Promise<void> {
  const partial = `${path}.partial`;
  try {
    const there = await lstat(path).catch(() => undefined);
    if (there && !there.isFile()) return await writeFile(path, text);
    // Nobody's link of this name is written through.
    await rm(partial, { force: true });
    await writeFile(partial, text, { flag: "wx", flush: true });
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}
