/** Where a blob's bytes come from while a bundle is written: a file, memory, a registry, another layout. */
import { createReadStream } from "node:fs";
import { type Digest, digestOf } from "../model/digest.ts";

export interface BlobSource {
  readonly digest: Digest;
  readonly size: number;
  /** Opened once. The writer checks digest and size; a source need not. */
  open(): AsyncIterable<Uint8Array>;
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
