/**
 * `fsck`: what is wrong with a site, on its disk and in its engine. Changes nothing and takes no lock, so an
 * operation may be under way beside it; it says so then, and compares nothing that is on the way. Every check is
 * made by what the other verbs rely on, and goes as far as it can alone: one that fails hides no other.
 */
import type { ExitCode } from "../../../bundles/model/sealift-error.ts";
import { siteError } from "../../site/error.ts";
import { surveyState } from "../../site/state.ts";
import { checkAuditLog } from "./audit-log.ts";
import { CheckLog, type FsckCheckResult, type FsckFinding, type Severity } from "./check-log.ts";
import { checkDeployment } from "./deployments.ts";
import { checkDisk } from "./disk-room.ts";
import { checkContainers, checkDatabase, checkEngine, checkImages } from "./engine-checks.ts";
import { type FsckGround, type FsckOptions, readGround } from "./ground.ts";
import { checkJournal, checkLedger } from "./history.ts";
import { checkImageFiles } from "./image-files.ts";
import { checkPolicy, checkRecords, checkTrust } from "./records.ts";
import { checkIdentities, checkSecrets } from "./secrets.ts";
import { checkStateFiles } from "./state-files.ts";
import { checkStore } from "./stored-releases.ts";

export interface FsckReport {
  /** Undefined if the site's records do not hold. */
  readonly siteId: string | undefined;
  readonly content: boolean;
  readonly checks: readonly FsckCheckResult[];
  /** In the order of the checks, each error once. */
  readonly findings: readonly FsckFinding[];
  /** Findings beyond the first hundred of a check. */
  readonly omitted: number;
  readonly warnings: readonly string[];
}

const CHECKS: ReadonlyMap<string, (ground: FsckGround, log: CheckLog) => void | Promise<void>> = new Map([
  ["files", checkStateFiles],
  ["records", checkRecords],
  ["journal", checkJournal],
  ["ledger", checkLedger],
  ["trust", checkTrust],
  ["policy", checkPolicy],
  ["deployment", checkDeployment],
  ["store", checkStore],
  ["secrets", checkSecrets],
  ["identities", checkIdentities],
  ["disk", checkDisk],
  ["engine", checkEngine],
  ["images", checkImages],
  ["image-files", checkImageFiles],
  ["containers", checkContainers],
  ["database", checkDatabase],
  ["audit-log", checkAuditLog],
]);

/**
 * Looks at the site in `directory`, contents too if asked to: these are read in chunks, whatever their size.
 * @throws STATE_NOT_FOUND | STATE_HALF_WRITTEN | STATE_FOREIGN where there is no site, STATE_UNREADABLE where its
 * directory may not be read. All that is wrong with one is in the report.
 */
export async function fsck(directory: string, options: FsckOptions): Promise<FsckReport> {
  requireSite(directory);
  const { onProgress = () => {} } = options;
  const ground = readGround(directory, { ...options, onProgress });
  const logs: CheckLog[] = [];
  for (const [name, check] of CHECKS) {
    onProgress(name);
    const log = new CheckLog(name);
    await check(ground, log);
    logs.push(log);
  }
  return {
    siteId: ground.site?.siteId,
    content: options.content,
    checks: logs.map((log) => log.result()),
    findings: eachOnce(logs.flatMap(({ findings }) => findings)),
    omitted: logs.reduce((sum, { omitted }) => sum + omitted, 0),
    warnings: [...new Set(logs.flatMap(({ warnings }) => warnings))],
  };
}

function requireSite(directory: string): void {
  let found: ReturnType<typeof surveyState>;
  try {
    found = surveyState(directory);
  } catch (cause) {
    // Its mode or owner: the checks tell it, and go on.
    if ((cause as { readonly code?: string }).code === "STATE_UNSAFE") return;
    throw cause;
  }
  if (found === "whole") return;
  if (found === "half-written") {
    throw siteError("STATE_HALF_WRITTEN", `${JSON.stringify(directory)}: site init did not finish`, {
      hints: ["sealift site init again; nothing was installed yet"],
    });
  }
  throw siteError("STATE_NOT_FOUND", `there is no site in ${JSON.stringify(directory)}`, {
    hints: ["name the site's directory with --state DIR"],
  });
}

const WORST: readonly Severity[] = ["unknown", "mismatch", "degraded"];

/** Several checks come upon the same damage; the one that takes it worst counts. */
function eachOnce(findings: readonly FsckFinding[]): FsckFinding[] {
  const known = new Map<string, FsckFinding>();
  for (const finding of findings) {
    const key = `${finding.code} ${finding.message}`;
    const before = known.get(key);
    if (!before || WORST.indexOf(finding.severity) < WORST.indexOf(before.severity)) known.set(key, finding);
  }
  return [...known.values()];
}

/** By CLI.md: 6 what `recover` must end comes before 3, a mismatch, and that before 4, degraded. */
export function fsckExit({ findings }: Pick<FsckReport, "findings">): 0 | ExitCode {
  const severities = new Set(findings.map(({ severity }) => severity));
  if (severities.has("unknown")) return 6;
  if (severities.has("mismatch")) return 3;
  return severities.has("degraded") ? 4 : 0;
}
