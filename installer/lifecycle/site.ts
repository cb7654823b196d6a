/** The site as operations see it: who it is, who may move it, and its history, checked against each other. */
import { randomBytes } from "node:crypto";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Authority, authoritySchema, parseAuthority } from "../site/authority.ts";
import { type Clock, type ClockFinding, hostClock, judgeClock } from "../site/clock.ts";
import { type Disk, hostDisk, writeWhole } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import {
  makeStateDirectories,
  openState,
  readStateDocument,
  type SiteIdentity,
  type StatePaths,
  statePaths,
  surveyState,
  writeStateDocument,
} from "../site/state.ts";
import { lifecycleError } from "./error.ts";
import { type Ground, requireNoOpenJournal } from "./execute.ts";
import { firstEntry, type Ledger, type LedgerEntry, readLedger } from "./ledger.ts";
import { requireDeploymentsOfLedger } from "./ledger-deployments.ts";

export const SITE_CREATED = "site-created";
export const AUTHORITY_CHANGED = "authority-changed";

export interface Site extends Ground {
  readonly siteId: string;
  readonly authority: Authority;
  readonly ledger: Ledger;
}

export interface SiteOptions {
  readonly disk?: Disk;
  readonly clock?: Clock;
}

/**
 * Makes a site in `directory`, which must not be one yet. site.json comes last: a crash before it leaves
 * a directory that `createSite` takes up again. @throws STATE_EXISTS | STATE_FOREIGN | STATE_UNSAFE |
 * STATE_UNREADABLE | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function createSite(directory: string, authority: Authority, options: SiteOptions = {}): SiteIdentity {
  const { disk = hostDisk, clock = hostClock } = options;
  const paths = statePaths(directory);
  if (surveyState(directory) === "whole") {
    throw siteError("STATE_EXISTS", `there is a site in ${JSON.stringify(directory)} already`, {
      hints: ["sealift operator list; operators are changed with `sealift operator add|remove`"],
    });
  }
  const reading = clock();
  const siteId = randomBytes(16).toString("hex");
  const identity: SiteIdentity = { schemaVersion: 1, siteId, created: reading.now.toISOString() };
  makeStateDirectories(disk, directory);
  // An empty directory of somebody else's making may have been open to others.
  surveyState(directory);
  writeStateDocument(disk, paths.authority, authority.document);
  writeWhole(disk, paths.ledger, firstEntry(SITE_CREATED, { siteId, authority: authority.document }, reading));
  writeStateDocument(disk, paths.site, identity);
  return identity;
}

/**
 * Opens the site, for looking only: an operation may be under way or have stopped half-way.
 * The authority must be the one of the ledger's last word on it: whoever edited the file is found out.
 * @throws what `openState`, `readLedger` and `parseAuthority` throw; AUTHORITY_CHANGED | STATE_DAMAGED |
 * LEDGER_OTHER_SITE
 */
export function openSite(directory: string, options: SiteOptions = {}): Site {
  const { disk = hostDisk, clock = hostClock } = options;
  const { siteId } = openState(directory);
  const paths = statePaths(directory);
  const ledger = readLedger(paths.ledger);
  requireSiteId(ledger, siteId);
  const authority = readAuthority(paths);
  return { paths, disk, clock, siteId, ledger, authority };
}

/** As `openSite`, for what changes the site: no operation is open, and authority and deployments are the ledger's. */
export function openSiteForChange(directory: string, options: SiteOptions = {}): Site {
  const site = openSite(directory, options);
  requireNoOpenJournal(site.paths);
  requireAuthorityOfLedger(site);
  requireDeploymentsOfLedger(site);
  return site;
}

/** @throws STATE_DAMAGED and what `parseAuthority` throws */
export function readAuthority(paths: StatePaths): Authority {
  const document = readStateDocument(paths.authority, authoritySchema);
  if (document === undefined) throw siteError("STATE_DAMAGED", "site/authority.json is missing");
  return parseAuthority(document);
}

/** @throws AUTHORITY_CHANGED */
export function requireAuthorityOfLedger({ authority, ledger }: Site): void {
  const known = authorityOfLedger(ledger.entries);
  if (known?.digest === authority.digest) return;
  throw siteError(
    "AUTHORITY_CHANGED",
    `site authority: got ${authority.digest}, but the ledger's is ${known?.digest ?? "missing"}`,
    {
      hints: [
        "somebody edited site/authority.json without an authorization; keep it as evidence",
        "sealift ledger show prints the operators that were enrolled",
      ],
    },
  );
}

/** The authority that the entries end with; undefined if they name none. @throws AUTHORITY_MALFORMED */
export function authorityOfLedger(entries: readonly LedgerEntry[]): Authority | undefined {
  const entry = entries.findLast(({ type }) => type === SITE_CREATED || type === AUTHORITY_CHANGED);
  return entry && parseAuthority(entry.data["authority"]);
}

/** The site id in the first entry; "" if it names none. */
export function siteIdOfLedger(ledger: Ledger): string {
  const [first] = ledger.entries;
  return first?.type === SITE_CREATED ? String(first.data["siteId"]) : "";
}

function requireSiteId(ledger: Ledger, siteId: string): void {
  const named = siteIdOfLedger(ledger);
  if (named === siteId) return;
  throw lifecycleError("LEDGER_OTHER_SITE", `ledger: is of site ${JSON.stringify(named)}, but this is ${siteId}`, {
    hints: ["parts of two sites were mixed; restore this one from its backup"],
  });
}

/** What the clock looks like against the ledger's end. */
export function clockFinding({ clock, ledger }: Site): ClockFinding | undefined {
  return judgeClock(clock(), ledger.entries.at(-1) as LedgerEntry);
}

/** The canonical bytes of the authority, as they lie on disk. */
export function authorityBytes(authority: Authority): Buffer {
  return canonicalJson(authority.document);
}
