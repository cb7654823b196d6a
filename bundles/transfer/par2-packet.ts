/**
 * The packets of a PAR2 file ("Parity Volume Set Specification 2.0"), written and read. A file is a row of
 * packets in any order; each says by MD5 whether it is whole, so damage costs the packets that it hit.
 * All numbers are little-endian.
 */
import { createHash, type Hash } from "node:crypto";

const MAGIC = Buffer.from("PAR2\0PKT", "latin1");
export const HEADER_BYTES = 64;
const HASHED_FROM = 32;

export const PACKET_TYPES = {
  main: "PAR 2.0\0Main\0\0\0\0",
  file: "PAR 2.0\0FileDesc",
  blocks: "PAR 2.0\0IFSC\0\0\0\0",
  recovery: "PAR 2.0\0RecvSlic",
  creator: "PAR 2.0\0Creator\0",
} as const;
export type PacketType = keyof typeof PACKET_TYPES;

/** MD5 is what the format has; it finds accidents and proves nothing. */
export function md5(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("md5");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A data file of the set: here a media part. */
export interface DataFile {
  readonly name: string;
  readonly size: number;
  readonly md5: Buffer;
  /** Of the first 16 KiB, or all if there are fewer. */
  readonly md5OfStart: Buffer;
  /** MD5 and CRC-32 of each block, the last one filled up with zeros. */
  readonly blocks: readonly { readonly md5: Buffer; readonly crc: number }[];
}
export const START_BYTES = 16 * 1024;

/** What every PAR2 file of a set says besides its recovery blocks. `files` are in the order in which blocks are numbered. */
export interface ParitySet {
  readonly blockBytes: number;
  readonly files: readonly DataFile[];
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** With zeros to a multiple of four. */
function padded(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}

function fileId({ name, size, md5OfStart }: DataFile): Buffer {
  return md5(md5OfStart, u64(size), Buffer.from(name, "latin1"));
}

/** In the order that the format demands: by file id, as a little-endian number. */
export function inSetOrder(files: readonly DataFile[]): DataFile[] {
  const key = (file: DataFile): string => fileId(file).reverse().toString("hex");
  return files.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function mainBody({ blockBytes, files }: ParitySet): Buffer {
  return Buffer.concat([u64(blockBytes), u32(files.length), ...files.map(fileId)]);
}

export function setId(set: ParitySet): Buffer {
  return md5(mainBody(set));
}

function header(set: Buffer, type: PacketType, bodyBytes: number, hash: Buffer): Buffer {
  return Buffer.concat([MAGIC, u64(HEADER_BYTES + bodyBytes), hash, set, Buffer.from(PACKET_TYPES[type], "latin1")]);
}

function packet(set: Buffer, type: PacketType, body: Buffer): Buffer {
  const hash = md5(set, Buffer.from(PACKET_TYPES[type], "latin1"), body);
  return Buffer.concat([header(set, type, body.length, hash), body]);
}

/** The packets that every PAR2 file of the set carries, so that one whole file is enough. */
export function renderSet(set: ParitySet): Buffer {
  const id = setId(set);
  const files = set.files.flatMap((file) => [
    packet(id, "file", Buffer.concat([fileId(file), file.md5, file.md5OfStart, u64(file.size), padded(file.name)])),
    packet(id, "blocks", Buffer.concat([fileId(file), ...file.blocks.flatMap((block) => [block.md5, u32(block.crc)])])),
  ]);
  return Buffer.concat([packet(id, "main", mainBody(set)), ...files, packet(id, "creator", padded("Sealift"))]);
}

/** How long `renderSet` is, from sizes alone. */
export function setBytes(nameBytes: number, files: number, blocks: number): number {
  const name = Math.ceil(nameBytes / 4) * 4;
  const main = HEADER_BYTES + 12 + 16 * files;
  return main + files * (2 * HEADER_BYTES + 72 + name) + files * 16 + 20 * blocks + HEADER_BYTES + 8;
}

/** Before the bytes of a recovery block: the header and the exponent. */
export const RECOVERY_HEADER_BYTES = HEADER_BYTES + 4;

/** A hash that the block's bytes are to be added to, and what to write before them when it is known. */
export function recoveryPacket(
  id: Buffer,
  exponent: number,
  blockBytes: number,
): { readonly hash: Hash; render(hash: Buffer): Buffer } {
  const hash = createHash("md5");
  hash.update(id).update(Buffer.from(PACKET_TYPES.recovery, "latin1")).update(u32(exponent));
  return {
    hash,
    render: (digest) => Buffer.concat([header(id, "recovery", 4 + blockBytes, digest), u32(exponent)]),
  };
}

/** The first 64 bytes of a packet; undefined if they are none. */
export function parseHeader(
  bytes: Buffer,
): { readonly length: number; readonly hash: Buffer; readonly set: Buffer; readonly type: string } | undefined {
  if (!bytes.subarray(0, 8).equals(MAGIC)) return undefined;
  const length = bytes.readBigUInt64LE(8);
  if (length < HEADER_BYTES || length > Number.MAX_SAFE_INTEGER || length % 4n !== 0n) return undefined;
  return {
    length: Number(length),
    hash: Buffer.from(bytes.subarray(16, 32)),
    set: Buffer.from(bytes.subarray(HASHED_FROM, 48)),
    type: bytes.subarray(48, HEADER_BYTES).toString("latin1"),
  };
}

/** Where the next packet could begin in `bytes` from `from`; -1 if nowhere. */
export function nextMagic(bytes: Buffer, from: number): number {
  return bytes.indexOf(MAGIC, from);
}

/**
 * The set that the bodies of whole packets of one set describe; undefined if they lack something or
 * contradict each other. What the files are called is not checked.
 */
export function parseSet(
  main: Buffer,
  files: ReadonlyMap<string, Buffer>,
  blocks: ReadonlyMap<string, Buffer>,
): ParitySet | undefined {
  if (main.length < 12) return undefined;
  const blockBytes = Number(main.readBigUInt64LE(0));
  const count = main.readUInt32LE(8);
  if (blockBytes < 4 || blockBytes % 4 !== 0 || !Number.isSafeInteger(blockBytes)) return undefined;
  if (count === 0 || main.length !== 12 + 16 * count) return undefined;
  const found: DataFile[] = [];
  for (let i = 0; i < count; i++) {
    const id = main.subarray(12 + 16 * i, 28 + 16 * i).toString("hex");
    const file = parseFile(files.get(id), blocks.get(id), blockBytes);
    if (!file) return undefined;
    found.push(file);
  }
  return { blockBytes, files: found };
}

function parseFile(body: Buffer | undefined, blocks: Buffer | undefined, blockBytes: number): DataFile | undefined {
  if (!body || !blocks || body.length < 56) return undefined;
  const size = Number(body.readBigUInt64LE(48));
  const count = Math.ceil(size / blockBytes);
  if (!Number.isSafeInteger(size) || blocks.length !== 16 + 20 * count) return undefined;
  return {
    name: body.subarray(56).toString("latin1").replace(/\0+$/, ""),
    size,
    md5: Buffer.from(body.subarray(16, 32)),
    md5OfStart: Buffer.from(body.subarray(32, 48)),
    blocks: Array.from({ length: count }, (_, i) => ({
      md5: Buffer.from(blocks.subarray(16 + 20 * i, 32 + 20 * i)),
      crc: blocks.readUInt32LE(32 + 20 * i),
    })),
  };
}
