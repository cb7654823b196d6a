/** The journal and the ledger: what was done, who allowed it, and whether it ended. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { type ExitCode, SealiftError } from "../../../bundles/model/sealift-error.ts";
import { compareLedgerWithLog, readToldMark } from "../../audit/ledger-events.ts";
import { openJournalPath, requireNoOpenJournal } from "../execute.ts";
import { readJournal } from "../journal.ts";
import { type LedgerEntry, readLedger } from "../ledger.ts";
import { auditLedger } from "../ledger-audit.ts";
import { clockFinding } from "../site.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import type { FsckGround } from "./ground.ts";

const MISMATCH: ExitCode = 3;

/** None is open, and each that ended is the one whose digest the ledger has. */
export function checkJournal({ paths, ledger }: FsckGround, log: CheckLog): void {
  log.attempt("journal/open", () => requireNoOpenJournal(paths));
  const torn = tornBytes(openJournalPath(paths));
  if (torn)
    log.warn(
      "the journal begins with a record that a power cut tore; nothing had begun, and the next operation removes it",
    );
  for (const entry of ledger?.entries ?? []) {
    if (entry.type === "operation") checkEnded(paths.journal, entry, log);
  }
  if (!ledger) log.notChecked("journals that ended: the ledger does not hold");
}

/** A file in which not even the first record is whole. */
function tornBytes(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined && readJournal(path) === undefined;
  } catch {
    return false;
  }
}

function checkEnded(directory: string, { seq, data }: LedgerEntry, log: CheckLog): void {
  const { id, journal } = data;
  if (typeof id !== "string" || !/^[0-9a-f]{32}$/.test(id) || typeof journal !== "string") return;
  const name = `${id}.journal`;
  let problem: string | undefined;
  try {
    const content = readJournal(join(directory, name));
    if (!content) problem = "is not there";
    else if (content.digest !== journal) problem = `got digest ${content.digest}, want ${journal}`;
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    problem = cause.message;
  }
  log.looked();
  if (problem === undefined) return;
  log.find(
    `journal/${name}`,
    fsckError("FSCK_JOURNAL_CHANGED", `the journal of ledger entry ${seq}: ${problem}`, {
      hints: ["keep a copy of the state directory as evidence", "sealift ledger show says what the operation was"],
    }),
  );
}

/** Its chain, the authorizations in it with their signatures, and what the audit log was told of it. */
export async function checkLedger({ paths, site }: FsckGround, log: CheckLog): Promise<void> {
  const ledger = log.attempt("ledger", () => readLedger(paths.ledger));
  if (!ledger) return;
  if (ledger.tornBytes > 0) {
    log.warn(`the ledger ends with ${ledger.tornBytes} bytes that a power cut tore; the next entry takes their place`);
  }
  try {
    for (const { code, entry, message } of (await auditLedger(ledger)).findings) {
      const hints = ["sealift ledger verify", `sealift ledger show --change ${entry}`];
      log.find(`ledger entry ${entry}`, new SealiftError(code, MISMATCH, message, { hints }));
    }
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    log.notChecked(`signatures in the ledger: ${cause.message}`);
  }
  if (!site) return;
  const clock = clockFinding(site);
  if (clock) log.warn(`${clock.code}: ${clock.message}: the next change of the site asks an operator about it`);
  log.attempt("site/audit-told.json", () => {
    // Nothing of the log itself: whether it has what it answered is asked of it with --content.
    const told = { events: [], size: 0, behind: Number.POSITIVE_INFINITY };
    for (const { code, message } of compareLedgerWithLog(ledger, site.siteId, told, readToldMark(paths)).findings) {
      log.find("ledger", new SealiftError(code, MISMATCH, message, { hints: ["sealift audit verify"] }));
    }
  });
}
