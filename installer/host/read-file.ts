/** Small files that a person names: read whole, bounded, with an error that says which one. */
import { open } from "node:fs/promises";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

/** @throws FILE_NOT_FOUND | FILE_UNREADABLE, the latter also for more than `maxBytes` bytes. */
export async function readBoundedFile(path: string, maxBytes: number): Promise<Buffer> {
  try {
    const file = await open(path, "r");
    try {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of file.createReadStream({ autoClose: false })) {
        chunks.push(chunk as Buffer);
        size += (chunk as Buffer).length;
        if (size > maxBytes) throw new RangeError(`larger than ${maxBytes} bytes`);
      }
      return Buffer.concat(chunks);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
    throw installerError(code, `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}
