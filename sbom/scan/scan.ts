/**
 * Vulnerabilities of the packages that SBOMs list, from a snapshot of OSV on disk. No network, no index:
 * the packages are known first, then every record is read once, so that a record that cannot be read is
 * seen whatever package it is about.
 *
 * What peers pass over in silence is a denial here: a record that cannot be read, a package whose
 * ecosystem or release the snapshot does not have, a distribution nobody knows, an SBOM without packages.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { parseSbom, propertyValues, type SbomComponent, type SbomDocument } from "../document.ts";
import { sbomError } from "../error.ts";
import { byText } from "../generate/catalog.ts";
import type { Judgement } from "./affected.ts";
import { changedFilesOf, changedFilesText } from "./changed-files.ts";
import { ECOSYSTEMS, splitEcosystem } from "./ecosystems.ts";
import { type OsvRecord, parseOsvRecord } from "./osv-record.ts";
import { identifyPackage, type NotIdentified, namesSources, type PackageIdentity } from "./package-identity.ts";
import type {
  DatabaseReport,
  Denial,
  Finding,
  NotCovered,
  ScannedPackage,
  ScannedSubject,
  ScanReport,
} from "./report.ts";
import type { ScanPolicy } from "./scan-policy.ts";
import { LEVELS, severityOf, UNKNOWN } from "./severity.ts";
import { Snapshot, type SnapshotSource } from "./snapshot.ts";
import { applyStatements, type Claims } from "./statements.ts";

export interface ScanInput {
  readonly name: string;
  /** Of the image's manifest, if the caller knows it; else the SBOM's own subject is asked. */
  readonly digest: Digest | undefined;
  readonly sbom: Buffer;
}

export interface ScanOptions {
  readonly database: SnapshotSource;
  readonly databaseSigners: (digest: Digest) => readonly string[];
  readonly policy: ScanPolicy;
  readonly policyDigest: Digest;
  readonly at: Date;
  /** VEX statements and waivers; those of waivers were verified by the caller. */
  readonly claims: Claims;
  readonly onProgress: (records: number) => void;
}

/** A package of one or more SBOMs. */
interface Query {
  readonly identity: PackageIdentity;
  readonly package: ScannedPackage;
  readonly hits: Hit[];
}

/** What is kept of a record; the rest of it would be most of a large snapshot. */
interface Hit extends Pick<OsvRecord, "id" | "aliases" | "upstream" | "summary" | "ratings"> {
  readonly judgement: Judgement;
}

interface PlannedSubject {
  readonly input: ScanInput;
  readonly document: SbomDocument;
  readonly queries: readonly Query[];
  readonly notIdentified: readonly { readonly component: SbomComponent; readonly reason: NotIdentified }[];
}

const UNREADABLE_SHOWN = 100;
const CHANGED_SHOWN = 5;
const DAY_MS = 86_400_000;
/** Clocks differ; more than a day ahead is no such difference. */
const FUTURE_MS = DAY_MS;

/**
 * @throws SBOM_MALFORMED | SCAN_DATABASE_UNREADABLE | SCAN_DATABASE_EMPTY, and what the database's source throws.
 * Whatever else is wrong is a denial in the report. Checks no signature itself.
 */
export async function scanSboms(inputs: readonly ScanInput[], options: ScanOptions): Promise<ScanReport> {
  const subjects = inputs.map(planSubject);
  const byName = lookupsOf(subjects.flatMap(({ queries }) => queries));
  const database = await readDatabase(options, byName);
  const scanned = subjects.map((subject) => describeSubject(subject, database, options));
  const denials = [
    ...databaseDenials(database, options),
    ...scanned.flatMap((subject) => subjectDenials(subject, options.policy)),
  ];
  return {
    schemaVersion: 1,
    decision: denials.length === 0 ? "allow" : "deny",
    denials,
    at: options.at.toISOString(),
    policy: { digest: options.policyDigest },
    database,
    ignoredStatements: options.claims.problems,
    subjects: scanned,
  };
}

function planSubject(input: ScanInput): PlannedSubject {
  const document = parseSbom(input.sbom);
  const hasSources = namesSources(document);
  const queries: Query[] = [];
  const notIdentified: { component: SbomComponent; reason: NotIdentified }[] = [];
  for (const component of document.components) {
    const identity = identifyPackage(component, hasSources);
    if (identity === undefined) continue;
    if (typeof identity === "string") notIdentified.push({ component, reason: identity });
    else queries.push({ identity, package: scannedPackage(component, identity), hits: [] });
  }
  return { input, document, queries, notIdentified };
}

function scannedPackage(component: SbomComponent, { names: [{ name, version }] }: PackageIdentity): ScannedPackage {
  return { purl: component.purl ?? "", bomRef: component.bomRef, recordName: name, version };
}

/** What is asked of a record that names a package: of which, and in which version. */
type Lookups = ReadonlyMap<string, readonly { readonly query: Query; readonly version: string }[]>;

function lookupsOf(queries: readonly Query[]): Lookups {
  const all = queries.flatMap((query) =>
    query.identity.names.map(({ name, version }) => ({ key: keyOf(query.identity.ecosystem, name), query, version })),
  );
  return Map.groupBy(all, ({ key }) => key);
}

function keyOf(ecosystem: string, name: string): string {
  return `${ecosystem}\n${ECOSYSTEMS.get(ecosystem)?.spell(name) ?? name}`;
}

async function readDatabase(options: ScanOptions, byName: Lookups): Promise<DatabaseReport> {
  const snapshot = new Snapshot(options.database);
  const ecosystems = new Map<string, { records: number; newest: number }>();
  const unreadable: { name: string; reason: string }[] = [];
  let records = 0;
  let withdrawn = 0;
  let unreadableCount = 0;
  let newest = Number.NEGATIVE_INFINITY;
  for await (const { name, text, reason } of snapshot.texts()) {
    const record = text === undefined ? (reason ?? "not read") : parseOsvRecord(text);
    if (typeof record === "string") {
      unreadableCount += 1;
      if (unreadable.length < UNREADABLE_SHOWN) unreadable.push({ name, reason: record });
      continue;
    }
    records += 1;
    if (records % 1000 === 0) options.onProgress(records);
    const modified = record.modified?.getTime() ?? Number.NEGATIVE_INFINITY;
    newest = Math.max(newest, modified);
    for (const ecosystem of new Set(record.affected.map((one) => one.ecosystem))) {
      const known = ecosystems.get(ecosystem) ?? { records: 0, newest: Number.NEGATIVE_INFINITY };
      ecosystems.set(ecosystem, { records: known.records + 1, newest: Math.max(known.newest, modified) });
    }
    if (record.isWithdrawn) withdrawn += 1;
    else collectHits(record, byName);
  }
  if (records === 0 && unreadableCount === 0) {
    throw sbomError(
      "SCAN_DATABASE_EMPTY",
      `vulnerability records ${JSON.stringify(options.database.location)}: there is none`,
      {
        hints: ["--db names a directory, a zip or a tar of OSV records in JSON"],
      },
    );
  }
  const digest = snapshot.digest();
  return {
    digest,
    isDirectory: options.database.isDirectory,
    signers: options.databaseSigners(digest),
    records,
    withdrawn,
    ecosystems: [...ecosystems]
      .sort(([a], [b]) => byText(a, b))
      .map(([name, one]) => ({ name, records: one.records, newest: timeText(one.newest) })),
    newest: timeText(newest),
    ageDays: newest === Number.NEGATIVE_INFINITY ? null : Math.floor((options.at.getTime() - newest) / DAY_MS),
    unreadable,
    unreadableCount,
    ignoredFiles: snapshot.ignored.length,
  };
}

function timeText(time: number): string | null {
  return time === Number.NEGATIVE_INFINITY ? null : new Date(time).toISOString();
}

function collectHits(record: OsvRecord, byName: Lookups): void {
  for (const affected of record.affected) {
    const { base, release } = splitEcosystem(affected.ecosystem);
    const ecosystem = ECOSYSTEMS.get(base);
    if (!ecosystem) continue;
    for (const { query, version } of byName.get(keyOf(base, affected.name)) ?? []) {
      if (!isRelease(query.identity, release)) continue;
      const judgement = ecosystem.judge(version, affected);
      if (judgement.status === "unaffected") continue;
      const { id, aliases, upstream, summary } = record;
      query.hits.push({ id, aliases, upstream, summary, ratings: [...record.ratings, ...affected.ratings], judgement });
    }
  }
}

/** A record about no release in particular is about each of them. */
function isRelease({ releases }: PackageIdentity, release: string | undefined): boolean {
  return releases === undefined || release === undefined || releases.includes(release);
}

function describeSubject(subject: PlannedSubject, database: DatabaseReport, options: ScanOptions): ScannedSubject {
  const { input, document, queries, notIdentified } = subject;
  const digest = input.digest ?? subjectDigest(document);
  const missing = queries.flatMap((query): { purl: string; reason: NotCovered["reason"] }[] => {
    const reason = missingRecords(query.identity, database);
    return reason ? [{ purl: query.package.purl, reason }] : [];
  });
  const unnamed = notIdentified.map(({ component, reason }) => ({
    purl: component.purl ?? `${component.name}@${component.version ?? ""}`,
    reason,
    // Software of one's own that no registry has: no public record could name it.
    isOwn: reason === "no-purl" && component.type === "application",
  }));
  const notCovered = [...missing.map((one) => ({ ...one, isOwn: false })), ...unnamed].map(
    ({ purl, reason, isOwn }): NotCovered => ({
      purl,
      reason,
      accepted: isOwn || options.policy.acceptNotCovered.some((pattern) => covers(pattern, purl)),
    }),
  );
  const about = { digest, serialNumber: document.serialNumber };
  return {
    name: input.name,
    digest,
    sbomDigest: digestOf(input.sbom),
    serialNumber: document.serialNumber,
    scanned: queries.length - missing.length,
    notCovered: notCovered.sort((a, b) => byText(a.purl, b.purl)),
    notCatalogued: document.subject ? propertyValues(document.subject, "sealift:sbom:not-catalogued") : [],
    changedFiles: changedFilesOf(document),
    findings: queries
      .flatMap((query) => findingsOf(query))
      .map((finding) => applyStatements(finding, about, options.claims, options.at))
      .sort(
        (a, b) =>
          LEVELS.indexOf(b.severity.level) - LEVELS.indexOf(a.severity.level) ||
          byText(a.package.purl, b.package.purl) ||
          byText(a.id, b.id),
      ),
  };
}

function subjectDigest({ subject }: SbomDocument): Digest | undefined {
  const match = /^pkg:oci\/[^@]+@(sha256(?::|%3[Aa])[0-9a-f]{64})(?:[?#]|$)/.exec(subject?.purl ?? "");
  return match ? (match[1]?.replace(/%3a/i, ":") as Digest) : undefined;
}

function missingRecords(
  { ecosystem, releases }: PackageIdentity,
  { ecosystems }: DatabaseReport,
): NotCovered["reason"] | undefined {
  const known = ecosystems.map(({ name }) => splitEcosystem(name)).filter(({ base }) => base === ecosystem);
  if (known.length === 0) return "ecosystem-not-in-database";
  const isThere = known.some(({ release }) => release === undefined || releases?.includes(release));
  return releases === undefined || isThere ? undefined : "release-not-in-database";
}

function covers(pattern: string, purl: string): boolean {
  return pattern.endsWith("*") ? purl.startsWith(pattern.slice(0, -1)) : purl === pattern;
}

/** One finding for each vulnerability: records that name each other are about the same one. */
function findingsOf(query: Query): Finding[] {
  const groups = new Map<string, Hit[]>();
  for (const hit of query.hits) {
    const named = new Set(namesOf(hit).flatMap((name) => [groups.get(name) ?? []]));
    // Into the largest: the kernel has thousands of records.
    const [largest = [], ...others] = [...named].sort((a, b) => b.length - a.length);
    const added = [...others.flat(), hit];
    largest.push(...added);
    for (const name of added.flatMap(namesOf)) groups.set(name, largest);
  }
  return [...new Set(groups.values())].map((hits) => describeFinding(query, hits));
}

function namesOf({ id, aliases }: Hit): string[] {
  return [id, ...aliases];
}

function describeFinding(query: Query, hits: readonly Hit[]): Finding {
  const sorted = (names: readonly string[]): string[] => [...new Set(names)].sort(byText);
  const aliases = sorted(hits.flatMap(namesOf));
  const upstream = sorted(hits.flatMap((hit) => hit.upstream));
  const ratings = hits.flatMap((hit) => hit.ratings);
  const isAffected = hits.some(({ judgement }) => judgement.status === "affected");
  const [only] = upstream.length === 1 ? upstream : [];
  return {
    id: aliases.find((name) => name.startsWith("CVE-")) ?? only ?? (aliases[0] as string),
    records: sorted(hits.map(({ id }) => id)),
    aliases,
    upstream,
    summary: hits.map((hit) => hit.summary).find((text) => text !== "") ?? "",
    package: query.package,
    severity: severityOf([...new Set(ratings)]) ?? UNKNOWN,
    decision: isAffected ? "affected" : "undecided",
    fixed: [...new Set(hits.flatMap(({ judgement }) => judgement.fixed))],
    status: "open",
    statements: [],
  };
}

function databaseDenials(database: DatabaseReport, { policy, at }: ScanOptions): Denial[] {
  const denials: Denial[] = [];
  const deny = (code: Denial["code"], message: string): void => {
    denials.push({ code, subject: "database", message });
  };
  if (database.unreadableCount > 0) {
    const [first] = database.unreadable;
    deny(
      "record-unreadable",
      `${database.unreadableCount} records could not be read, the first ${first?.name}: ${first?.reason}`,
    );
  }
  if (policy.requireSignedDatabase && database.signers.length === 0) {
    deny("database-not-signed", "the database is not signed by the security role");
  }
  if (database.ageDays === null) {
    if (policy.maxDatabaseAgeDays !== undefined) deny("database-without-time", "no record says when it was written");
    return denials;
  }
  if (policy.maxDatabaseAgeDays !== undefined && database.ageDays > policy.maxDatabaseAgeDays) {
    deny(
      "database-too-old",
      `the newest record is ${database.ageDays} days old, want at most ${policy.maxDatabaseAgeDays}`,
    );
  }
  if (database.newest !== null && new Date(database.newest).getTime() - at.getTime() > FUTURE_MS) {
    deny("database-from-the-future", `the newest record is of ${database.newest}, it is ${at.toISOString()}`);
  }
  return denials;
}

function subjectDenials(subject: ScannedSubject, policy: ScanPolicy): Denial[] {
  const deny = (code: Denial["code"], message: string): Denial => ({ code, subject: subject.name, message });
  const denials = subject.findings
    .filter((finding) => finding.status === "open" && isDenied(finding, policy))
    .map(({ id, severity, package: { purl }, decision }) =>
      deny("vulnerability", `${id} (${severity.level}${decision === "undecided" ? ", undecided" : ""}) in ${purl}`),
    );
  for (const { purl, reason, accepted } of subject.notCovered) {
    if (!accepted) denials.push(deny("not-covered", `${purl}: ${reason}`));
  }
  for (const ecosystem of subject.notCatalogued) {
    // Who accepts all packages of a type unscanned, accepts those that nobody listed.
    if (policy.acceptNotCovered.includes(`pkg:${ecosystem}/*`)) continue;
    denials.push(deny("not-catalogued", `the image has packages of ${ecosystem} that its SBOM does not list`));
  }
  for (const one of policy.changedFiles === "deny" ? subject.changedFiles : []) {
    denials.push(deny("changed-files", `${one.purl}: not as packaged are ${changedFilesText(one, CHANGED_SHOWN)}`));
  }
  if (subject.scanned === 0 && subject.notCovered.every(({ accepted }) => accepted)) {
    denials.push(deny("nothing-to-scan", "the SBOM lists no package that a record could name"));
  }
  return denials;
}

function isDenied(finding: Finding, policy: ScanPolicy): boolean {
  const rule = policy.vulnerabilities[finding.severity.level];
  return rule === "deny" || (rule === "deny-fixable" && (finding.fixed.length > 0 || finding.decision === "undecided"));
}
