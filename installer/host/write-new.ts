/** Files that a person asked for, which never replace another. */
import { open, rm } from "node:fs/promises";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

/**
 * Readable by all unless `mode` says otherwise, and on the disk when this returns; whole or not there.
 * @throws FILE_WRITE_FAILED, also if it exists
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
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, {
      cause,
      hints: exists ? ["choose another name: what is there is never written over"] : [],
    });
  }
}
