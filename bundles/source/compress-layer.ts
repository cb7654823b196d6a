/** Compresses a layer's tar that came uncompressed, with the parameters of the layers that recipes make. */
import { createHash, randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress } from "node:zlib";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { evenChunks, LAYER_ZSTD_LEVEL } from "./recipe/layer.ts";

export interface CompressedLayer {
  /** Of the compressed bytes. */
  readonly digest: Digest;
  readonly size: number;
  /** Of the tar: an entry of `rootfs.diff_ids`. */
  readonly diffId: Digest;
}

/**
 * Compresses `tar`, of `sizeBytes` bytes, into the file `path`, in constant memory. For one version of
 * Node the output depends on the bytes alone: zstd's does depend on how they come in chunks, so they are
 * cut evenly first. The file is complete and
 * on stable storage before it has its name; a failure leaves nothing.
 */
export async function compressLayer(
  tar: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  path: string,
): Promise<CompressedLayer> {
  const plain = createHash("sha256");
  const packed = createHash("sha256");
  let size = 0;
  const partial = `${path}.${randomUUID()}.partial`;
  const file = await open(partial, "wx");
  try {
    await pipeline(
      async function* () {
        for await (const chunk of evenChunks(buffers(tar))) {
          plain.update(chunk);
          yield chunk;
        }
      },
      createZstdCompress({
        pledgedSrcSize: sizeBytes,
        params: { [constants.ZSTD_c_compressionLevel]: LAYER_ZSTD_LEVEL },
      }),
      async (chunks: AsyncIterable<Uint8Array>) => {
        for await (const chunk of chunks) {
          packed.update(chunk);
          size += chunk.byteLength;
          await file.writeFile(chunk);
        }
      },
    );
    await file.sync();
    await file.close();
    await rename(partial, path);
  } catch (cause) {
    await file.close().catch(() => {});
    await rm(partial, { force: true });
    throw cause;
  }
  return { digest: digestFromHex(packed.digest("hex")), size, diffId: digestFromHex(plain.digest("hex")) };
}

async function* buffers(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
