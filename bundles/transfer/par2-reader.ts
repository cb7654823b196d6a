/**
 * Reads what is left of PAR2 files. They come from a medium, so nothing in them is believed but what its own
 * hash bears out, and names and sizes are checked against the parts that they claim to describe. Memory does not
 * depend on them, and time on no more than how long they are. Nobody could gain by a false one more than wrong
 * bytes, which `verify` refuses.
 */
import { closeSync, statSync } from "node:fs";
import { layoutError } from "../layout/error.ts";
import { type FoundFile, openPart, type PartsFound, partName } from "../layout/parts.ts";
import { readAt } from "../layout/read-at.ts";
import { CONSTANTS_MAX, GROUP_ORDER } from "./gf16.ts";
import type { Block } from "./multiply.ts";
import {
  HEADER_BYTES,
  md5,
  nextMagic,
  PACKET_TYPES,
  type ParitySet,
  parseHeader,
  parseSet,
  RECOVERY_HEADER_BYTES,
} from "./par2-packet.ts";
import { hashOfOpen } from "./parity-files.ts";

/** The largest packet that is no recovery block: it lists 32,768 blocks. */
const SMALL_MAX_BYTES = 1024 * 1024;
const SEARCH_BYTES = 1024 * 1024;
/** Kept of all packets that are no recovery blocks: a set of most parts and blocks has 2 MiB. */
const KEPT_MAX_BYTES = 16 * 1024 * 1024;
/** Kept of all packets: there are at most 65,535 recovery blocks and 999 parts. */
const PACKETS_MAX = 2 ** 17;
const SETS_MAX = 16;
/** How often all of a file may be hashed in vain. A damaged packet costs its length, and what follows it is whole. */
const VAIN_TIMES = 4;
/** What blocks may come to, filled up with zeros, for each byte that is here: a part less than there are of 999. */
const BLOCKS_PER_BYTE = 64;

export interface ParityFound {
  readonly set: ParitySet;
  /** Whole recovery blocks by exponent. */
  readonly recovery: ReadonlyMap<number, Block>;
  /** By path of a parity file, the exponents of its whole blocks. */
  readonly exponents: ReadonlyMap<string, ReadonlySet<number>>;
  close(): void;
}

/** The packets of one set. */
class SetPackets {
  main: Buffer | undefined;
  readonly files = new Map<string, Buffer>();
  readonly blocks = new Map<string, Buffer>();
  readonly recovery = new Map<number, Block>();
  readonly exponents = new Map<string, Set<number>>();
}

/**
 * All packets that were found, each once, up to bounds that no set reaches: what a hostile file has beyond them is
 * passed over.
 */
class Found {
  readonly sets = new Map<string, SetPackets>();
  #packets = 0;
  #bytes = 0;

  /** The set with this id; undefined if it is one too many. */
  set(id: Buffer): SetPackets | undefined {
    const key = id.toString("hex");
    const known = this.sets.get(key);
    if (known || this.sets.size >= SETS_MAX) return known;
    const set = new SetPackets();
    this.sets.set(key, set);
    return set;
  }

  /** Whether one more packet may be kept, of which `bytes` stay in memory. Counts it if so. */
  takes(bytes: number): boolean {
    if (this.#packets >= PACKETS_MAX || this.#bytes + bytes > KEPT_MAX_BYTES) return false;
    this.#packets += 1;
    this.#bytes += bytes;
    return true;
  }
}

/**
 * What the parity files beside the parts still say; undefined if nothing that helps. The caller closes it.
 * @throws PARTS_MIXED if they belong to more than one bundle or to other parts
 */
export function readParity(found: PartsFound): ParityFound | undefined {
  const opened: number[] = [];
  const close = (): void => {
    for (const fd of opened) closeSync(fd);
  };
  try {
    const packets = new Found();
    let bytes = 0;
    for (const file of found.parity) {
      try {
        const { fd, size } = openPart(file.path);
        opened.push(fd);
        bytes += size;
        scan(fd, size, file, packets);
      } catch {
        // A medium that cannot be read on: what was found before counts.
      }
    }
    const parsed = [...packets.sets.values()].flatMap((one) => {
      const set = one.main && parseSet(one.main, one.files, one.blocks);
      return set ? [{ set, packets: one }] : [];
    });
    const [first, other] = parsed;
    if (!first) {
      close();
      return undefined;
    }
    if (other) throw mixed(found, "parity files of more than one set");
    requireOwnNames(found, first.set);
    requireOwnSize(found, first.set, bytes);
    const { recovery, exponents } = first.packets;
    const fitting = [...recovery].filter(([, { length }]) => length === first.set.blockBytes);
    return { set: first.set, recovery: new Map(fitting), exponents, close };
  } catch (cause) {
    close();
    throw cause;
  }
}

function requireOwnNames({ name, count, ...found }: PartsFound, { files, blockBytes }: ParitySet): void {
  const wanted = new Set(files.map((_, i) => partName(name, i + 1, files.length).toLowerCase()));
  const named = new Set(files.map((file) => file.name.toLowerCase()));
  const isOther = count > 0 && count !== files.length;
  if (isOther || named.size !== files.length || [...named].some((file) => !wanted.has(file))) {
    throw mixed({ name, count, ...found }, "parity files of other parts");
  }
  const blocks = files.reduce((sum, { size }) => sum + Math.ceil(size / blockBytes), 0);
  if (blocks > CONSTANTS_MAX) throw mixed({ name, count, ...found }, `parity files for ${blocks} blocks`);
}

/** Otherwise the zeros that fill up blocks would be hashed for ever. @throws PARTS_MIXED */
function requireOwnSize(found: PartsFound, { files, blockBytes }: ParitySet, parityBytes: number): void {
  const partBytes = [...found.parts.values()].reduce((sum, { path }) => sum + sizeOf(path), 0);
  if (files.length * blockBytes <= BLOCKS_PER_BYTE * (partBytes + parityBytes)) return;
  throw mixed(found, `parity files for blocks of ${blockBytes} bytes`);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function mixed({ name }: PartsFound, got: string): Error {
  return layoutError("PARTS_MIXED", `media parts of ${JSON.stringify(name)}: got ${got}, want those of these parts`, {
    hints: ["take away the .par2 files that belong to something else"],
  });
}

function scan(fd: number, size: number, file: FoundFile, found: Found): void {
  const stretch = new Stretch(fd, Math.min(size, SEARCH_BYTES));
  let vainBytes = 0;
  for (let position = 0; position + HEADER_BYTES <= size && vainBytes <= VAIN_TIMES * size; ) {
    const header = stretch.at(position, RECOVERY_HEADER_BYTES);
    const { length, isWhole } = readPacket(fd, size, position, header, file, found);
    if (!isWhole) vainBytes += length;
    position = isWhole ? position + length : (stretch.nextMagic(position + 1) ?? size);
  }
}

/** The packet at `position`: how many bytes were hashed to see whether it is whole; none if there is none. */
function readPacket(
  fd: number,
  size: number,
  position: number,
  header: Buffer,
  file: FoundFile,
  found: Found,
): { readonly length: number; readonly isWhole: boolean } {
  const packet = parseHeader(header);
  const none = { length: 0, isWhole: false };
  if (!packet || packet.length > size - position) return none;
  const isRecovery = packet.type === PACKET_TYPES.recovery;
  if (isRecovery ? packet.length <= RECOVERY_HEADER_BYTES : packet.length > SMALL_MAX_BYTES) return none;
  const { length } = packet;
  const bytes = isRecovery ? undefined : Buffer.alloc(length);
  if (bytes) readAt(fd, bytes, position);
  const hash = bytes ? md5(bytes.subarray(32)) : hashOfOpen(fd, "md5", position + 32, length - 32);
  if (!hash.equals(packet.hash)) return { length, isWhole: false };
  const set = found.set(packet.set);
  if (set && bytes) addSmall(set, packet, bytes.subarray(HEADER_BYTES), found);
  else if (set) {
    const block = { fd, position: position + RECOVERY_HEADER_BYTES, length: length - RECOVERY_HEADER_BYTES };
    addRecovery(set, block, header.readUInt32LE(HEADER_BYTES), file, found);
  }
  return { length, isWhole: true };
}

function addSmall(
  set: SetPackets,
  { type, set: id }: { readonly type: string; readonly set: Buffer },
  body: Buffer,
  found: Found,
): void {
  if (type === PACKET_TYPES.main) {
    if (!set.main && md5(body).equals(id) && found.takes(body.length)) set.main = body;
    return;
  }
  const bodies = type === PACKET_TYPES.file ? set.files : type === PACKET_TYPES.blocks ? set.blocks : undefined;
  const file = body.subarray(0, 16).toString("hex");
  if (bodies && !bodies.has(file) && found.takes(body.length)) bodies.set(file, body);
}

function addRecovery(set: SetPackets, block: Block, exponent: number, { path }: FoundFile, found: Found): void {
  const exponents = set.exponents.get(path) ?? new Set();
  if (exponent >= GROUP_ORDER || exponents.has(exponent) || !found.takes(0)) return;
  set.recovery.set(exponent, block);
  set.exponents.set(path, exponents.add(exponent));
}

/** What was read last of a file, so that looking for packets reads it once. */
class Stretch {
  readonly #fd: number;
  readonly #bytes: Buffer;
  #start = 0;
  #end = 0;

  constructor(fd: number, bytes: number) {
    this.#fd = fd;
    this.#bytes = Buffer.allocUnsafe(bytes);
  }

  /** `length` bytes, or fewer at the end of the file; good until the next call. */
  at(position: number, length: number): Buffer {
    if (position < this.#start || position + length > this.#end) {
      this.#start = position;
      this.#end = position + readAt(this.#fd, this.#bytes, position);
    }
    return this.#bytes.subarray(position - this.#start, Math.min(position + length, this.#end) - this.#start);
  }

  /** Where the next packet could begin, not before `position`. */
  nextMagic(position: number): number | undefined {
    const MAGIC_BYTES = 8;
    for (let at = position; this.at(at, MAGIC_BYTES).length === MAGIC_BYTES; at = this.#end - MAGIC_BYTES + 1) {
      const index = nextMagic(this.at(at, this.#end - at), 0);
      if (index >= 0) return at + index;
    }
    return undefined;
  }
}
