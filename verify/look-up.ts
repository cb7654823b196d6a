/**
 * What takes a look at all of a release's packages: vendors' SBOMs against ours, the scan, judged by the policy if it
 * has rules for one, and the description of what is in the release, if that was asked for. What each needs is loaded
 * only then.
 */
import type { BundleRelease } from "../bundles/layout/contents.ts";
import type { Layout } from "../bundles/layout/layout.ts";
import { OSV_SNAPSHOT_PREFIX } from "../bundles/model/media-types.ts";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { DEFAULT_SCAN_POLICY } from "../sbom/scan/scan-policy.ts";
import type { ImportedRecords, Scanned } from "./checks/scan.ts";
import type { Policy } from "./policy.ts";
import type { EarlierRelease, ReleaseContents } from "./release-contents.ts";
import type { Report } from "./report.ts";
import type { Trust } from "./trust/trust.ts";
import { notChecked } from "./verdict.ts";

export interface LookUp {
  readonly layout: Layout;
  readonly release: BundleRelease;
  readonly trust: Trust;
  readonly policy: Policy;
  readonly at: Date;
  /** Vulnerability records that did not come with the release. */
  readonly imported: ImportedRecords | undefined;
}

/** Check `sbom`, of vendors' documents. */
export async function checkVendorSboms(report: Report, { layout, release, trust }: LookUp): Promise<void> {
  await report.attempt("sbom", "carried SBOMs", async () => {
    const { checkVendorSboms: check } = await import("./checks/vendor-sbom.ts");
    report.add(...(await check(layout, release, report.signed, trust)));
  });
}

/** Check `scan`. Undefined if nothing was scanned. */
export async function checkScan(report: Report, question: LookUp): Promise<Scanned | undefined> {
  const { policy } = question;
  if (!policy.scan) {
    report.add(notChecked("scan", "release", "the policy does not say what a scan must find (its member scan)"));
    return undefined;
  }
  if (!hasRecords(question)) {
    const reason = "the release carries no vulnerability records, and none were imported";
    report.add(notChecked("scan", "release", reason));
    return undefined;
  }
  return report.attempt("scan", "vulnerability records", async () => {
    const { scanFindings } = await import("./checks/scan.ts");
    const scanned = await scan(report, question);
    if (scanned) report.add(...scanFindings(scanned.report));
    return scanned;
  });
}

/**
 * What is in the release, compared with `earlier`; it adds no finding. Without rules in the policy the default ones
 * look the packages up, and nobody is judged by them. Undefined if a document cannot be read: a check has said so.
 */
export async function describe(
  report: Report,
  question: LookUp,
  judged: Scanned | undefined,
  earlier: EarlierRelease | undefined,
): Promise<ReleaseContents | undefined> {
  try {
    const { describeContents } = await import("./describe-contents.ts");
    const { scanned, why } = judged ? { scanned: judged, why: "" } : await scanUnjudged(report, question);
    const next = { layout: question.layout, release: question.release, scan: scanned?.report, notScanned: why };
    return await describeContents(next, earlier && { ...earlier, scan: scanned?.again });
  } catch {
    return undefined;
  }
}

async function scanUnjudged(
  report: Report,
  question: LookUp,
): Promise<{ readonly scanned: Scanned | undefined; readonly why: string }> {
  if (!hasRecords(question)) return { scanned: undefined, why: "no vulnerability snapshot" };
  if (question.policy.scan) return { scanned: undefined, why: "the scan failed" };
  try {
    return { scanned: await scan(report, question), why: "" };
  } catch (cause) {
    return { scanned: undefined, why: reasonOf(cause) };
  }
}

function hasRecords({ imported, release }: LookUp): boolean {
  return (
    imported !== undefined || release.manifest.files.some(({ mediaType }) => mediaType.startsWith(OSV_SNAPSHOT_PREFIX))
  );
}

async function scan(report: Report, question: LookUp): Promise<Scanned | undefined> {
  const { scanRelease } = await import("./checks/scan.ts");
  const { layout, release, imported, trust, policy, at } = question;
  return scanRelease({
    layout,
    release,
    imported,
    security: trust.roles.get("security"),
    releaseSigners: report.releaseSigners("security"),
    policy: policy.scan ?? DEFAULT_SCAN_POLICY,
    at,
  });
}
