/**
 * A caged process that hashes: reads runs of bytes from inherited file descriptors and answers with
 * their SHA-256. One task a line in (HashTask of hash-tasks.ts), one line out: the digest, or `short` if
 * bytes are missing.
 *
 * JavaScript, alone in this project: several hashers start for each verification, and loading Node's type
 * stripper takes each of them longer than hashing 60 MB.
 */
import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { createInterface } from "node:readline";

/** Large enough that the system call does not matter, small enough for the processor's cache. */
const CHUNK_BYTES = 1024 * 1024;
const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);

/** @param {import("./hash-tasks.ts").HashTask} task */
function hash(task) {
  const sha256 = createHash("sha256");
  for (const { fd, position, length } of task.extents) {
    for (let done = 0; done < length; ) {
      const got = readSync(fd, chunk, 0, Math.min(CHUNK_BYTES, length - done), position + done);
      if (got === 0) return "short";
      sha256.update(got === CHUNK_BYTES ? chunk : chunk.subarray(0, got));
      done += got;
    }
  }
  return `sha256:${sha256.digest("hex")}`;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${hash(JSON.parse(line))}\n`);
}
