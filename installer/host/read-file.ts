/** Small files that a person names: read whole, bounded, with an error that says which one. */
import { closeSync, openSync, readSync } from "node:fs";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

const CHUNK_BYTES = 1024 * 1024;

/** @throws FILE_NOT_FOUND | FILE_UNREADABLE, the latter also for more than `maxBytes` bytes. */
export async function readBoundedFile(path: string, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  readInChunks(path, (chunk) => {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    if (size > maxBytes) throw new RangeError(`larger than ${maxBytes} bytes`);
  });
  return Buffer.concat(chunks);
}

/**
 * Gives all bytes of a file, or of a pipe, in order; each chunk is good until `onChunk` returns. Waits for
 * them: streams would take longer to load than a small file to read.
 * @throws FILE_NOT_FOUND | FILE_UNREADABLE, the latter also for what `onChunk` throws
 */
export function readInChunks(path: string, onChunk: (chunk: Buffer) => void): void {
  try {
    const file = openSync(path, "r");
    try {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      for (let got = readSync(file, buffer); got > 0; got = readSync(file, buffer)) onChunk(buffer.subarray(0, got));
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const hints =
      missing && path.startsWith("sha256:") ? ["a digest is sha256: and 64 lower-case hexadecimal digits"] : [];
    const code = missing ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
    throw installerError(code, `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause, hints });
  }
}
