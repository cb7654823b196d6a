/** PAR2 packets by hand, for files that nobody's program writes. Each is whole: its hash is right. */
import { HEADER_BYTES, md5, PACKET_TYPES, type PacketType } from "../../bundles/transfer/par2-packet.ts";

export const MAGIC = Buffer.from("PAR2\0PKT", "latin1");

export interface PacketSaid {
  readonly type: PacketType;
  readonly set: Buffer;
  readonly body: Buffer;
  /** Said in place of how long it is. */
  readonly length?: bigint;
}

export function packetOf({ type, set, body, length }: PacketSaid): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const typed = Buffer.from(PACKET_TYPES[type], "latin1");
  MAGIC.copy(header);
  header.writeBigUInt64LE(length ?? BigInt(HEADER_BYTES + body.length), 8);
  md5(set, typed, body).copy(header, 16);
  set.copy(header, 32);
  typed.copy(header, 48);
  return Buffer.concat([header, body]);
}

/** A recovery block of `bytes` for `exponent`. */
export function recoveryOf(set: Buffer, exponent: number, bytes: Buffer): Buffer {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(exponent);
  return packetOf({ type: "recovery", set, body: Buffer.concat([number, bytes]) });
}

/** Where each packet of a whole PAR2 file begins, and what it is. */
export function packetsIn(file: Buffer): { readonly at: number; readonly length: number; readonly type: PacketType }[] {
  const packets: { at: number; length: number; type: PacketType }[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at + 8));
    const typed = file.subarray(at + 48, at + HEADER_BYTES).toString("latin1");
    const type = (Object.keys(PACKET_TYPES) as PacketType[]).find((one) => PACKET_TYPES[one] === typed);
    if (!type) throw new RangeError(`a packet of another type at ${at}`);
    packets.push({ at, length, type });
    at += length;
  }
  return packets;
}
