/**
 * Reads what is left of PAR2 files. They come from a medium, so nothing in them is believed but what its own
 * hash bears out, names and sizes are checked against the parts that they claim to describe, and memory does
 * not depend on them. Nobody could gain by a false one more than wrong bytes, which `verify` refuses.
 */
import { closeSync } from "node:fs";
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

export interface ParityFound {
  readonly set: ParitySet;
  /** Whole recovery blocks by exponent. */
  readonly recovery: ReadonlyMap<number, Block>;
  /** By path of a parity file, the exponents of its whole blocks. */
  readonly exponents: ReadonlyMap<string, readonly number[]>;
  close(): void;
}

/** The packets of one set. */
class SetPackets {
  main: Buffer | undefined;
  readonly files = new Map<string, Buffer>();
  readonly blocks = new Map<string, Buffer>();
  readonly recovery = new Map<number, Block>();
  readonly exponents = new Map<string, number[]>();
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
    const sets = new Map<string, SetPackets>();
    for (const file of found.parity) {
      try {
        const { fd, size } = openPart(file.path);
        opened.push(fd);
        scan(fd, size, file, sets);
      } catch {
        // A medium that cannot be read on: what was found before counts.
      }
    }
    const parsed = [...sets.values()].flatMap((packets) => {
      const set = packets.main && parseSet(packets.main, packets.files, packets.blocks);
      return set ? [{ set, packets }] : [];
    });
    const [first, other] = parsed;
    if (!first) {
      close();
      return undefined;
    }
    if (other) throw mixed(found, "parity files of more than one set");
    requireOwnNames(found, first.set);
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

function mixed({ name }: PartsFound, got: string): Error {
  return layoutError("PARTS_MIXED", `media parts of ${JSON.stringify(name)}: got ${got}, want those of these parts`, {
    hints: ["take away the .par2 files that belong to something else"],
  });
}

function scan(fd: number, size: number, file: FoundFile, sets: Map<string, SetPackets>): void {
  for (let position = 0; position + HEADER_BYTES <= size; ) {
    const length = readPacket(fd, size, position, file, sets);
    if (length > 0) position += length;
    else position = findMagic(fd, size, position + 1);
  }
}

/** The length of the whole packet at `position`; 0 if there is none. */
function readPacket(
  fd: number,
  size: number,
  position: number,
  file: FoundFile,
  sets: Map<string, SetPackets>,
): number {
  const header = Buffer.alloc(RECOVERY_HEADER_BYTES);
  readAt(fd, header, position);
  const packet = parseHeader(header);
  if (!packet || packet.length > size - position) return 0;
  const isRecovery = packet.type === PACKET_TYPES.recovery;
  if (!isRecovery && packet.length > SMALL_MAX_BYTES) return 0;
  const bytes = isRecovery ? undefined : Buffer.alloc(packet.length);
  if (bytes) readAt(fd, bytes, position);
  const hash = bytes ? md5(bytes.subarray(32)) : hashOfOpen(fd, "md5", position + 32, packet.length - 32);
  if (!hash.equals(packet.hash)) return 0;
  const key = packet.set.toString("hex");
  const set = sets.get(key) ?? new SetPackets();
  sets.set(key, set);
  if (bytes) addSmall(set, packet, bytes.subarray(HEADER_BYTES));
  else addRecovery(set, fd, position, packet.length, header.readUInt32LE(HEADER_BYTES), file);
  return packet.length;
}

function addSmall(
  set: SetPackets,
  { type, set: id }: { readonly type: string; readonly set: Buffer },
  body: Buffer,
): void {
  const file = body.subarray(0, 16).toString("hex");
  if (type === PACKET_TYPES.main && md5(body).equals(id)) set.main = body;
  if (type === PACKET_TYPES.file) set.files.set(file, body);
  if (type === PACKET_TYPES.blocks) set.blocks.set(file, body);
}

function addRecovery(
  set: SetPackets,
  fd: number,
  position: number,
  length: number,
  exponent: number,
  { path }: FoundFile,
): void {
  if (exponent >= GROUP_ORDER) return;
  const block = { fd, position: position + RECOVERY_HEADER_BYTES, length: length - RECOVERY_HEADER_BYTES };
  set.recovery.set(exponent, block);
  set.exponents.set(path, [...(set.exponents.get(path) ?? []), exponent]);
}

/** Where the next packet could begin; the end of the file if nowhere. */
function findMagic(fd: number, size: number, from: number): number {
  const MAGIC_BYTES = 8;
  const chunk = Buffer.allocUnsafe(SEARCH_BYTES);
  for (let position = from; position < size; position += SEARCH_BYTES - MAGIC_BYTES) {
    const got = chunk.subarray(0, readAt(fd, chunk, position));
    const at = nextMagic(got, 0);
    if (at >= 0) return position + at;
  }
  return size;
}
