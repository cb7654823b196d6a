/**
 * A directory of collateral, and the kits that bring it up to date: on a site `site/collateral`, on a verifier's machine
 * wherever its person keeps it. What is newer is never replaced by what is older.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { AnyPolicy } from "../../verify/attestation/attestation-policy.ts";
import { CRL_MAX_BYTES } from "../../verify/attestation/certificate.ts";
import {
  type CollateralItem,
  checkCollateral,
  collateralItems,
  firstToEnd,
  requireNotOlder,
} from "../../verify/attestation/collateral-check.ts";
import { type CollateralStatement, readCollateralKit } from "../../verify/attestation/collateral-kit.ts";
import { attestationError } from "../../verify/attestation/error.ts";
import { type CollateralFile, readCollateral } from "../../verify/attestation/read-collateral.ts";
import type { Signer } from "../site/allowed-signers.ts";
import { CLOCK_TOLERANCE_MS } from "../site/clock.ts";
import { type Disk, makeDirectory, readStateFile, removeDurably, writeWhole } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import type { Approval } from "./authorization.ts";
import { appendEntry } from "./ledger.ts";
import type { Site } from "./site.ts";
import { checkCollateralSignature } from "./verifier-signature.ts";

export const COLLATERAL_IMPORTED = "collateral-imported";
const DAY_MS = 86_400_000;
/** Lists live 30 days and more; half of the shortest is time for a journey. */
const WARNING_DAYS = 14;
const WAY = "sealift attest needs, attest fetch on a connected machine, attest import";
/** Whether it is what `writeWhole` leaves when the power goes: a file that is not whole. */
export const isUnfinished = (name: string): boolean => /^\..*\.new$/.test(name);

export interface ImportQuestion {
  readonly kit: Buffer;
  /** Whose kits count. */
  readonly signers: readonly Signer[];
  readonly directory: string;
  /** By which evidence will be appraised: its smallest numbers hold for the import too. */
  readonly policy: AnyPolicy | null;
  readonly now: Date;
}

export interface ImportedCollateral {
  readonly statement: CollateralStatement;
  readonly by: Approval;
  /** All that is in the directory now. */
  readonly items: readonly CollateralItem[];
}

export function siteCollateral({ directory }: StatePaths): string {
  return join(directory, "site", "collateral");
}

/** The files of a directory of collateral, by name; those that an interrupted import left are not among them. @throws STATE_UNREADABLE */
export function collateralFiles(directory: string): CollateralFile[] {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => !isUnfinished(name));
  return names.toSorted().flatMap((name) => {
    const bytes = readStateFile(join(directory, name), CRL_MAX_BYTES);
    return bytes === undefined ? [] : [{ name, bytes }];
  });
}

/**
 * Believes the kit, checks what is in it, and only then puts it into `directory`: new files first, then those go that are
 * nothing but older issues of the same. A crash between leaves both, of which the newer counts. What is there for other
 * machines stays.
 * @throws ATTEST_COLLATERAL_MALFORMED | ATTEST_COLLATERAL_SIGNATURE | ATTEST_COLLATERAL_SIGNER | ATTEST_COLLATERAL_ROLLED_BACK |
 * STATE_… and what `checkCollateral` throws
 */
export async function importCollateral(disk: Disk, question: ImportQuestion): Promise<ImportedCollateral> {
  const { directory, signers, policy, now } = question;
  const { statement, statementBytes, signature, files } = readCollateralKit(question.kit);
  const by = await checkCollateralSignature(signers, statementBytes, signature, now);
  requireFetchedBefore(statement, now);
  const items = checkCollateral(files, statement.needs, now, policy);
  const present = collateralFiles(directory);
  const before = collateralItems(present);
  requireNotOlder(items, before);
  const names = files.map(({ name }) => name);
  const renewed = new Set(items.map(({ what }) => what));
  const superseded = present.filter(
    ({ name }) => !names.includes(name) && before.every(({ file, what }) => file !== name || renewed.has(what)),
  );
  const kept = present.filter((file) => !names.includes(file.name) && !superseded.includes(file));
  // Also that there are not too many for an appraisal to read.
  readCollateral([...kept, ...files]);
  makeDirectory(disk, directory);
  for (const { name, bytes } of files) writeWhole(disk, join(directory, name), bytes, 0o644);
  for (const { name } of superseded) removeDurably(disk, join(directory, name));
  return { statement, by, items: collateralItems(collateralFiles(directory)) };
}

function requireFetchedBefore({ fetched }: CollateralStatement, now: Date): void {
  if (Date.parse(fetched) <= now.getTime() + CLOCK_TOLERANCE_MS) return;
  throw attestationError(
    "ATTEST_COLLATERAL_EXPIRED",
    `collateral kit: was fetched at ${fetched}, it is only ${now.toISOString()}`,
    { hints: ["compare the clocks of this machine and of the connected one"] },
  );
}

/** The same into a site's own directory, by one of its operators, and into its ledger. MUST be called under the site's lock. */
export async function importSiteCollateral(
  site: Site,
  kit: Buffer,
  policy: AnyPolicy | null,
): Promise<ImportedCollateral> {
  const { disk, paths, authority } = site;
  const directory = siteCollateral(paths);
  const { now } = site.clock();
  const imported = await importCollateral(disk, { kit, signers: authority.operators, directory, policy, now });
  const data = {
    kit: digestOf(kit),
    fetched: imported.statement.fetched,
    by: { ...imported.by },
    until: firstToEnd(imported.items)?.until.toISOString() ?? null,
  };
  appendEntry(disk, paths.ledger, COLLATERAL_IMPORTED, data, site.clock());
  return imported;
}

export interface CollateralForecast {
  readonly what: string;
  /** RFC 3339: from then on it is of no use, but for a policy's days of grace. */
  readonly until: string;
  /** Negative if it has ended. */
  readonly daysLeft: number;
}

/** What of the site's own collateral ends first; undefined where there is none. @throws STATE_UNREADABLE and what the files' readers throw */
export function collateralForecast({ paths, clock }: Pick<Site, "paths" | "clock">): CollateralForecast | undefined {
  const first = firstToEnd(collateralItems(collateralFiles(siteCollateral(paths))));
  if (first === undefined) return undefined;
  const daysLeft = Math.floor((first.until.getTime() - clock().now.getTime()) / DAY_MS);
  return { what: first.what, until: first.until.toISOString(), daysLeft };
}

/** One sentence if the site's collateral ends soon, has ended, or cannot be read. None of it stops what runs. */
export function collateralWarnings(site: Pick<Site, "paths" | "clock">): string[] {
  try {
    const forecast = collateralForecast(site);
    if (forecast === undefined || forecast.daysLeft > WARNING_DAYS) return [];
    const { what, until, daysLeft } = forecast;
    const when = daysLeft < 0 ? "ended on" : `in ${daysLeft} days ends, on`;
    return [`attestation collateral: ${what} ${when} ${until.slice(0, 10)}: ${WAY}`];
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return [`attestation collateral cannot be read (${cause.code}): ${WAY}`];
  }
}
