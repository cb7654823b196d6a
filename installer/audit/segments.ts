/**
 * What lies in an audit log's write-ahead segments behind its checkpoint: durable, acknowledged, and not yet
 * under a signature. The format is described in compose/services/audit/src/segment.ts.
 */
import { hash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readStateFile } from "../site/disk.ts";

const PAGE_BYTES = 4096;
const SEGMENT_MAX_BYTES = 64 * 1024 * 1024;
const MAGIC = "sealift audit segment 1\n";
const NAME_BYTES = 16;
const FRAME_HEADER_BYTES = 48;

/** How many whole entries there are from number `size` on. None of them is proven by anything. */
export function entriesBehind(directory: string, size: number): number {
  const segments = join(directory, "segments");
  if (!existsSync(segments)) return 0;
  const names = readdirSync(segments).filter((name) => /^\d{16}$/.test(name));
  const ends = names.map((name) => endOf(readStateFile(join(segments, name), SEGMENT_MAX_BYTES)));
  return Math.max(size, ...ends) - size;
}

/** The number behind that of a segment's last whole entry. */
function endOf(bytes: Buffer | undefined): number {
  if (!bytes?.subarray(0, MAGIC.length).equals(Buffer.from(MAGIC))) return 0;
  const name = bytes.subarray(MAGIC.length, MAGIC.length + NAME_BYTES);
  let end = 0;
  for (let at = PAGE_BYTES; at + FRAME_HEADER_BYTES <= bytes.length; ) {
    const body = bytes.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + bytes.readUInt32BE(at + 4));
    const hashed = hash("sha256", Buffer.concat([name, bytes.subarray(at, at + 16), body]), "buffer");
    if (!hashed.equals(bytes.subarray(at + 16, at + FRAME_HEADER_BYTES))) break;
    end = Number(bytes.readBigUInt64BE(at + 8)) + countEntries(body);
    at += Math.ceil((FRAME_HEADER_BYTES + body.length) / PAGE_BYTES) * PAGE_BYTES;
  }
  return end;
}

function countEntries(body: Buffer): number {
  let count = 0;
  for (let at = 0; at + 2 <= body.length; at += 2 + body.readUInt16BE(at)) count += 1;
  return count;
}
