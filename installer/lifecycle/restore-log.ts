/**
 * The audit log of a backup put beside a new one, which continues it: compose/services/audit/src/epoch.ts. The new one
 * has another key, so whatever the old one signed after the backup is no fork of it.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { CHECKPOINT_MAX_BYTES, parseLogKey } from "../audit/checkpoint.ts";
import { closedEpochPath, type EpochsVerification, verifyEpochs } from "../audit/epochs.ts";
import { auditError } from "../audit/error.ts";
import type { SiteLog } from "../audit/site-log.ts";
import { verifyAuditLog } from "../audit/verify-log.ts";
import type { BackupLog } from "../backup/backup-manifest.ts";
import { type Disk, readStateFile, removeTree, syncNames, writeWhole } from "../site/disk.ts";
import { lifecycleError } from "./error.ts";

const PREDECESSOR = "predecessor";
const FILE_MODE = 0o640;
const KEY_MAX_BYTES = 4096;
const OF_AN_EPOCH = ["checkpoint", "key.pub", PREDECESSOR, "tile"];

/** Number of the epoch that begins when `logs` are restored: one more than the one that they end with. */
export function nextEpoch(logs: readonly BackupLog[]): number {
  return logs.length + 1;
}

/**
 * Lays the log in `backup` (the unpacked `audit-log`) down in `directory`, where a service has begun a log and written
 * nothing into it. It takes notice when it starts anew. May be done twice. @throws RESTORE_FAILED if there are entries
 */
export function layDownEpochs(disk: Disk, directory: string, backup: string, logs: readonly BackupLog[]): void {
  const [last] = logs;
  if (!last) return;
  if (isBegun(directory, nextEpoch(logs))) return;
  // What an earlier try laid down counts for nothing until the service has begun with it.
  const { entries, behindCheckpoint } = verifyAuditLog(directory);
  if (entries + behindCheckpoint > 0) {
    throw lifecycleError("RESTORE_FAILED", `${JSON.stringify(directory)}: the new audit log has entries already`);
  }
  const { uid, gid } = statSync(directory);
  const copy = (from: string, to: string): void => copyOwned(from, to, uid, gid);
  removeTree(disk, join(directory, "epochs"));
  makeOwned(join(directory, "epochs"), uid, gid);
  for (let number = 1; number < logs.length; number += 1) {
    copy(closedEpochPath(backup, number), closedEpochPath(directory, number));
  }
  const closing = closedEpochPath(directory, logs.length);
  makeOwned(closing, uid, gid);
  for (const name of OF_AN_EPOCH) {
    if (existsSync(join(backup, name))) copy(join(backup, name), join(closing, name));
  }
  syncNames(disk, closing);
  syncNames(disk, join(directory, "epochs"));
  const { origin, size, root } = last;
  const predecessor = canonicalJson({ schemaVersion: 1, epoch: nextEpoch(logs), origin, size, root });
  writeWhole(disk, join(directory, PREDECESSOR), predecessor, FILE_MODE, uid);
}

function isBegun(directory: string, epoch: number): boolean {
  if (!existsSync(join(directory, PREDECESSOR))) return false;
  const found = verifiedOrNothing(directory);
  return found !== undefined && found.entries > 0 && found.epoch === epoch;
}

function verifiedOrNothing(directory: string): EpochsVerification | undefined {
  try {
    return verifyEpochs(directory);
  } catch {
    return undefined;
  }
}

/** @throws RESTORE_FAILED | AUDIT_… unless the log in `directory` now continues that of the backup */
export function requireEpoch(directory: string, logs: readonly BackupLog[]): void {
  if (logs.length === 0) return;
  const { epoch, closed } = verifyEpochs(directory);
  if (epoch === nextEpoch(logs) && closed.length === logs.length) return;
  throw lifecycleError("RESTORE_FAILED", `audit log: got epoch ${epoch}, want ${nextEpoch(logs)}`, {
    hints: ["the release's audit service may be too old to continue a restored log"],
  });
}

/**
 * How many entries the log in `place` has, under a checkpoint or not. All of it must hold, and continue that of the
 * backup in `ofBackup` (the unpacked `audit-log`; undefined if the backup has none): what a restore says of the gap is
 * said of this log, and one that does not hold is evidence. Reads only. @throws AUDIT_… with what a person can do then
 */
export function entriesSince(
  place: SiteLog | undefined,
  ofBackup: string | undefined,
  onProgress: (done: number, all: number) => void = () => {},
): number {
  try {
    const key = place?.publicKey === undefined ? undefined : readStateFile(place.publicKey, KEY_MAX_BYTES);
    const note = ofBackup === undefined ? undefined : readStateFile(join(ofBackup, "checkpoint"), CHECKPOINT_MAX_BYTES);
    if (!place || !key || (ofBackup !== undefined && !note)) {
      const what = place ? "the key of this site's audit log" : "this site's audit log, or its checkpoint,";
      throw auditError("AUDIT_LOG_NOT_FOUND", `${what} is not there`);
    }
    const log = verifyEpochs(place.directory, {
      key: parseLogKey(key.toString("utf8"), place.publicKey ?? ""),
      ...(note && { from: { note, name: "of the backup" } }),
      onProgress,
    });
    return log.entries + log.behindCheckpoint;
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    const { code, exit, message, hints } = cause;
    throw new SealiftError(code, exit, message, { cause, hints: [...hints, ...LOST] });
  }
}

const LOST = [
  "the data is not restored beside a log that does not hold: first copy the log's volume away, it is evidence",
  "sealift backup --out DIR --without-audit-log saves the data of now",
  "then sealift uninstall --purge-data, and sealift restore FILE --bundle BUNDLE, a whole one: its log is continued; last, the one of now",
];

/** Whoever has the log's directory may put a link in the way meanwhile: nothing that is there already is taken. */
function makeOwned(path: string, uid: number, gid: number): void {
  mkdirSync(path, { mode: 0o750 });
  lchownSync(path, uid, gid);
}

/** A file or all of a directory, on stable storage. */
function copyOwned(from: string, to: string, uid: number, gid: number): void {
  if (!statSync(from).isDirectory()) {
    copyFileSync(from, to, constants.COPYFILE_EXCL);
    lchownSync(to, uid, gid);
    syncPath(to);
    return;
  }
  makeOwned(to, uid, gid);
  for (const name of readdirSync(from)) copyOwned(join(from, name), join(to, name), uid, gid);
  syncPath(to);
}

function syncPath(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
