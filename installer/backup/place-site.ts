/**
 * A site's own files put into a directory that becomes its state, from an unpacked backup: who it is, who may move it,
 * whom it trusts, and its history. Believed only as far as they agree with each other and with the manifest.
 */
import { dirname, join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { headOf, LEDGER_MAX_BYTES } from "../lifecycle/ledger.ts";
import { deploymentsOfLedger } from "../lifecycle/ledger-deployments.ts";
import { openSite, requireAuthorityOfLedger, type Site, type SiteOptions } from "../lifecycle/site.ts";
import { type Deployments, writeDeployments } from "../site/deployment.ts";
import { hostDisk, makeDirectory, readStateFile, writeWhole } from "../site/disk.ts";
import { makeStateDirectories } from "../site/state.ts";
import type { BackupManifest } from "./backup-manifest.ts";
import { backupError } from "./error.ts";

const OF_THE_SITE = /^(?:site|trust|journal)\/|^ledger$/;
/** The lock's and the open journal's names mean something; neither is ever in a backup. */
const NEVER = ["journal/open", "site/audit-told.json"];
const WRITABLE_BY_OTHERS = 0o022;

/**
 * Copies them from `unpacked` into `directory`, which is not yet a site, and durably: what becomes the state by one
 * rename must be whole before it. Returns it opened.
 * @throws BACKUP_MALFORMED | STATE_… | LEDGER_… | AUTHORITY_CHANGED
 */
export function placeSite(
  directory: string,
  unpacked: string,
  manifest: BackupManifest,
  options: SiteOptions = {},
): Site {
  const { disk = hostDisk } = options;
  makeStateDirectories(disk, directory);
  for (const { path, mode, uid } of manifest.files) {
    if (!OF_THE_SITE.test(path) || NEVER.includes(path)) continue;
    const parts = dirname(path) === "." ? [] : dirname(path).split("/");
    for (const [i] of parts.entries()) makeDirectory(disk, join(directory, ...parts.slice(0, i + 1)));
    const bytes = readStateFile(join(unpacked, path), LEDGER_MAX_BYTES);
    if (!bytes) throw new TypeError(`${path} is not where it was unpacked`);
    const owner = process.geteuid?.() === 0 ? uid : undefined;
    writeWhole(disk, join(directory, path), bytes, mode & ~WRITABLE_BY_OTHERS, owner);
  }
  const site = openSite(directory, options);
  requireSame("site", manifest.siteId, site.siteId);
  requireSame("length of the ledger", manifest.ledgerLength, site.ledger.heads.length);
  requireSame("head of the ledger", manifest.ledgerHead, headOf(site.ledger));
  const known = deploymentsOfLedger(site.ledger.entries);
  requireSame("what runs", canonicalJson(manifest.deployments).toString(), canonicalJson(known).toString());
  requireAuthorityOfLedger(site);
  // Nothing of it is on this host yet. The ledger is told when an operator has signed.
  writeDeployments(disk, site.paths, nothingRunning(known));
  return site;
}

/** The floor below which no release runs stays; the rest is of the host that was. */
export function nothingRunning(deployments: Deployments): Deployments {
  return { ...deployments, current: null, previous: null, data: null, engineId: null };
}

function requireSame(what: string, named: unknown, found: unknown): void {
  if (named === found) return;
  throw backupError("BACKUP_MALFORMED", `the backup's ${what}: got ${found}, but its manifest names ${named}`);
}
