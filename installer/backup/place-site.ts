/**
 * A site's own files put into a directory that becomes its state, from an unpacked backup: who it is, who may move it,
 * whom it trusts, and its history. Believed only as far as they agree with each other and with the manifest.
 */
import { chmodSync, chownSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { headOf } from "../lifecycle/ledger.ts";
import { deploymentsOfLedger } from "../lifecycle/ledger-deployments.ts";
import { openSite, requireAuthorityOfLedger, type Site, type SiteOptions } from "../lifecycle/site.ts";
import { type Deployments, writeDeployments } from "../site/deployment.ts";
import { hostDisk, makeDirectory } from "../site/disk.ts";
import { makeStateDirectories } from "../site/state.ts";
import type { BackupManifest } from "./backup-manifest.ts";
import { backupError } from "./error.ts";

const OF_THE_SITE = /^(?:site|trust|journal)\/|^ledger$/;
/** The lock's and the open journal's names mean something; neither is ever in a backup. */
const NEVER = ["journal/open", "site/audit-told.json"];

/**
 * Moves them from `unpacked` into `directory`, which is on the same filesystem and not yet a site. Returns it opened.
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
    renameSync(join(unpacked, path), join(directory, path));
    chmodSync(join(directory, path), mode);
    if (process.geteuid?.() === 0) chownSync(join(directory, path), uid, uid);
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

/** A directory beside `state` in which the site is put together until it becomes `state` by one rename. */
export function besideState(state: string): string {
  return join(dirname(state), `.${state.slice(dirname(state).length + 1)}.restore`);
}
