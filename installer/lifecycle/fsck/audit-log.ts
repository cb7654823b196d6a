/** The audit log of the site: that it is there and signed; with contents, all that `audit verify` does. */
import { join } from "node:path";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { CHECKPOINT_MAX_BYTES, parseCheckpoint, parseLogKey, requireSignature } from "../../audit/checkpoint.ts";
import { verifyEpochs } from "../../audit/epochs.ts";
import { auditError } from "../../audit/error.ts";
import { collectLedgerEvents, compareEpochWithLedger, compareWithLedger } from "../../audit/ledger-events.ts";
import { type SiteLog, siteLogs } from "../../audit/site-log.ts";
import { readStateFile } from "../../site/disk.ts";
import type { Site } from "../site.ts";
import { withStoredRelease } from "../stored-release.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import { type FsckGround, installed } from "./ground.ts";

const KEY_MAX_BYTES = 4096;
const HINTS = ["sealift audit verify"];

export async function checkAuditLog(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = installed(ground, log);
  if (!found) return;
  const { site, current } = found;
  try {
    if (!(await withStoredRelease(site.paths, current.release, async ({ rules }) => rules.audit))) {
      return log.notChecked("the release keeps no audit log");
    }
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return log.notChecked("the release is not whole in the store");
  }
  const place = await onlyLog(ground, site, log);
  if (!place) return;
  if (ground.content) log.attempt(place.directory, () => verifyWhole(ground, site, place, log));
  else {
    log.attempt(place.directory, () => verifyHead(place, log));
    log.notChecked("entries of the audit log: fsck --content");
  }
}

async function onlyLog(ground: FsckGround, site: Site, log: CheckLog): Promise<SiteLog | undefined> {
  let logs: readonly SiteLog[];
  try {
    logs = await siteLogs(await ground.engine(), site);
  } catch (cause) {
    log.notChecked(`where the audit log is: ${cause instanceof SealiftError ? cause.code : "it cannot be read"}`);
    return undefined;
  }
  const [only, ...others] = logs;
  if (!only) {
    const error = auditError("AUDIT_LOG_NOT_FOUND", "no volume of this site holds an audit log", { hints: HINTS });
    log.find("audit log", error);
  }
  if (others.length === 0) return only;
  const places = logs.map(({ directory }) => directory).join(", ");
  const hints = ["find out who put one there; sealift audit verify DIR checks each"];
  log.find("audit log", fsckError("FSCK_AUDIT_LOG_AMBIGUOUS", `got logs in ${places}, want one`, { hints }));
  return undefined;
}

/** The newest checkpoint, by the site's key. */
function verifyHead({ directory, publicKey }: SiteLog, log: CheckLog): void {
  const path = join(directory, "checkpoint");
  const note = readStateFile(path, CHECKPOINT_MAX_BYTES);
  if (!note) throw auditError("AUDIT_LOG_NOT_FOUND", `${JSON.stringify(path)}: is not there`, { hints: HINTS });
  const checkpoint = parseCheckpoint(note, path);
  const key = readKey(publicKey);
  if (key) requireSignature(checkpoint, key, path);
  else log.notChecked("who signed the audit log: its public key is not among the secrets");
}

function readKey(path: string | undefined): ReturnType<typeof parseLogKey> | undefined {
  const bytes = path === undefined ? undefined : readStateFile(path, KEY_MAX_BYTES);
  return bytes && path !== undefined ? parseLogKey(bytes.toString("utf8"), path) : undefined;
}

function verifyWhole({ onProgress }: FsckGround, site: Site, { directory, publicKey }: SiteLog, log: CheckLog): void {
  const collected = collectLedgerEvents();
  const older = new Map<number, ReturnType<typeof collectLedgerEvents>>();
  const verified = verifyEpochs(directory, {
    key: readKey(publicKey),
    onProgress: (done, all) => onProgress(`audit log: ${done} of ${all} entries`),
    onEntry: collected.onEntry,
    onClosedEntry: (epoch, entry, index) => {
      const events = older.get(epoch) ?? collectLedgerEvents();
      older.set(epoch, events);
      events.onEntry(entry, index);
    },
  });
  const { findings, notChecked } = compareWithLedger(site, { ...verified, events: collected.events });
  const before = verified.closed.flatMap((one) =>
    compareEpochWithLedger(site, one, older.get(one.epoch)?.events ?? []),
  );
  for (const { code, message } of [...findings, ...before]) {
    log.find(directory, new SealiftError(code, 3, message, { hints: HINTS }));
  }
  if (!verified.isSignatureChecked) log.notChecked("who signed the audit log: its public key is not among the secrets");
  for (const what of notChecked) log.notChecked(what);
}
