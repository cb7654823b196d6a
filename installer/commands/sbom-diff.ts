import { plain, plainJson } from "../../bundles/model/plain-text.ts";
import { type DiffSide, diffReleases } from "../../sbom/diff/diff.ts";
import { diffLines, diffMarkdown } from "../../sbom/diff/diff-text.ts";
import { parseSbom } from "../../sbom/document.ts";
import type { ScanReport } from "../../sbom/scan/report.ts";
import { type ScanInput, scanSboms } from "../../sbom/scan/scan.ts";
import { DEFAULT_SCAN_POLICY_BYTES, parseScanPolicy } from "../../sbom/scan/scan-policy.ts";
import { snapshotOnDisk } from "../../sbom/scan/snapshot-on-disk.ts";
import { NO_CLAIMS } from "../../sbom/scan/statements.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";
import { readSbomInputs } from "./sbom-inputs.ts";

const NAME = "sbom diff";

export const sbomDiff: Command = {
  name: NAME,
  summary: "what changed between two releases or SBOMs: packages, licences, bytes, vulnerabilities",
  usage: "OLD NEW [--db DIR_OR_ZIP] [--image NAME] [--format text|json|markdown]",
  details: [
    "OLD, NEW         bundles, or CycloneDX documents",
    "--db PATH        OSV records, to tell which vulnerabilities are introduced, fixed and carried",
    "--image NAME     of bundles, this image only",
    "--format F       text (default), json or markdown",
    "Checks no signature. Exit 0: compared. Exit 3: a package has the same version and other bytes.",
  ],
  options: { db: { type: "string" }, image: { type: "string" }, format: { type: "string" } },
  run: async (invocation) => {
    const [oldPath = "", newPath = ""] = positionals(invocation, NAME, "OLD", "NEW");
    const { terminal } = invocation;
    const format = optionalOption(invocation, "format") ?? "text";
    if (format !== "text" && format !== "json" && format !== "markdown") {
      throw usageError(NAME, `--format: got ${JSON.stringify(format)}, want text, json or markdown`);
    }
    const image = optionalOption(invocation, "image");
    const database = optionalOption(invocation, "db");
    const [older, newer] = [await readSbomInputs(NAME, oldPath, image), await readSbomInputs(NAME, newPath, image)];
    const progress = terminal.progress("comparing");
    const report = database === undefined ? undefined : await scan([...older, ...newer], database);
    const sides = [...older, ...newer].map(({ name, sbom }, i): DiffSide => {
      return { name, document: parseSbom(sbom), findings: report?.subjects[i]?.findings };
    });
    const diff = diffReleases(sides.slice(0, older.length), sides.slice(older.length));
    progress.done();
    // What the records could not tell; the vulnerabilities themselves are in the diff.
    const notChecked = (report?.denials ?? []).filter(({ code }) => code !== "vulnerability");
    terminal.document({ ...diff, database: report?.database ?? null, notChecked });
    if (format === "json") terminal.result(plainJson(diff));
    else if (format === "markdown") for (const line of diffMarkdown(diff).trimEnd().split("\n")) terminal.result(line);
    else for (const line of diffLines(diff)) terminal.result(line);
    if (format === "text" && report) {
      const { ageDays, digest } = report.database;
      terminal.result(`database: ${ageDays ?? "unknown"} days old, ${digest}`);
      for (const { subject, message } of notChecked) terminal.result(plain(`not checked: ${subject}: ${message}`));
    }
    return diff.alarms === 0 ? 0 : 3;
  },
};

/** Both sides in one pass over the database. */
function scan(inputs: readonly ScanInput[], database: string): Promise<ScanReport> {
  const { policy, digest } = parseScanPolicy(DEFAULT_SCAN_POLICY_BYTES);
  return scanSboms(inputs, {
    database: snapshotOnDisk(database),
    databaseSigners: () => [],
    policy,
    policyDigest: digest,
    at: new Date(),
    claims: NO_CLAIMS,
    onProgress: () => {},
  });
}
