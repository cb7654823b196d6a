import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { collectLedgerEvents, compareWithLedger, type LedgerComparison } from "../audit/ledger-events.ts";
import { type SiteLog, siteLogs } from "../audit/site-log.ts";
import { verifyAuditLog } from "../audit/verify-log.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { lifecycleError } from "../lifecycle/error.ts";
import {
  compareWithWitness,
  headOf,
  LEDGER_MAX_BYTES,
  type Ledger,
  type LedgerEntry,
  type LedgerWitness,
  parseLedger,
} from "../lifecycle/ledger.ts";
import { auditLedger, type LedgerHead, parseWitness } from "../lifecycle/ledger-audit.ts";
import { clockFinding, openSite, requireAuthorityOfLedger, type Site, siteIdOfLedger } from "../lifecycle/site.ts";
import { enrolledTrust, trustOfLedger } from "../lifecycle/trust-change.ts";
import { readStateFile } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  positionals,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const DENIED = 3;

export const ledgerShow: Command = {
  name: "ledger show",
  summary: "print the site's history: who authorized what, and when",
  usage: "[--change N] [--state DIR]",
  details: ["--change N            entry N whole, with its request and signatures"],
  options: { change: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, "ledger show");
    const { terminal } = invocation;
    const { ledger, siteId } = openSite(stateDirectory(invocation));
    const wanted = optionalOption(invocation, "change");
    const entries = wanted === undefined ? ledger.entries : ledger.entries.filter(({ seq }) => String(seq) === wanted);
    if (entries.length === 0) {
      throw usageError("ledger show", `--change: got ${JSON.stringify(wanted)}, want 1 to ${ledger.entries.length}`);
    }
    terminal.document({ siteId, head: headOf(ledger), tornBytes: ledger.tornBytes, entries });
    for (const entry of entries) {
      terminal.result(plain(entryLine(entry)));
      if (wanted !== undefined) terminal.result(plain(JSON.stringify(entry.data)));
    }
    terminal.result(`head ${headOf(ledger)} after ${ledger.entries.length} entries`);
    return 0;
  },
};

function entryLine({ seq, time, type, data }: LedgerEntry): string {
  const approvals = data["approvals"] as readonly { readonly principal?: unknown }[] | undefined;
  const names = Array.isArray(approvals) ? ` by ${approvals.map(({ principal }) => String(principal)).join(", ")}` : "";
  const what = [data["action"], data["operation"], data["result"]].filter((part) => typeof part === "string").join(" ");
  return `${String(seq).padStart(4)}  ${time}  ${type}${what === "" ? "" : `: ${what}`}${names}`;
}

export const ledgerVerify: Command = {
  name: "ledger verify",
  summary: "check the chain and every signature in it, and compare it with what people outside hold",
  usage: "[FILE] [--against PATH…] [--state DIR]",
  details: [
    "FILE                  an exported ledger, checked without a site",
    "--against PATH        an operator's archive: requests, exported heads and ledgers, or a directory of them",
    "                      or a copy of the site's audit log, which has an event for each entry",
    "Without FILE the site's own audit log is compared too, if it can be read (root, and the engine).",
    "Exit 3 if anything does not hold. Without --against a whole rewritten or older ledger is not found out.",
  ],
  options: { against: { type: "string", multiple: true }, ...STATE_OPTION },
  run: async (invocation) => {
    const { args, terminal } = invocation;
    if (args.length > 1) throw usageError("ledger verify", `unexpected argument ${JSON.stringify(args[1])}`);
    const { ledger, siteId, clock, site } = await readSubject(invocation);
    const witnesses = await readWitnesses(repeatedOption(invocation, "against"), siteId);
    const audit = await auditLedger(ledger);
    const compared = witnesses.flatMap((witness) => compareWithWitness(ledger, siteId, witness) ?? []);
    const own = site
      ? await compareWithOwnLog(site)
      : { findings: [], compared: 0, notChecked: ["audit log: no site"] };
    const findings = [
      ...audit.findings,
      ...own.findings.map((finding) => ({ ...finding, entry: ledger.entries.length })),
      ...compared.map(({ code, entry, witness, message }) => ({ code, entry, message: `${witness}: ${message}` })),
      ...(clock ? [{ code: clock.code, entry: ledger.entries.length, message: clock.message }] : []),
    ];
    terminal.result(`site ${plain(siteId)}: ${ledger.entries.length} entries, head ${headOf(ledger)}`);
    terminal.result(`authorizations verified again: ${audit.authorizations}; witnesses compared: ${witnesses.length}`);
    terminal.result(`entries that the site's audit log has too: ${own.compared}`);
    for (const what of own.notChecked) terminal.result(plain(`not checked: ${what}`));
    if (witnesses.length === 0)
      terminal.result("not checked: whether the end is missing or all was rewritten (--against)");
    if (ledger.tornBytes > 0)
      terminal.result(`note: ${ledger.tornBytes} bytes behind the last entry, as a power cut leaves them`);
    for (const { code, entry, message } of findings) terminal.result(plain(`entry ${entry} [${code}]: ${message}`));
    terminal.result(findings.length === 0 ? "the ledger holds" : "the ledger does NOT hold");
    terminal.document({
      holds: findings.length === 0,
      siteId,
      head: headOf(ledger),
      length: ledger.entries.length,
      authorizations: audit.authorizations,
      witnesses: witnesses.map(({ name, length }) => ({ name, length })),
      notChecked: [
        ...(witnesses.length === 0 ? ["rewind", "rewrite"] : []),
        ...(own.notChecked.length > 0 ? ["audit-log"] : []),
      ],
      auditLog: { entries: own.compared, notChecked: own.notChecked },
      tornBytes: ledger.tornBytes,
      findings,
    });
    return findings.length === 0 ? 0 : 3;
  },
};

/** What the site's audit log says of the ledger. Where it cannot be read, it was not asked. */
async function compareWithOwnLog(site: Site): Promise<LedgerComparison> {
  const unasked = (why: string): LedgerComparison => ({ findings: [], compared: 0, notChecked: [`audit log: ${why}`] });
  let logs: readonly SiteLog[];
  try {
    logs = await withSiteEngine(site, (engine) => siteLogs(engine, site));
  } catch (cause) {
    return unasked(reasonOf(cause));
  }
  const [log, ...others] = logs;
  if (!log || others.length > 0) return unasked(log ? "there is more than one" : "there is none");
  const { events, onEntry } = collectLedgerEvents();
  try {
    return compareWithLedger(site, { ...verifyAuditLog(log.directory, { onEntry }), events });
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.exit !== DENIED) return unasked(reasonOf(cause));
    return { findings: [{ code: cause.code, message: `audit log: ${cause.message}` }], compared: 0, notChecked: [] };
  }
}

interface Subject {
  readonly ledger: Ledger;
  readonly siteId: string;
  readonly clock: ReturnType<typeof clockFinding>;
  /** Absent for an exported ledger. */
  readonly site?: Site;
}

async function readSubject(invocation: Invocation): Promise<Subject> {
  const [file] = invocation.args;
  if (file !== undefined) {
    const ledger = parseLedger(await readBoundedFile(file, LEDGER_MAX_BYTES), file);
    return { ledger, siteId: siteIdOfLedger(ledger), clock: undefined };
  }
  const site = openSite(stateDirectory(invocation));
  requireAuthorityOfLedger(site);
  if (trustOfLedger(site.ledger.entries)) enrolledTrust(site);
  return { ledger: site.ledger, siteId: site.siteId, clock: clockFinding(site), site };
}

/** @throws LEDGER_WITNESS_MALFORMED for a file that is none, or a directory without one */
async function readWitnesses(paths: readonly string[], siteId: string): Promise<LedgerWitness[]> {
  const witnesses: LedgerWitness[] = [];
  for (const path of paths) {
    const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
    if (isDirectory && existsSync(join(path, "checkpoint"))) {
      witnesses.push(...auditLogWitnesses(path, siteId));
      continue;
    }
    const files = isDirectory ? filesIn(path) : [path];
    let found = 0;
    for (const file of files) {
      const witness = parseWitness(await readBoundedFile(file, LEDGER_MAX_BYTES), file);
      if (!witness) continue;
      witnesses.push(witness);
      found += 1;
    }
    if (found > 0) continue;
    throw lifecycleError(
      "LEDGER_WITNESS_MALFORMED",
      `${JSON.stringify(path)}: no request, exported head or ledger in it`,
      {
        hints: ["keep FILE.request of each authorization, or what `sealift ledger export` writes"],
      },
    );
  }
  return witnesses;
}

/** Its events are of the site whose log it is, which the caller says. @throws AUDIT_… if the log does not hold */
function auditLogWitnesses(directory: string, siteId: string): LedgerWitness[] {
  const { events, onEntry } = collectLedgerEvents();
  verifyAuditLog(directory, { onEntry });
  return events.map(({ index, length, head }) => ({ name: `${directory} entry ${index}`, siteId, length, head }));
}

function filesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => join(directory, name))
    .sort();
}

export const ledgerExport: Command = {
  name: "ledger export",
  summary: "write the ledger, or only its head, for somebody to keep outside this host",
  usage: "--out FILE [--head] [--state DIR]",
  details: [
    "--out FILE            an existing file is not replaced",
    "--head                only site, number of entries and head, small enough for a note",
  ],
  options: { out: { type: "string" }, head: { type: "boolean" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, "ledger export");
    const { terminal } = invocation;
    const out = requiredOption(invocation, "ledger export", "out");
    const { siteId, ledger, paths } = openSite(stateDirectory(invocation));
    const head: LedgerHead = {
      schemaVersion: 1,
      siteId,
      ledgerHead: headOf(ledger),
      ledgerLength: ledger.entries.length,
    };
    const isHead = invocation.options["head"] === true;
    await writeNew(out, isHead ? canonicalJson(head) : wholeEntries(paths.ledger, ledger));
    terminal.result(`${isHead ? "head" : "ledger"} of ${ledger.entries.length} entries written to ${plain(out)}`);
    terminal.result(`head ${headOf(ledger)}`);
    terminal.document({ out, ...head });
    return 0;
  },
};

/** The bytes as they lie there: what is digested is what is carried away. */
function wholeEntries(path: string, ledger: Ledger): Buffer {
  const bytes = readStateFile(path, LEDGER_MAX_BYTES)?.subarray(0, ledger.validBytes);
  if (bytes?.length !== ledger.validBytes) throw siteError("STATE_UNREADABLE", "ledger: changed while it was read");
  return bytes;
}
