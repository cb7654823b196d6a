/**
 * `scan`: the packages that the release's SBOMs list have no known vulnerability that the policy denies, by a
 * snapshot of OSV. Loaded only where there is a snapshot to read (ADR 0021).
 *
 * The snapshot is one that the release carries. Whatever the scan cannot tell is a failure, not a gap: a record
 * that cannot be read, a package that no record covers, a distribution that nobody knows, an SBOM without packages.
 */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { carriedClaims } from "../../sbom/scan/carried-records.ts";
import type { DatabaseReport, Denial, ScannedSubject, ScanReport } from "../../sbom/scan/report.ts";
import { scanSboms } from "../../sbom/scan/scan.ts";
import type { ScanPolicy } from "../../sbom/scan/scan-policy.ts";
import type { SnapshotSource } from "../../sbom/scan/snapshot.ts";
import { type Finding, failed, passed } from "../verdict.ts";

export interface ScanQuestion {
  readonly layout: Layout;
  readonly release: BundleRelease;
  readonly snapshot: SnapshotSource;
  /** Holders of the security role who signed it. */
  readonly signers: readonly string[];
  readonly policy: ScanPolicy;
  readonly at: Date;
}

/**
 * The scan of every image of the release.
 * @throws SBOM_MALFORMED | SCAN_DATABASE_UNREADABLE | SCAN_DATABASE_EMPTY | SCAN_STATEMENT_MALFORMED and what
 * reading a blob by its digest throws
 */
export function scanRelease({ layout, release, snapshot, signers, policy, at }: ScanQuestion): Promise<ScanReport> {
  const inputs = release.manifest.images.map(({ name, digest, sbom }) => {
    return { name, digest, sbom: layout.read(sbom, DOCUMENT_MAX_BYTES) };
  });
  return scanSboms(inputs, {
    database: snapshot,
    databaseSigners: () => signers,
    policy,
    policyDigest: digestOf(canonicalJson(policy)),
    at,
    claims: carriedClaims(layout, release, at, policy.maxWaiverDays),
    onProgress: () => {},
  });
}

const CODES: Readonly<Record<Denial["code"], string>> = {
  vulnerability: "SCAN_VULNERABILITY",
  "not-covered": "SCAN_NOT_COVERED",
  "not-catalogued": "SCAN_NOT_CATALOGUED",
  "nothing-to-scan": "SCAN_NOTHING_TO_SCAN",
  "record-unreadable": "SCAN_RECORD_UNREADABLE",
  "database-too-old": "SCAN_DATABASE_TOO_OLD",
  "database-without-time": "SCAN_DATABASE_WITHOUT_TIME",
  "database-from-the-future": "SCAN_DATABASE_FROM_FUTURE",
  "database-not-signed": "SCAN_DATABASE_NOT_SIGNED",
};

/** The age of the records always; each denial; and of each image that none is about, what was found. */
export function scanFindings(report: ScanReport): Finding[] {
  const { database, denials, subjects } = report;
  const denied = denials.map(({ code, subject, message }) => failed("scan", subject, CODES[code], message));
  const clean = subjects.filter(({ name }) => !denials.some(({ subject }) => subject === name));
  return [
    passed("scan", "vulnerability records", databaseText(database)),
    ...denied,
    ...clean.map((subject) => passed("scan", subject.name, subjectText(subject))),
    ...report.ignoredStatements.map(({ where, message }) => passed("scan", where, `statement not counted: ${message}`)),
  ];
}

function databaseText({ ageDays, newest, records, withdrawn, ecosystems, digest }: DatabaseReport): string {
  const age = ageDays === null ? "of unknown age" : `${ageDays} days old, the newest of ${newest}`;
  const names = ecosystems.map(({ name }) => name).join(", ");
  return `${age}; ${records} records, ${withdrawn} withdrawn, of ${names}; ${digest}`;
}

function subjectText({ scanned, findings, notCovered }: ScannedSubject): string {
  const suppressed = findings.filter(({ status }) => status === "suppressed").length;
  const open = findings.length - suppressed;
  return (
    `${scanned} packages looked up: ${open} vulnerabilities, none that the policy denies; ` +
    `${suppressed} suppressed by statements; ${notCovered.length} packages accepted unscanned`
  );
}
