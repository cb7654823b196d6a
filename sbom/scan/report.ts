/** The result of a scan, as `sbom scan --json` prints it. */
import type { Digest } from "../../bundles/model/digest.ts";
import type { Severity } from "./severity.ts";

export interface ScannedPackage {
  /** As the SBOM has it; a component without one is named `name@version`. */
  readonly purl: string;
  readonly bomRef: string | undefined;
  /** As the records name it, where that is otherwise: Debian's source package. */
  readonly recordName: string;
  readonly version: string;
}

/** Why a vulnerability does not count, and who said so. */
export interface Statement {
  readonly source: "vex" | "waiver";
  /** File and place in it. */
  readonly where: string;
  /** CycloneDX's analysis state, or `waived`. */
  readonly state: string;
  readonly justification: string | undefined;
  readonly detail: string | undefined;
  /** RFC 3339, of the statement; of a waiver its expiry is `expires`. */
  readonly time: string | undefined;
  readonly expires: string | undefined;
  readonly isSigned: boolean;
}

export interface Finding {
  /** The best known name: a CVE where there is one. */
  readonly id: string;
  /** Ids of the records that say so, sorted. */
  readonly records: readonly string[];
  /** Every name of the vulnerability, sorted; with what the advisory is about. */
  readonly aliases: readonly string[];
  readonly upstream: readonly string[];
  readonly summary: string;
  readonly package: ScannedPackage;
  readonly severity: Severity;
  /** `undecided`: the record names the package, but one of the versions cannot be compared. Counts as affected. */
  readonly decision: "affected" | "undecided";
  /** Versions in which it is fixed, of the package as the records name it. */
  readonly fixed: readonly string[];
  /** Open ones count; `suppressed` ones stay in the report with their statement. */
  readonly status: "open" | "suppressed";
  /** What VEX and waivers say of it, the deciding one first; statements that do not suppress are here too. */
  readonly statements: readonly Statement[];
}

export interface NotCovered {
  readonly purl: string;
  readonly reason:
    | "no-purl"
    | "purl-malformed"
    | "no-version"
    | "distribution-unknown"
    | "source-unknown"
    | "ecosystem-unknown"
    | "ecosystem-not-in-database"
    | "release-not-in-database";
  /** A policy, or being an application that no registry has, allows it. */
  readonly accepted: boolean;
}

/** Files of a package that are no longer what its package manager recorded, as the SBOM says. */
export interface ChangedFiles {
  readonly purl: string;
  readonly count: number;
  /** The first of them, absolute paths, sorted. */
  readonly files: readonly string[];
}

export interface ScannedSubject {
  readonly name: string;
  /** Of the image's manifest, where the SBOM or the release names it. */
  readonly digest: Digest | undefined;
  /** Of the SBOM's bytes. */
  readonly sbomDigest: Digest;
  readonly serialNumber: string | undefined;
  /** Packages that the records could have named. */
  readonly scanned: number;
  readonly notCovered: readonly NotCovered[];
  /** Packages of these ecosystems are in the image, and the SBOM says that it does not list them. */
  readonly notCatalogued: readonly string[];
  readonly changedFiles: readonly ChangedFiles[];
  readonly findings: readonly Finding[];
}

export interface DatabaseReport {
  readonly digest: Digest;
  readonly isDirectory: boolean;
  /** Who signed it; empty if nobody whom the release trust knows. */
  readonly signers: readonly string[];
  readonly records: number;
  readonly withdrawn: number;
  readonly ecosystems: readonly { readonly name: string; readonly records: number; readonly newest: string | null }[];
  /** RFC 3339; null if no record has a time. */
  readonly newest: string | null;
  /** Whole days from the newest record to the time of the scan, rounded down; null as `newest`. */
  readonly ageDays: number | null;
  /** The first hundred that could not be read. */
  readonly unreadable: readonly { readonly name: string; readonly reason: string }[];
  readonly unreadableCount: number;
  readonly ignoredFiles: number;
}

export interface Denial {
  readonly code:
    | "vulnerability"
    | "not-covered"
    | "not-catalogued"
    | "changed-files"
    | "nothing-to-scan"
    | "record-unreadable"
    | "database-too-old"
    | "database-without-time"
    | "database-from-the-future"
    | "database-not-signed";
  readonly subject: string;
  readonly message: string;
}

export interface ScanReport {
  readonly schemaVersion: 1;
  readonly decision: "allow" | "deny";
  /** Why it is denied; empty if it is allowed. */
  readonly denials: readonly Denial[];
  readonly at: string;
  readonly policy: { readonly digest: Digest };
  readonly database: DatabaseReport;
  /** Statements of VEX that name no product exactly, or are from the future: none of them counted. */
  readonly ignoredStatements: readonly { readonly where: string; readonly message: string }[];
  readonly subjects: readonly ScannedSubject[];
}
