/**
 * `scan`: the packages that the release's SBOMs list have no known vulnerability that the policy denies, by a
 * snapshot of OSV: one that the release carries, or one that the site has, whichever has the newer record. Loaded
 * only where there is one to read (ADR 0028).
 *
 * Whatever the scan cannot tell is a failure, not a gap: a record that cannot be read, a package that no record
 * covers, a distribution that nobody knows, an SBOM without packages.
 */
import { createHash } from "node:crypto";
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { readAt } from "../../bundles/layout/read-at.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestFromHex, digestOf } from "../../bundles/model/digest.ts";
import { sbomError } from "../../sbom/error.ts";
import { carriedClaims, carriedSnapshot } from "../../sbom/scan/carried-records.ts";
import { changedFilesText } from "../../sbom/scan/changed-files.ts";
import type { DatabaseReport, Denial, ScannedSubject, ScanReport } from "../../sbom/scan/report.ts";
import { ecosystemsText } from "../../sbom/scan/report-text.ts";
import { type ScanInput, scanSboms } from "../../sbom/scan/scan.ts";
import type { ScanPolicy } from "../../sbom/scan/scan-policy.ts";
import type { SnapshotSource } from "../../sbom/scan/snapshot.ts";
import type { SnapshotKind } from "../../sbom/scan/snapshot-kind.ts";
import { verifyError } from "../error.ts";
import { signersOfBlob } from "../signature/role-blob.ts";
import type { TrustRole } from "../trust/trust.ts";
import { type Finding, failed, passed } from "../verdict.ts";

/** A snapshot that did not come with the release: one open file, and Sigstore bundles over its bytes. */
export interface ImportedRecords {
  readonly kind: SnapshotKind;
  readonly fd: number;
  readonly size: number;
  readonly signatures: readonly Buffer[];
}

export interface ScanQuestion {
  readonly layout: Layout;
  readonly release: BundleRelease;
  readonly imported: ImportedRecords | undefined;
  readonly security: TrustRole | undefined;
  /** Holders of the security role who signed the release, and with it what it carries. */
  readonly releaseSigners: readonly string[];
  readonly policy: ScanPolicy;
  readonly at: Date;
}

interface Records {
  readonly source: SnapshotSource;
  /** By the digest that the scan comes to. */
  readonly signers: (digest: Digest) => readonly string[];
}

/** A scan, and how to look up other SBOMs in the same records. */
export interface Scanned {
  readonly report: ScanReport;
  readonly again: (inputs: readonly ScanInput[]) => Promise<ScanReport>;
}

/**
 * The scan of every image of the release; undefined if there are no records.
 * @throws SCAN_DATABASE_NOT_SIGNED for imported records that the security role did not sign: they are not parsed.
 * SBOM_MALFORMED | SCAN_DATABASE_UNREADABLE | SCAN_DATABASE_EMPTY | SCAN_STATEMENT_MALFORMED and what reading a blob
 * by its digest throws
 */
export async function scanRelease(question: ScanQuestion): Promise<Scanned | undefined> {
  const { layout, release, policy, at } = question;
  const inputs = release.manifest.images.map(({ name, digest, sbom }) => {
    return { name, digest, sbom: layout.read(sbom, DOCUMENT_MAX_BYTES) };
  });
  const claims = carriedClaims(layout, release, at, policy.maxWaiverDays);
  const policyDigest = digestOf(canonicalJson(policy));
  const all: Scanned[] = [];
  for (const { source, signers } of recordsOf(question)) {
    const again = (sboms: readonly ScanInput[]): Promise<ScanReport> =>
      scanSboms(sboms, {
        database: source,
        databaseSigners: signers,
        policy,
        policyDigest,
        at,
        claims,
        onProgress: () => {},
      });
    all.push({ report: await again(inputs), again });
  }
  // RFC 3339 in UTC sorts as text.
  const newest = ({ report }: Scanned): string => report.database.newest ?? "";
  return all.sort((a, b) => (newest(a) < newest(b) ? 1 : -1))[0];
}

function recordsOf({ layout, release, imported, security, releaseSigners }: ScanQuestion): Records[] {
  const carried = carriedSnapshot(layout, release);
  return [
    ...(carried ? [{ source: carried, signers: () => releaseSigners }] : []),
    ...(imported ? [importedRecords(imported, security)] : []),
  ];
}

const CHUNK_BYTES = 1024 * 1024;

/** Hashed and its signatures checked first: nothing in the file is parsed before that. */
function importedRecords({ kind, fd, size, signatures }: ImportedRecords, security: TrustRole | undefined): Records {
  const digest = digestOfFile(fd, size);
  const signers = signersOfBlob(signatures, digest, security);
  if (signers.length === 0) {
    throw verifyError(
      "SCAN_DATABASE_NOT_SIGNED",
      `imported vulnerability records ${digest}: not signed by the security role`,
    );
  }
  const read = (offset: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    if (readAt(fd, bytes, offset) !== length) throw new RangeError("the file became shorter while it was read");
    return bytes;
  };
  async function* stream(): AsyncGenerator<Buffer> {
    for (let at = 0; at < size; at += CHUNK_BYTES) yield read(at, Math.min(CHUNK_BYTES, size - at));
  }
  const file = {
    name: "snapshot",
    kind,
    stream,
    withRandomAccess: (use) => use({ size, read }),
  } satisfies SnapshotSource["files"][number];
  return {
    source: { location: "imported by the site", isDirectory: false, files: [file] },
    signers: (got) => {
      if (got === digest) return signers;
      throw sbomError(
        "SCAN_DATABASE_UNREADABLE",
        `imported vulnerability records ${digest}: changed while they were read`,
      );
    },
  };
}

function digestOfFile(fd: number, size: number): Digest {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    hash.update(chunk.subarray(0, readAt(fd, chunk.subarray(0, Math.min(CHUNK_BYTES, size - at)), at)));
  }
  return digestFromHex(hash.digest("hex"));
}

/** `sbom scan` has more of them. */
const [CHANGED_PACKAGES_SHOWN, CHANGED_FILES_SHOWN] = [20, 10];

const CODES: Readonly<Record<Denial["code"], string>> = {
  vulnerability: "SCAN_VULNERABILITY",
  "not-covered": "SCAN_NOT_COVERED",
  "not-catalogued": "SCAN_NOT_CATALOGUED",
  "changed-files": "SCAN_FILES_CHANGED",
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
    ...(denials.some(({ code }) => code === "changed-files") ? [] : subjects.flatMap(changedFindings)),
    ...report.ignoredStatements.map(({ where, message }) => passed("scan", where, `statement not counted: ${message}`)),
  ];
}

/** Which files are not as packaged, where the policy does not deny it. */
function changedFindings({ name, changedFiles }: ScannedSubject): Finding[] {
  return changedFiles
    .slice(0, CHANGED_PACKAGES_SHOWN)
    .map((one) => passed("scan", name, `not as packaged, ${one.purl}: ${changedFilesText(one, CHANGED_FILES_SHOWN)}`));
}

/** Age, number, ecosystems and digest of the records, in one line. */
export function databaseText(database: DatabaseReport): string {
  const { ageDays, newest, records, withdrawn, digest } = database;
  const age = ageDays === null ? "of unknown age" : `${ageDays} days old, the newest of ${newest}`;
  return `${age}; ${records} records, ${withdrawn} withdrawn, of ${ecosystemsText(database)}; ${digest}`;
}

function subjectText({ scanned, findings, notCovered, changedFiles }: ScannedSubject): string {
  const suppressed = findings.filter(({ status }) => status === "suppressed").length;
  const open = findings.length - suppressed;
  return (
    `${scanned} packages looked up: ${open} vulnerabilities, none that the policy denies; ` +
    `${suppressed} suppressed by statements; ${notCovered.length} packages accepted unscanned; ` +
    `${changedFiles.length} packages have files that are not as packaged`
  );
}
