/** The result of a scan as CycloneDX VEX: a document of its own that points into the SBOM by BOM-Link. */
import { createHash } from "node:crypto";
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Finding, ScannedSubject, ScanReport } from "./report.ts";
import type { Level } from "./severity.ts";

/**
 * CycloneDX 1.6 JSON in canonical form, the same bytes for the same report. Open findings are `in_triage`
 * unless a statement says otherwise; suppressed ones carry what was said, a waiver as `exploitable` with
 * the response `will_not_fix`. The bytes are about one subject of the report.
 */
export function vexDocument(report: ScanReport, subject: ScannedSubject, toolVersion: string): Buffer {
  const bom = new Models.Bom({ serialNumber: serialNumber(report, subject, toolVersion) });
  bom.metadata.tools.components.add(
    new Models.Component(Enums.ComponentType.Application, "sealift", { version: toolVersion }),
  );
  const purl = subject.digest ? `pkg:oci/${subject.name}@${subject.digest.replace(":", "%3A")}` : undefined;
  bom.metadata.component = new Models.Component(Enums.ComponentType.Container, subject.name, {
    bomRef: "subject",
    ...(purl ? { purl } : {}),
  });
  const refs = new Map<string, string>();
  for (const finding of subject.findings) {
    const { bomRef, purl: packagePurl } = finding.package;
    const link = bomLink(subject, bomRef);
    if (link === undefined && !refs.has(packagePurl)) {
      // An SBOM without a serial number cannot be pointed into: the package is repeated here.
      refs.set(packagePurl, packagePurl);
      bom.components.add(
        new Models.Component(Enums.ComponentType.Library, packagePurl, { bomRef: packagePurl, purl: packagePurl }),
      );
    }
    bom.vulnerabilities.add(vulnerability(finding, link));
  }
  const factory = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  const plain = factory.makeForBom().normalize(bom, { sortLists: true });
  // The library does not model when an analysis was made; without it no reader knows which one is the latest.
  const times = new Map(subject.findings.map((one) => [bomRefOf(one), one.statements[0]?.time ?? report.at]));
  return canonicalJson({
    ...plain,
    metadata: { ...plain.metadata, timestamp: report.at },
    vulnerabilities: (plain.vulnerabilities ?? []).map((one) => ({
      ...one,
      analysis: { ...one.analysis, lastUpdated: times.get(one["bom-ref"] ?? "") ?? report.at },
    })),
  });
}

function bomRefOf({ id, records, package: { purl, bomRef } }: Finding): string {
  return `${id}:${records.join(",")}:${bomRef ?? purl}`;
}

function vulnerability(finding: Finding, link: string | undefined): Models.Vulnerability.Vulnerability {
  const { id, records, aliases, upstream, summary, severity, fixed } = finding;
  const [said] = finding.statements;
  const isWaived = finding.statements.some(({ source }) => source === "waiver");
  const advice = fixed.length > 0 ? { recommendation: `fixed in ${fixed.join(", ")}` } : {};
  const made = new Models.Vulnerability.Vulnerability({
    bomRef: bomRefOf(finding),
    id,
    source: new Models.Vulnerability.Source({ name: "OSV" }),
    ...(summary ? { description: summary } : {}),
    ...advice,
    analysis: new Models.Vulnerability.Analysis({
      state: isWaived ? Enums.Vulnerability.AnalysisState.Exploitable : stateOf(said?.state),
      ...(isWaived
        ? {
            response: new Enums.Vulnerability.AnalysisResponseRepository([
              Enums.Vulnerability.AnalysisResponse.WillNotFix,
            ]),
          }
        : {}),
      ...(said?.detail ? { detail: said.detail } : {}),
    }),
  });
  const ref = link === undefined ? new Models.BomRef(finding.package.purl) : new Models.BomLinkElement(link);
  made.affects.add(new Models.Vulnerability.Affect(ref));
  made.ratings.add(
    new Models.Vulnerability.Rating({
      severity: SEVERITY[severity.level],
      ...(severity.score !== undefined ? { score: severity.score } : {}),
      ...(severity.vector !== undefined ? { vector: severity.vector, method: methodOf(severity.vector) } : {}),
    }),
  );
  for (const name of new Set([...records, ...aliases, ...upstream])) {
    if (name === id) continue;
    made.references.add(new Models.Vulnerability.Reference(name, new Models.Vulnerability.Source({ name: "OSV" })));
  }
  return made;
}

const SEVERITY: Readonly<Record<Level, Enums.Vulnerability.Severity>> = {
  critical: Enums.Vulnerability.Severity.Critical,
  high: Enums.Vulnerability.Severity.High,
  medium: Enums.Vulnerability.Severity.Medium,
  low: Enums.Vulnerability.Severity.Low,
  none: Enums.Vulnerability.Severity.None,
  unknown: Enums.Vulnerability.Severity.Unknown,
};

function stateOf(state: string | undefined): Enums.Vulnerability.AnalysisState {
  const known = Object.values(Enums.Vulnerability.AnalysisState).find((one) => one === state);
  return known ?? Enums.Vulnerability.AnalysisState.InTriage;
}

function methodOf(vector: string): Enums.Vulnerability.RatingMethod {
  if (vector.startsWith("CVSS:4.0/")) return Enums.Vulnerability.RatingMethod.CVSSv4;
  if (vector.startsWith("CVSS:3.1/")) return Enums.Vulnerability.RatingMethod.CVSSv31;
  return vector.startsWith("CVSS:3.0/")
    ? Enums.Vulnerability.RatingMethod.CVSSv3
    : Enums.Vulnerability.RatingMethod.CVSSv2;
}

/** `urn:cdx:<serial>/<version>#<bom-ref>`; our documents and those of the common tools are version 1. */
function bomLink({ serialNumber: serial }: ScannedSubject, bomRef: string | undefined): string | undefined {
  if (bomRef === undefined || !serial?.startsWith("urn:uuid:")) return undefined;
  return `urn:cdx:${serial.slice("urn:uuid:".length)}/1#${encodeURIComponent(bomRef)}`;
}

/** UUID version 8 (RFC 9562, 5.8) of what determines the document. */
function serialNumber(report: ScanReport, subject: ScannedSubject, toolVersion: string): string {
  const seed = [
    "sealift vex",
    subject.sbomDigest,
    report.database.digest,
    report.policy.digest,
    report.at,
    toolVersion,
  ];
  const bytes = createHash("sha256")
    .update(canonicalJson([...seed, subject.findings.map((one) => one.statements)]))
    .digest();
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString("hex", 0, 16);
  return `urn:uuid:${hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`;
}
