/** Files that a person asked for, which never replace another. */
import { open } from "node:fs/promises";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

/** Readable by all unless `mode` says otherwise, and on the disk when this returns. @throws FILE_WRITE_FAILED, also if it exists */
export async function writeNew(path: string, bytes: Uint8Array, mode = 0o644): Promise<void> {
  try {
    const file = await open(path, "wx", mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}
