/** Where a blob's bytes come from while a bundle is written: a file, memory, a registry, another layout. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type Digest, digestFromHex, digestOf } from "../model/digest.ts";
import { layoutError } from "./error.ts";

export interface BlobSource {
  readonly digest: Digest;
  readonly size: number;
  /** Opened once. The writer checks digest and size; a source need not. */
  open(): AsyncIterable<Uint8Array>;
}

/**
 * The bytes of `blob`, of which never more come than it said, and which end only if they are the right ones.
 * @throws LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH
 */
export async function* checkedBytes(blob: BlobSource): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of blob.open()) {
    size += chunk.byteLength;
    if (size > blob.size) break;
    hash.update(chunk);
    yield chunk;
  }
  if (size !== blob.size) {
    const got = size > blob.size ? "more" : `${size} bytes`;
    throw layoutError("LAYOUT_SIZE_MISMATCH", `blob ${blob.digest} on source: got ${got}, want ${blob.size} bytes`);
  }
  const got = digestFromHex(hash.digest("hex"));
  if (got !== blob.digest) {
    throw layoutError("LAYOUT_DIGEST_MISMATCH", `blob ${blob.digest} on source: got ${got} after ${size} bytes`);
  }
}

export function blobFromBytes(bytes: Uint8Array): BlobSource {
  return {
    digest: digestOf(bytes),
    size: bytes.byteLength,
    async *open() {
      yield bytes;
    },
  };
}

export function blobFromFile(path: string, digest: Digest, size: number): BlobSource {
  return { digest, size, open: () => createReadStream(path, { highWaterMark: 1024 * 1024 }) };
}
