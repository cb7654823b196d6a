/**
 * A log that was restored from a backup does not go on where the backup ends: entries that came after it may have been
 * signed, and two different ones at one place would be a fork. It begins anew as another log, with another key and
 * name, and its first entry commits to the last checkpoint of the one before, which lies beside it, closed.
 *
 * The installer lays down `predecessor` in the log's directory before this service opens it for the first time, and
 * the log before as `epochs/<number>/`. Nothing here reads the latter.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@sealift/service-kit/log.ts";
import type { AuditLog } from "./audit-log.ts";
import { CheckpointError, ORIGIN } from "./checkpoint.ts";
import { EVENT_VERSION } from "./event.ts";
import { HASH_BYTES } from "./merkle.ts";

export const PREDECESSOR = "predecessor";
const PREDECESSOR_MAX_BYTES = 4096;

/** The last known checkpoint of the log before. */
export interface Predecessor {
  /** The number of the epoch that begins now: 2 after the first restore. */
  readonly epoch: number;
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

/**
 * If `log` is empty and has a predecessor, its first entry becomes the one that says so. Returns when that is under a
 * checkpoint. @throws CheckpointError if `predecessor` cannot be read as one | AppendRefused
 */
export async function beginEpoch(log: AuditLog, directory: string, now: Date): Promise<Predecessor | undefined> {
  if (log.size > 0) return undefined;
  const bytes = await readFile(join(directory, PREDECESSOR)).catch((cause) => {
    if (errorCode(cause) !== "ENOENT") throw cause;
  });
  if (!bytes) return undefined;
  const predecessor = parsePredecessor(bytes);
  await log.append([epochEntry(predecessor, now)]);
  await log.checkpoint();
  return predecessor;
}

/** @throws CheckpointError */
export function parsePredecessor(bytes: Buffer): Predecessor {
  const malformed = new CheckpointError("the predecessor is malformed");
  if (bytes.length > PREDECESSOR_MAX_BYTES) throw malformed;
  let value: Partial<Record<string, unknown>>;
  try {
    value = JSON.parse(bytes.toString("utf8")) as Partial<Record<string, unknown>>;
  } catch {
    throw malformed;
  }
  const { schemaVersion, epoch, origin, size, root } = value ?? {};
  const hash = Buffer.from(String(root), "base64");
  const isWhole = (number: unknown, least: number): boolean => Number.isSafeInteger(number) && Number(number) >= least;
  if (schemaVersion !== 1 || !isWhole(epoch, 2) || !isWhole(size, 0)) throw malformed;
  if (typeof origin !== "string" || !ORIGIN.test(origin)) throw malformed;
  if (hash.length !== HASH_BYTES || hash.toString("base64") !== root) throw malformed;
  return { epoch: Number(epoch), origin, size: Number(size), root: hash };
}

/** An event of this service's own, in RFC 8785 canonical JSON: the members are in their order. */
export function epochEntry({ epoch, origin, size, root }: Predecessor, now: Date): Buffer {
  const digest = createHash("sha256").update(`${epoch}\n${origin}\n${size}\n`).update(root).digest("hex");
  const id = digest.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const event = {
    counts: { entries: size, epoch },
    id,
    predecessor: origin,
    predecessorRoot: root.toString("hex"),
    requestId: `epoch-${epoch}`,
    service: "audit",
    ts: now.toISOString(),
    type: "log.epoch",
    v: EVENT_VERSION,
  };
  return Buffer.from(JSON.stringify(event));
}
