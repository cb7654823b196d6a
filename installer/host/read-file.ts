/** Small files that a person names: read whole, bounded, with an error that says which one. */
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { installerError } from "../error.ts";

// An import would evaluate every member of the module: promises and streams, which verify-blob has no use for.
const { accessSync, closeSync, constants, fstatSync, openSync, readSync } = process.getBuiltinModule("node:fs");

const CHUNK_BYTES = 1024 * 1024;
/** How long a pipe may have nobody who writes to it. */
const WRITER_MS = 2000;
const PAUSE_MS = 10;

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
 * Says at once that a file is not there, where reading it comes after minutes of other work. A pipe is not touched.
 * @throws FILE_NOT_FOUND | FILE_UNREADABLE
 */
export function requireReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    throw fileError(path, cause);
  }
}

/**
 * Gives all bytes of a file, or of a pipe, in order; each chunk is good until `onChunk` returns. Waits for
 * them: streams would take longer to load than a small file to read. A pipe with no writer is given up after two
 * seconds: on a medium from outside it would hold the verb, and its Ctrl-C, for ever.
 * @throws FILE_NOT_FOUND | FILE_UNREADABLE, the latter also for what `onChunk` throws
 */
export function readInChunks(path: string, onChunk: (chunk: Buffer) => void): void {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      const read = fstatSync(file).isFIFO() ? readerOfPipe(file) : (into: Buffer) => readSync(file, into);
      for (let got = read(buffer); got > 0; got = read(buffer)) onChunk(buffer.subarray(0, got));
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw fileError(path, cause);
  }
}

function fileError(path: string, cause: unknown): Error {
  const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  const hints =
    missing && path.startsWith("sha256:") ? ["a digest is sha256: and 64 lower-case hexadecimal digits"] : [];
  const code = missing ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
  return installerError(code, `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause, hints });
}

/** Reads from a pipe that was opened without waiting: nothing there yet is not the end. */
function readerOfPipe(file: number): (into: Buffer) => number {
  const started = performance.now();
  let hasWriter = false;
  return (into) => {
    for (;;) {
      const got = readOrNothing(file, into);
      hasWriter ||= got !== 0;
      if (got !== undefined && (got > 0 || hasWriter)) return got;
      if (!hasWriter && performance.now() - started > WRITER_MS) throw new TypeError("a pipe to which nobody writes");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  };
}

/** How many bytes; undefined if somebody has the pipe open and has not written yet; 0 if nobody has. */
function readOrNothing(file: number, into: Buffer): number | undefined {
  try {
    return readSync(file, into);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
    throw cause;
  }
}
