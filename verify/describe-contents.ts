/** Fills release-contents.ts from documents that were read by digest. Loaded only for a report that asks for it. */
import { type BundleRelease, DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../bundles/layout/contents.ts";
import { type Layout, readLayout } from "../bundles/layout/layout.ts";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { type DiffSide, diffReleases, type ImageDiff } from "../sbom/diff/diff.ts";
import { parseSbom, type SbomComponent } from "../sbom/document.ts";
import type { Finding, ScanReport } from "../sbom/scan/report.ts";
import type { ScanInput } from "../sbom/scan/scan.ts";
import { databaseText } from "./checks/scan.ts";
import {
  CELL_MAX_LENGTH,
  type ChangeRow,
  type Comparison,
  type EarlierRelease,
  type ImagePackages,
  type ReleaseContents,
  ROWS_MAX,
  type VulnerabilityRow,
} from "./release-contents.ts";

/** A release beside its scan. */
export interface Described {
  readonly layout: Layout;
  readonly release: BundleRelease;
  /** Undefined if there was none, for the reason in `notScanned`. */
  readonly scan: ScanReport | undefined;
  readonly notScanned: string;
}

/** The release that is compared with; its signatures are not verified here. `scan` looks its SBOMs up in the same records. */
export interface Earlier extends EarlierRelease {
  readonly scan: ((inputs: readonly ScanInput[]) => Promise<ScanReport>) | undefined;
}

/** @throws SBOM_MALFORMED and what reading by digest throws. What is wrong with the earlier release is said in `against`. */
export async function describeContents(next: Described, earlier: Earlier | undefined): Promise<ReleaseContents> {
  const cut = new Cut();
  const { scan } = next;
  const images = next.release.manifest.images.map(({ name, digest, sbom }): ImagePackages => {
    const { components } = parseSbom(next.layout.read(sbom, DOCUMENT_MAX_BYTES));
    return { name, digest, sbom, packages: cut.rows(components.map(packageRow)) };
  });
  const found = (scan?.subjects ?? []).flatMap(({ name, findings }) => findings.map((one) => findingRow(name, one)));
  return {
    images,
    records: cut.text(scan ? databaseText(scan.database) : `not checked: ${next.notScanned}`),
    vulnerabilities: cut.rows(found),
    comparison: earlier ? await compare(next, earlier, cut) : NOTHING_EARLIER,
    leftOut: cut.leftOut,
  };
}

/** Keeps tables and texts within their limits, and counts what it leaves out. */
class Cut {
  leftOut = 0;

  text(text: string): string {
    return (text.length > CELL_MAX_LENGTH ? `${text.slice(0, CELL_MAX_LENGTH)}…` : text).toWellFormed();
  }

  rows<Row extends object>(all: readonly Row[]): Row[] {
    this.leftOut += Math.max(0, all.length - ROWS_MAX);
    return all
      .slice(0, ROWS_MAX)
      .map((row) => Object.fromEntries(Object.entries(row).map(([name, text]) => [name, this.text(text)])) as Row);
  }
}

function packageRow({ type, group, name, version, purl, licences }: SbomComponent): ImagePackages["packages"][number] {
  return {
    kind: /^pkg:([a-z.+-]+)\//.exec(purl ?? "")?.[1] ?? type,
    name: group ? `${group}/${name}` : name,
    version: version ?? "",
    licences: licences?.join(", ") ?? "",
  };
}

function findingRow(
  image: string,
  { id, severity, package: one, fixed, status, statements }: Finding,
): VulnerabilityRow {
  const said = statements.map(
    ({ source, state, detail, expires }) =>
      `${source}: ${state}${detail ? `: ${detail}` : ""}${expires ? ` (until ${expires})` : ""}`,
  );
  return {
    image,
    id,
    level: severity.score === undefined ? severity.level : `${severity.level} ${severity.score}`,
    package: one.purl,
    fixed: fixed.join(", "),
    status,
    said: said.join("; "),
  };
}

const NOTHING_EARLIER: Comparison = {
  against: "not checked: no earlier release was given",
  images: [],
  alarms: 0,
  isScanned: false,
  records: "not checked",
};

async function compare(next: Described, earlier: Earlier, cut: Cut): Promise<Comparison> {
  try {
    const layout = readLayout(earlier.store);
    const release = readRelease(layout, readLayoutIndex(layout).release);
    const { digest } = release.descriptor;
    if (earlier.digest !== undefined && earlier.digest !== digest) throw new Error(`it is ${digest}`);
    const newer = sbomsOf(next.layout, next.release);
    const older = sbomsOf(layout, release).map((one) => newer.find((other) => isSameImage(one, other)) ?? one);
    const report = next.scan && earlier.scan ? await earlier.scan(older) : undefined;
    const diff = diffReleases(sides(older, report), sides(newer, next.scan), "by-name");
    const { appliance, version } = release.manifest;
    return {
      against: cut.text(`${appliance} ${version}, ${digest}`),
      images: diff.images.map(({ name, presence, unchanged, ...changes }) => {
        return { name, presence, unchanged, rows: cut.rows(changeRows(changes)) };
      }),
      alarms: diff.alarms,
      isScanned: report !== undefined,
      records: report
        ? `newest of ${report.database.newest ?? "unknown"}, ${report.database.digest}`
        : cut.text(`not checked: ${next.notScanned}`),
    };
  } catch (cause) {
    const against = cut.text(`not checked: the earlier release cannot be read: ${reasonOf(cause)}`);
    return { ...NOTHING_EARLIER, against };
  }
}

/** Then the newer document counts for both: that another version of Sealift listed more of it is no change of the image. */
function isSameImage(one: ScanInput, other: ScanInput): boolean {
  return one.name === other.name && one.digest === other.digest;
}

function sbomsOf(layout: Layout, { manifest }: BundleRelease): ScanInput[] {
  return manifest.images.map(({ name, digest, sbom }) => ({
    name,
    digest,
    sbom: layout.read(sbom, DOCUMENT_MAX_BYTES),
  }));
}

function sides(inputs: readonly ScanInput[], report: ScanReport | undefined): DiffSide[] {
  return inputs.map(({ name, sbom }, i) => ({
    name,
    document: parseSbom(sbom),
    findings: report?.subjects[i]?.findings,
  }));
}

function changeRows({ changes, vulnerabilities }: Pick<ImageDiff, "changes" | "vulnerabilities">): ChangeRow[] {
  const ofPackages = changes.map((one) => ({
    kind: one.kind,
    package: one.package,
    from: one.from ?? "",
    to: one.to ?? "",
    detail: one.before && one.after ? `${one.before.join(", ") || "none"} -> ${one.after.join(", ") || "none"}` : "",
  }));
  const found = (vulnerabilities ?? []).map((one) => ({
    kind: `vulnerability ${one.kind}`,
    package: one.package,
    from: one.from ?? "",
    to: one.to ?? "",
    detail: `${one.id} (${one.level}${one.status === "suppressed" ? ", suppressed" : ""})`,
  }));
  return [...ofPackages, ...found];
}
