/**
 * Small files that lie where somebody else put them: beside a bundle, in a directory on a medium. Nobody named them, so
 * a link is not followed: it could lead to any file of this host, whose first bytes would stand in a report. And nothing
 * is waited for: a medium can hold a pipe.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

/** @throws an error of the system or one that says why, without the path */
export function readRegularFile(path: string, maxBytes: number): Buffer {
  const fd = openRegularFile(path);
  try {
    const { size } = fstatSync(fd);
    if (size > maxBytes) throw new RangeError(`larger than ${maxBytes} bytes`);
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(fd, buffer, 0, size, 0));
  } finally {
    closeSync(fd);
  }
}

function openRegularFile(path: string): number {
  const fd = open(path);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new TypeError("not a regular file");
}

function open(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (cause) {
    const isLink = (cause as NodeJS.ErrnoException).code === "ELOOP";
    throw isLink ? new TypeError("a link, which is not followed", { cause }) : cause;
  }
}
