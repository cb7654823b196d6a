/** Everything that is said about a part's bytes, taken while they pass once. */
import { createHash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { type DataFile, START_BYTES } from "./par2-packet.ts";

export interface PartHashes {
  /** In hexadecimal, for the list. */
  readonly sha256: string;
  readonly file: DataFile;
}

const ZEROS = Buffer.alloc(64 * 1024);

/** Takes the bytes of a part in order. Without a block size only its SHA-256 is of use. */
export class PartHasher {
  readonly #blockBytes: number;
  readonly #sha256 = createHash("sha256");
  readonly #whole = createHash("md5");
  readonly #start = createHash("md5");
  readonly #blocks: { md5: Buffer; crc: number }[] = [];
  #block: Hash = createHash("md5");
  #crc = 0;
  #inBlock = 0;
  #size = 0;

  constructor(blockBytes: number | undefined) {
    this.#blockBytes = blockBytes ?? 0;
  }

  update(bytes: Buffer): void {
    this.#sha256.update(bytes);
    if (this.#blockBytes > 0) this.#updateBlocks(bytes);
    this.#size += bytes.length;
  }

  #updateBlocks(bytes: Buffer): void {
    this.#whole.update(bytes);
    if (this.#size < START_BYTES) this.#start.update(bytes.subarray(0, START_BYTES - this.#size));
    for (let done = 0; done < bytes.length; ) {
      const run = bytes.subarray(done, done + this.#blockBytes - this.#inBlock);
      this.#addToBlock(run);
      done += run.length;
    }
  }

  #addToBlock(bytes: Buffer): void {
    this.#block.update(bytes);
    this.#crc = crc32(bytes, this.#crc);
    this.#inBlock += bytes.length;
    if (this.#inBlock < this.#blockBytes) return;
    this.#blocks.push({ md5: this.#block.digest(), crc: this.#crc });
    this.#block = createHash("md5");
    this.#crc = 0;
    this.#inBlock = 0;
  }

  end(name: string): PartHashes {
    while (this.#inBlock > 0) this.#addToBlock(ZEROS.subarray(0, this.#blockBytes - this.#inBlock));
    return {
      sha256: this.#sha256.digest("hex"),
      file: {
        name,
        size: this.#size,
        md5: this.#whole.digest(),
        md5OfStart: this.#start.digest(),
        blocks: this.#blocks,
      },
    };
  }
}
