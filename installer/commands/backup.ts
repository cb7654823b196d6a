import { resolve } from "node:path";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { siteLogs } from "../audit/site-log.ts";
import { askCheckpoint } from "../audit/tell-audit-log.ts";
import { manifestDigest, WITHOUT_LOG } from "../backup/backup-manifest.ts";
import { backupError } from "../backup/error.ts";
import { type LogPart, logParts, siteContent, stateBytes } from "../backup/site-content.ts";
import { spoolDirectory } from "../backup/spool.ts";
import {
  contentBytes,
  removeOldBackups,
  requireDirectory,
  type WrittenBackup,
  writeBackup,
} from "../backup/write-backup.ts";
import { backUpDatabases, databaseBytes } from "../lifecycle/backup.ts";
import { BACKUP_MADE } from "../lifecycle/backup-entry.ts";
import { baseProject } from "../lifecycle/deploy-context.ts";
import { requireInstalled } from "../lifecycle/deploy-plan.ts";
import { appendEntry } from "../lifecycle/ledger.ts";
import { requireRoom } from "../lifecycle/preconditions.ts";
import { requireSecretsHere } from "../lifecycle/secrets-here.ts";
import type { Site } from "../lifecycle/site.ts";
import { type ReleaseParts, withStoredRelease } from "../lifecycle/stored-release.ts";
import { readDeployments } from "../site/deployment.ts";
import { removeTree } from "../site/disk.ts";
import type { Terminal } from "../ui/terminal.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, withSite } from "./site-options.ts";
import { withStopSignal } from "./stop-signal.ts";

const NAME = "backup";
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export const backup: Command = {
  name: NAME,
  summary:
    "write all of this site that cannot be made again into one file, sealed for its backup keys; the site runs on",
  usage: "--out DIR [--keep N | --without-audit-log] [--state DIR]",
  details: [
    "--out DIR             where sealift-SITE-TIME.tar.age goes: a directory, best of another machine or medium",
    "--keep N              when the new one is whole, remove all but the N newest of this site's in DIR",
    "--without-audit-log   where the log is damaged: all but the log. Its databases come back where a release runs, and",
    "                      it makes no site; without-audit-log-… is its name, and --keep never counts it",
    "Holds the databases, the audit log up to its checkpoint, the ledger, operators, trust, configuration and secrets.",
    "Not the releases: they come from their signed medium. `age -d -i KEY FILE | tar -x` opens it without Sealift.",
  ],
  options: {
    out: { type: "string" },
    keep: { type: "string" },
    "without-audit-log": { type: "boolean" },
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const out = resolve(requiredOption(invocation, NAME, "out"));
    const keep = keepOption(invocation);
    return withSite(invocation, NAME, async (site) =>
      withStopSignal(invocation.terminal, "nothing of the backup was left", async (signal) => {
        await makeBackup(invocation, site, out, keep, signal);
        return 0;
      }),
    );
  },
};

function keepOption(invocation: Invocation): number | undefined {
  const text = optionalOption(invocation, "keep");
  if (text === undefined) return undefined;
  if (isWithoutLog(invocation))
    throw usageError(NAME, "--keep: not with --without-audit-log, which replaces no backup");
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw usageError(NAME, `--keep: got ${JSON.stringify(text)}, want a number from 1 to 9999`);
}

function isWithoutLog({ options }: Pick<Invocation, "options">): boolean {
  return options["without-audit-log"] === true;
}

async function makeBackup(
  invocation: Invocation,
  site: Site,
  out: string,
  keep: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { terminal } = invocation;
  const withoutLog = isWithoutLog(invocation);
  if (site.authority.backupRecipients.length === 0) {
    throw backupError("BACKUP_NO_RECIPIENT", "this site has no key for which a backup could be sealed", {
      hints: [
        "sealift key generate --backup --out PREFIX, on the machine that keeps the private half",
        "sealift operator recipients PREFIX.pub --key K",
      ],
    });
  }
  const current = requireInstalled(readDeployments(site.paths));
  requireDirectory(out);
  const spool = spoolDirectory(site);
  removeTree(site.disk, spool);
  try {
    const written = await withSiteEngine(site, (engine) =>
      withStoredRelease(site.paths, current.release, (parts) =>
        writeFrom({ site, engine, parts, spool, out, withoutLog, signal }, terminal),
      ),
    );
    const { path, size, digest, manifest } = written;
    const { kind, created } = manifest;
    const entry = { kind, manifest: manifestDigest(manifest), digest, size, created };
    appendEntry(site.disk, site.paths.ledger, BACKUP_MADE, entry, site.clock());
    const removed = keep === undefined ? [] : removeOldBackups(written, keep);
    tell(terminal, written, site, removed);
    terminal.document({
      ...{
        backup: path,
        kind,
        size,
        digest,
        manifest: entry.manifest,
        created,
        release: current.release,
        version: current.version,
      },
      ...{ databases: manifest.databases, logs: manifest.logs, recipients: site.authority.backupRecipients, removed },
    });
  } finally {
    removeTree(site.disk, spool);
  }
}

interface Work {
  readonly site: Site;
  readonly engine: Engine;
  readonly parts: ReleaseParts;
  readonly spool: string;
  readonly out: string;
  readonly withoutLog: boolean;
  readonly signal: AbortSignal;
}

async function writeFrom(
  { site, engine, parts, spool, out, withoutLog, signal }: Work,
  terminal: Terminal,
): Promise<WrittenBackup> {
  const { rules } = parts;
  const base = baseProject(site, requireInstalled(readDeployments(site.paths)));
  // Without them what is in the backup could not be opened by anybody.
  requireSecretsHere(site, rules.secrets);
  const logs = rules.audit && withoutLog ? undefined : await checkedLogs(site, engine, rules.audit, terminal);
  const tiles = function* () {
    for (const one of logs ?? []) yield* one.tiles();
  };
  const dumps = rules.database ? await databaseBytes(engine, base, rules.database) : 0;
  const rest = stateBytes(site) + contentBytes({ files: (logs ?? []).flatMap(({ files }) => files), tiles });
  requireRoom([
    { directory: site.paths.directory, bytes: dumps, what: "the dumps of the databases, until they are sealed" },
    { directory: out, bytes: dumps + rest, what: "the backup" },
  ]);
  if (rules.database) {
    const dumping = terminal.progress("dumping the databases");
    dumping.done(megabytes(await backUpDatabases(site.disk, engine, base, rules.database, spool, { signal })));
  }
  const sealing = terminal.progress("sealing the backup");
  const written = await writeBackup(out, siteContent(site, rules, { directory: spool, databaseBytes: dumps }, logs), {
    recipients: site.authority.backupRecipients,
    signal,
    onProgress: (done, all) => sealing.update(`${megabytes(done)} of ${megabytes(all)}`),
  });
  sealing.done(megabytes(written.size));
  return written;
}

/** Of an appliance without an audit log none. @throws AUDIT_… with what a person can do then */
async function checkedLogs(
  site: Site,
  engine: Engine,
  audit: ApplianceRules["audit"],
  terminal: Terminal,
): Promise<LogPart[]> {
  if (!audit) return [];
  const late = await askCheckpoint(site, engine, audit);
  if (late !== undefined)
    terminal.note(plain(`note: the audit log made no checkpoint now, its last one counts: ${late}`));
  const [place, ...others] = await siteLogs(engine, site);
  if (others.length > 0) throw usageError(NAME, `this site's volumes hold more than one audit log`);
  const checking = terminal.progress("checking the audit log");
  try {
    const logs = place ? logParts(place, (done, all) => checking.update(`${done} of ${all} entries`)) : [];
    checking.done(`${logs.reduce((sum, { log }) => sum + log.size, 0)} entries`);
    return logs;
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    const { code, exit, message, hints } = cause;
    throw new SealiftError(code, exit, message, { cause, hints: [...hints, ALL_BUT_THE_LOG] });
  }
}

const ALL_BUT_THE_LOG =
  "sealift backup --out DIR --without-audit-log saves all but the log; runbooks/backup-restore.md says what then";

function tell(
  terminal: Terminal,
  { path, digest, manifest }: WrittenBackup,
  site: Site,
  removed: readonly string[],
): void {
  terminal.result(plain(`backup ${path}`));
  terminal.result(`  file      ${digest}`);
  terminal.result(`  manifest  ${manifestDigest(manifest)}`);
  const [log] = manifest.logs;
  if (log) terminal.result(`  audit log: ${log.size} entries, root ${log.root}`);
  if (manifest.kind === WITHOUT_LOG) terminal.result("  audit log: NOT IN IT, as you wished; it makes no site");
  const keys = site.authority.backupRecipients;
  terminal.result(`  opens with the private half of ${keys.length === 1 ? keys[0] : `one of ${keys.length} keys`}`);
  for (const name of removed) terminal.result(plain(`removed ${name}`));
  terminal.result("Next: keep it, and the release's medium, away from this machine; sealift restore FILE --plan");
}
