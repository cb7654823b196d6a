/** Writes PAR2 files: what the set is, recovery blocks, and what the set is again, should the beginning be lost. */
import { createHash } from "node:crypto";
import { readAt } from "../layout/read-at.ts";
import { blockConstants, power } from "./gf16.ts";
import { type Block, multiplyBlocks } from "./multiply.ts";
import { type ParitySet, RECOVERY_HEADER_BYTES, recoveryPacket, renderSet, setId } from "./par2-packet.ts";
import { PartialFile, type PartsDisk } from "./parts-disk.ts";

const CHUNK_BYTES = 256 * 1024;

export interface WantedParity {
  readonly path: string;
  /** The exponents that it holds: `count` from `first`. */
  readonly first: number;
  readonly count: number;
}

export interface ParityOptions {
  readonly disk: PartsDisk;
  readonly onBytes: (bytes: number) => void;
}

/**
 * Makes the files of `wanted` in one pass over `data`, every block of the set in its order, and returns the
 * SHA-256 of each in hexadecimal. What is written depends on the set and the exponents alone.
 * @throws PARTS_WRITE_FAILED | PARTS_DISK_FULL; none of the files has its name then, or some have and are whole
 */
export function writeParityFiles(
  set: ParitySet,
  data: readonly Block[],
  wanted: readonly WantedParity[],
  { disk, onBytes }: ParityOptions,
): string[] {
  const description = renderSet(set);
  const step = RECOVERY_HEADER_BYTES + set.blockBytes;
  const files: PartialFile[] = [];
  try {
    for (const { path } of wanted) files.push(new PartialFile(disk, path));
    const to = wanted.flatMap(({ count }, i) =>
      Array.from({ length: count }, (_, block) => ({
        fd: (files[i] as PartialFile).fd,
        position: description.length + block * step + RECOVERY_HEADER_BYTES,
        length: set.blockBytes,
      })),
    );
    const exponents = wanted.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i));
    const constants = blockConstants(data.length);
    const factors = new Uint16Array(exponents.length * data.length);
    for (const [i, exponent] of exponents.entries()) {
      for (const [j, constant] of constants.entries()) factors[i * data.length + j] = power(constant, exponent);
    }
    const write = writerOf(files);
    multiplyBlocks({ blockBytes: set.blockBytes, from: data, to, factors }, write, onBytes);
    return wanted.map(({ first, count }, i) => {
      const file = files[i] as PartialFile;
      file.write(description, 0);
      for (let block = 0; block < count; block++) {
        writeHeader(file, set, first + block, description.length + block * step);
      }
      file.write(description, description.length + count * step);
      const hash = hashOfOpen(file.fd, "sha256", 0, 2 * description.length + count * step);
      file.finish(2 * description.length + count * step);
      return hash.toString("hex");
    });
  } catch (cause) {
    for (const file of files) file.discard();
    throw cause;
  }
}

/** Writes through the file that has the descriptor, so that what fails is said to be its. */
export function writerOf(files: readonly PartialFile[]): (fd: number, bytes: Uint8Array, position: number) => void {
  const byDescriptor = new Map(files.map((file) => [file.fd, file]));
  return (fd, bytes, position) => byDescriptor.get(fd)?.write(bytes, position);
}

function writeHeader(file: PartialFile, set: ParitySet, exponent: number, position: number): void {
  const { hash, render } = recoveryPacket(setId(set), exponent, set.blockBytes);
  for (const chunk of chunksOf(file.fd, position + RECOVERY_HEADER_BYTES, set.blockBytes)) hash.update(chunk);
  file.write(render(hash.digest()), position);
}

export function hashOfOpen(fd: number, algorithm: "md5" | "sha256", position: number, length: number): Buffer {
  const hash = createHash(algorithm);
  for (const chunk of chunksOf(fd, position, length)) hash.update(chunk);
  return hash.digest();
}

/** A chunk is good until the next one is asked for. */
export function* chunksOf(fd: number, position: number, length: number): Generator<Buffer> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, length));
  for (let done = 0; done < length; ) {
    const wanted = chunk.subarray(0, Math.min(chunk.length, length - done));
    const got = readAt(fd, wanted, position + done);
    if (got === 0) return;
    done += got;
    yield wanted.subarray(0, got);
  }
}
