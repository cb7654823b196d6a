/**
 * Writes a bundle's tar in one pass: each blob once, straight from its source, in constant memory. The
 * file grows under `<path>.partial` beside its destination and takes its name only when it is complete
 * and on stable storage, so a name without `.partial` never stands for half a bundle.
 */

import { copyFile, type FileHandle, constants as fsConstants, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { digestOf } from "../model/digest.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { type BlobSource, checkedBytes } from "./blob-source.ts";
import { layoutError } from "./error.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE, LAYOUT_FILE_BYTES } from "./layout.ts";
import { BLOCK_BYTES, paddedSize, renderEnd, renderHeader } from "./tar-format.ts";

export interface WriteProgress {
  /** Called after each chunk with the bytes written so far to the whole file. */
  readonly onBytes?: (writtenBytes: number) => void;
}

export class BundleWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #onBytes: (writtenBytes: number) => void;
  #position: number;

  private constructor(path: string, file: FileHandle, position: number, progress: WriteProgress) {
    this.#path = path;
    this.#file = file;
    this.#position = position;
    this.#onBytes = progress.onBytes ?? (() => {});
  }

  /** Starts an empty bundle that will be called `path`. @throws LAYOUT_WRITE_FAILED */
  static async create(path: string, progress: WriteProgress = {}): Promise<BundleWriter> {
    const file = await openPartial(path);
    const writer = new BundleWriter(path, file, 0, progress);
    await writer.#guard(() => writer.#writeFile(LAYOUT_FILE, LAYOUT_FILE_BYTES));
    return writer;
  }

  /**
   * Starts a bundle that begins with the first `keepBytes` bytes of the bundle `from`: a new file that
   * shares storage with the old one where the file system can (reflink), and else a copy.
   */
  static async continueFrom(
    from: string,
    keepBytes: number,
    path: string,
    progress: WriteProgress = {},
  ): Promise<BundleWriter> {
    try {
      await copyFile(from, partialName(path), fsConstants.COPYFILE_FICLONE);
      const file = await open(partialName(path), "r+");
      await file.truncate(keepBytes);
      return new BundleWriter(path, file, keepBytes, progress);
    } catch (cause) {
      await rm(partialName(path), { force: true });
      throw writeFailed(path, cause);
    }
  }

  /**
   * Appends one blob; the caller keeps the order of contents.ts.
   * @throws LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH if the source does not give what it said; the
   * bundle is then discarded.
   */
  async writeBlob(blob: BlobSource): Promise<void> {
    await this.#guard(async () => {
      await this.#write(renderHeader(blobName(blob.digest), blob.size));
      for await (const chunk of checkedBytes(blob)) await this.#write(chunk);
      await this.#write(Buffer.alloc(paddedSize(blob.size) - blob.size));
    });
  }

  async writeBytes(bytes: Buffer): Promise<void> {
    await this.#guard(() => this.#writeFile(blobName(digestOf(bytes)), bytes));
  }

  /** Writes `index.json` and the end, and gives the bundle its name. @throws LAYOUT_WRITE_FAILED */
  async finish(indexFile: Buffer): Promise<void> {
    await this.#guard(async () => {
      await this.#writeFile(INDEX_FILE, indexFile);
      await this.#write(renderEnd());
      await this.#file.sync();
      await this.#file.close();
      await rename(partialName(this.#path), this.#path);
      const directory = await open(dirname(this.#path), "r");
      await directory.sync().finally(() => directory.close());
    });
  }

  /** Removes the unfinished file; the destination stays as it was. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => {});
    await rm(partialName(this.#path), { force: true });
  }

  async #writeFile(name: string, bytes: Buffer): Promise<void> {
    await this.#write(renderHeader(name, bytes.length));
    await this.#write(bytes);
    await this.#write(Buffer.alloc(paddedSize(bytes.length) - bytes.length));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.byteLength) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.byteLength - done, this.#position);
      done += bytesWritten;
      this.#position += bytesWritten;
    }
    this.#onBytes(this.#position);
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      await this.discard();
      throw cause instanceof Error && cause.name === "SealiftError" ? cause : writeFailed(this.#path, cause);
    }
  }
}

/** Where the blobs of signature objects begin in a bundle: the size of everything before them. */
export function sizeBeforeSignatures(fileSizes: readonly number[]): number {
  return fileSizes.reduce((sum, size) => sum + BLOCK_BYTES + paddedSize(size), 0);
}

function partialName(path: string): string {
  return `${path}.partial`;
}

async function openPartial(path: string): Promise<FileHandle> {
  try {
    return await open(partialName(path), "w", 0o644);
  } catch (cause) {
    throw writeFailed(path, cause);
  }
}

function writeFailed(path: string, cause: unknown): Error {
  const full = (cause as NodeJS.ErrnoException).code === "ENOSPC";
  return layoutError("LAYOUT_WRITE_FAILED", `bundle ${JSON.stringify(path)} on destination: ${reasonOf(cause)}`, {
    cause,
    hints: full ? ["free space on the destination's disk; nothing was left behind"] : [],
  });
}
