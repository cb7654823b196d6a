/** A scan's report for people: what was found, what was not looked at, and how old the records are. */
import { plain } from "../../bundles/model/plain-text.ts";
import { changedFilesText } from "./changed-files.ts";
import { splitEcosystem } from "./ecosystems.ts";
import type { DatabaseReport, Finding, ScannedSubject, ScanReport } from "./report.ts";

const CHANGED_SHOWN = 20;
const RELEASES_SHOWN = 12;

/** Lines without a line break; every text from outside is escaped. */
export function reportLines(report: ScanReport): string[] {
  const { denials, database, ignoredStatements, subjects, at } = report;
  return [
    ...subjects.flatMap(subjectLines),
    ...databaseLines(database, at),
    ...ignoredStatements.map(({ where, message }) => `ignored statement: ${where}: ${message}`),
    ...denials.map(({ code, subject, message }) => `denied [${code}] ${subject}: ${message}`),
    `decision: ${report.decision}`,
  ].map(plain);
}

function subjectLines(subject: ScannedSubject): string[] {
  const { name, digest, scanned, notCovered, notCatalogued, changedFiles, findings } = subject;
  const open = findings.filter(({ status }) => status === "open");
  return [
    `${name}${digest ? `  ${digest}` : ""}`,
    `  ${scanned} packages scanned, ${notCovered.length} not covered: ${open.length} vulnerabilities open, ${findings.length - open.length} suppressed`,
    ...findings.flatMap(findingLines),
    ...notCovered.map((one) => `  not covered: ${one.purl}: ${one.reason}${one.accepted ? " (accepted)" : ""}`),
    ...notCatalogued.map((ecosystem) => `  not listed by the SBOM: packages of ${ecosystem}`),
    ...changedFiles.map((one) => `  not as packaged: ${one.purl}: ${changedFilesText(one, CHANGED_SHOWN)}`),
  ];
}

function findingLines(finding: Finding): string[] {
  const { id, records, severity, package: one, fixed, status, decision, statements } = finding;
  const score = severity.score === undefined ? "" : ` ${severity.score}`;
  const names = records.filter((record) => record !== id).join(", ");
  const fix = fixed.length > 0 ? `fixed in ${fixed.join(", ")}` : "no fix known";
  const doubt = decision === "undecided" ? ", not decided by its versions" : "";
  return [
    `  ${status === "open" ? "" : "suppressed "}${severity.level}${score}  ${id}${names ? ` (${names})` : ""}  ${one.purl}  ${fix}${doubt}`,
    ...statements.map(
      ({ source, state, where, detail, expires, isSigned }) =>
        `    ${source} ${state}, ${isSigned ? "signed" : "not signed"}: ${where}${detail ? `: ${detail}` : ""}${expires ? ` (until ${expires})` : ""}`,
    ),
  ];
}

function databaseLines(database: DatabaseReport, at: string): string[] {
  const { digest, isDirectory, signers, records, withdrawn, newest, ageDays, unreadableCount } = database;
  const age = ageDays === null ? "of unknown age" : `${ageDays} days old at ${at} (newest record ${newest})`;
  const signed = signers.length > 0 ? `signed by ${signers.join(", ")}` : "no signature checked";
  return [
    `database: ${age}`,
    `  ${digest}, ${signed}`,
    `  ${records} records, ${withdrawn} withdrawn, ${unreadableCount} unreadable, of ${ecosystemsText(database)}`,
    ...(isDirectory ? ["  not checked: whether files are missing from the directory"] : []),
  ];
}

/** Of an ecosystem with many releases or products the number of them. */
export function ecosystemsText({ ecosystems }: DatabaseReport): string {
  const byBase = Map.groupBy(ecosystems, ({ name }) => splitEcosystem(name).base);
  return [...byBase]
    .map(([base, all]) =>
      all.length > RELEASES_SHOWN ? `${base} (${all.length})` : all.map(({ name }) => name).join(", "),
    )
    .join(", ");
}
