import { readSync } from "node:fs";

/** Fills `buffer` from `position` of an open file; gives how many bytes there were, fewer only at its end. */
export function readAt(fd: number, buffer: Uint8Array, position: number): number {
  let done = 0;
  while (done < buffer.byteLength) {
    const got = readSync(fd, buffer, done, buffer.byteLength - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
