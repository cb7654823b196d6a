/**
 * A log with the epochs before it. A restore closes an epoch at the checkpoint that the backup has, and the next one's
 * first entry commits to it (compose/services/audit/src/epoch.ts; read here by other code). What the old log wrote
 * behind that checkpoint is lost, which is said and not hidden.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readStateFile } from "../site/disk.ts";
import { CHECKPOINT_MAX_BYTES, parseCheckpoint, parseLogKey } from "./checkpoint.ts";
import { auditError } from "./error.ts";
import { type LogVerification, type VerifyLogOptions, verifyAuditLog } from "./verify-log.ts";

export interface ClosedEpoch extends LogVerification {
  /** 1 is the first. */
  readonly epoch: number;
}

export interface EpochsVerification extends LogVerification {
  /** The number of the present epoch. */
  readonly epoch: number;
  /** The newest first. */
  readonly closed: readonly ClosedEpoch[];
}

export interface VerifyEpochsOptions extends VerifyLogOptions {
  /** Told each entry of a closed epoch too, with its number there. */
  readonly onClosedEntry?: (epoch: number, entry: Buffer, index: number) => void;
}

const KEY_MAX_BYTES = 4096;
const EPOCHS_MAX = 1024;

/** What the first entry of an epoch says of the one before. */
interface Commitment {
  readonly epoch: number;
  readonly origin: string;
  readonly size: number;
  /** Hexadecimal. */
  readonly root: string;
}

export function closedEpochPath(directory: string, epoch: number): string {
  return join(directory, "epochs", String(epoch));
}

/**
 * Verifies the log in `directory` and each closed epoch back to the first. `from` may be a checkpoint of any of them.
 * @throws AUDIT_EPOCH_MISSING | AUDIT_EPOCH_DIFFERS and what `verifyAuditLog` throws
 */
export function verifyEpochs(directory: string, options: VerifyEpochsOptions = {}): EpochsVerification {
  const { from, onEntry = () => {}, onClosedEntry = () => {} } = options;
  const older = from && parseCheckpoint(from.note, from.name).origin;
  const own = originIn(directory);
  const isOfThis = older === undefined || older === own || !existsSync(join(directory, "epochs"));
  let first: Buffer | undefined;
  const log = verifyAuditLog(directory, {
    ...options,
    from: isOfThis ? from : undefined,
    onEntry: (entry, index) => {
      if (index === 0) first = Buffer.from(entry);
      onEntry(entry, index);
    },
  });
  let commitment = commitmentIn(first);
  const { epoch = 1 } = commitment ?? {};
  if (!commitment && existsSync(join(directory, "epochs"))) {
    throw auditError("AUDIT_EPOCH_DIFFERS", "there are older epochs, and the log's first entry names none", EVIDENCE);
  }
  const closed: ClosedEpoch[] = [];
  let continues = log.continues;
  while (commitment) {
    if (closed.length === EPOCHS_MAX) throw auditError("AUDIT_EPOCH_DIFFERS", `more than ${EPOCHS_MAX} epochs`);
    const ofThis = from && older === commitment.origin ? from : undefined;
    const found = verifyClosed(directory, commitment, { from: ofThis, onClosedEntry });
    closed.push(found.log);
    continues ??= found.log.continues;
    commitment = found.before;
  }
  if (from && continues === undefined) {
    throw auditError(
      "AUDIT_LOG_FORKED",
      `checkpoint ${JSON.stringify(from.name)}: got a log named ${JSON.stringify(older)}, want ${JSON.stringify(own)} or an epoch before it`,
    );
  }
  return { ...log, continues, epoch, closed };
}

const EVIDENCE = { hints: ["keep a copy of the directory as evidence before anything is repaired"] };

function originIn(directory: string): string | undefined {
  const path = join(directory, "checkpoint");
  const note = readStateFile(path, CHECKPOINT_MAX_BYTES);
  return note && parseCheckpoint(note, path).origin;
}

/** Undefined if the log is the first epoch. @throws AUDIT_EPOCH_DIFFERS if it says so in a way that nobody would */
function commitmentIn(entry: Buffer | undefined): Commitment | undefined {
  let event: Partial<Record<string, unknown>> | null;
  try {
    event = JSON.parse(entry?.toString("utf8") ?? "null") as Partial<Record<string, unknown>> | null;
  } catch {
    return undefined;
  }
  if (event?.["type"] !== "log.epoch" || event["service"] !== "audit") return undefined;
  const counts = (event["counts"] ?? {}) as Partial<Record<string, unknown>>;
  const { epoch, entries: size } = counts;
  const { predecessor: origin, predecessorRoot: root } = event;
  const isWhole = Number.isSafeInteger(epoch) && Number(epoch) >= 2 && Number.isSafeInteger(size) && Number(size) >= 0;
  if (isWhole && typeof origin === "string" && typeof root === "string" && /^[0-9a-f]{64}$/.test(root)) {
    return { epoch: Number(epoch), size: Number(size), origin, root };
  }
  throw auditError("AUDIT_EPOCH_DIFFERS", "the first entry begins an epoch and does not name the one before", EVIDENCE);
}

function verifyClosed(
  directory: string,
  { epoch, origin, size, root }: Commitment,
  options: Pick<VerifyEpochsOptions, "from"> & Required<Pick<VerifyEpochsOptions, "onClosedEntry">>,
): { readonly log: ClosedEpoch; readonly before: Commitment | undefined } {
  const number = epoch - 1;
  const path = closedEpochPath(directory, number);
  const pem = readStateFile(join(path, "key.pub"), KEY_MAX_BYTES);
  if (!pem || !existsSync(join(path, "checkpoint"))) {
    throw auditError(
      "AUDIT_EPOCH_MISSING",
      `epoch ${number}, which the log continues, is not in ${JSON.stringify(path)}`,
      {
        hints: ["it is in the backup from which the site was restored, below audit-log/"],
      },
    );
  }
  let first: Buffer | undefined;
  const log = verifyAuditLog(path, {
    key: parseLogKey(pem.toString("utf8"), join(path, "key.pub")),
    from: options.from,
    onEntry: (entry, index) => {
      if (index === 0) first = Buffer.from(entry);
      options.onClosedEntry(number, entry, index);
    },
  });
  const isNamed = log.origin === origin && log.entries === size;
  if (!isNamed || log.root !== Buffer.from(root, "hex").toString("base64")) {
    const got = `${log.entries} entries of ${log.origin} with root ${log.root}`;
    throw auditError("AUDIT_EPOCH_DIFFERS", `epoch ${number}: got ${got}, want ${size} of ${origin}`, EVIDENCE);
  }
  const before = commitmentIn(first);
  if ((before?.epoch ?? 1) === number) return { log: { ...log, epoch: number }, before };
  throw auditError("AUDIT_EPOCH_DIFFERS", `epoch ${number}: it says itself that it is ${before?.epoch ?? 1}`, EVIDENCE);
}
