/** Verification with the site's own trust, policy and time: the only verdict from which a site moves. */
import { dirname, join, resolve } from "node:path";
import { closeStore, openStore, readLayout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { type AllowedRelease, allowRelease } from "../../verify/allowed-release.ts";
import { readApprovals } from "../../verify/approval-files.ts";
import { type CageOptions, examineInCage } from "../../verify/cage/run-cage.ts";
import { parsePolicy } from "../../verify/policy.ts";
import type { EarlierRelease, ReleaseContents } from "../../verify/release-contents.ts";
import { decide, sortFindings, type Verdict } from "../../verify/verdict.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { requireClock } from "../site/clock.ts";
import { readDeployments } from "../site/deployment.ts";
import { siteError } from "../site/error.ts";
import { DEFAULT_STATE, surveyState } from "../site/state.ts";
import { storedPath, storedReleases } from "../site/store.ts";
import { attestationFindings } from "./attested.ts";
import { policiesOfLedger } from "./policy-change.ts";
import { clockFinding, openSite, type Site } from "./site.ts";
import { enrolledTrust } from "./trust-change.ts";

/**
 * The site in `directory`, for looking only, as long as there is one.
 * @throws TRUST_NOT_ENROLLED if there is none, and what `openSite` throws
 */
export function openSiteForVerify(directory = DEFAULT_STATE): Site {
  const found = surveyState(directory);
  if (found !== "absent" && found !== "empty") return openSite(directory);
  throw siteError("TRUST_NOT_ENROLLED", `there is no site in ${JSON.stringify(directory)} whose trust could be used`, {
    hints: ["for an advisory verdict name the publisher's release trust with --trust DIR"],
  });
}

export interface SiteStandards {
  readonly trustFiles: CageOptions["trustFiles"];
  readonly policyBytes: Buffer;
  readonly earlierPolicies: readonly Digest[];
}

/** What this site judges by, as its ledger has it. @throws TRUST_NOT_ENROLLED | TRUST_CHANGED | STATE_DAMAGED */
export function siteStandards(site: Site): SiteStandards {
  const policies = policiesOfLedger(site.ledger.entries);
  return {
    trustFiles: enrolledTrust(site).files,
    policyBytes: (policies.at(-1) as (typeof policies)[number]).bytes,
    earlierPolicies: policies.slice(0, -1).map(({ digest }) => digest),
  };
}

/**
 * The release that runs, open to be compared with the one at `path`; undefined if none does, if it is the same, or
 * cannot be opened: who needs it for more than a comparison says so. The caller closes its store.
 */
export function openCurrentRelease({ paths }: Pick<Site, "paths">, path: string): EarlierRelease | undefined {
  const { current } = readDeployments(paths);
  const stored = current && storedPath(paths.directory, current.release);
  if (!current || !stored || resolve(stored) === resolve(path)) return undefined;
  try {
    return { store: openStore(stored), digest: current.release };
  } catch {
    return undefined;
  }
}

export interface SiteVerification {
  readonly verdict: Verdict;
  /** Only if the verdict allows it. Its layout reads the files that were verified, until `close`. */
  readonly allowed: AllowedRelease | undefined;
  /** Only if it was asked for. */
  readonly contents: ReleaseContents | undefined;
  close(): void;
}

/** What a verb asks of a verification besides the verdict. */
export interface SiteQuestion {
  /** Clock findings for which an operator vouches in the authorization to come (`--confirm-clock`). */
  readonly confirms?: readonly string[];
  /** Vulnerability records that did not come with the release (`--db`); the caller closes them. */
  readonly imported?: CageOptions["imported"];
  readonly describe?: CageOptions["describe"];
  /** Bundles besides the site's stored releases that hold what a thin one leaves out. */
  readonly base?: readonly string[];
}

/** Where blobs lie that a thin bundle may leave out: the stored releases. One of those is whole by itself. */
function baseOf({ paths }: Pick<Site, "paths">, path: string): string[] {
  if (dirname(resolve(path)) === join(paths.directory, "store")) return [];
  return storedReleases(paths.directory)
    .map((release) => storedPath(paths.directory, release))
    .filter(isReadable);
}

/** A stored release that is damaged is no help; if it would be needed, the verdict says what is missing. */
function isReadable(path: string): boolean {
  try {
    closeStore(openStore(path));
    return true;
  } catch {
    return false;
  }
}

/**
 * Verifies the bundle or stored release at `path`, which is opened once: what is staged later comes from
 * the same open files, so nobody can put another bundle in its place.
 * @throws TRUST_NOT_ENROLLED | TRUST_CHANGED | STATE_DAMAGED | CLOCK_BACKWARDS | CLOCK_JUMPED |
 * LAYOUT_NOT_FOUND, LAYOUT_UNREADABLE | CAGE_FAILED | RELEASE_EXCHANGED. What is wrong with the bundle is
 * in the verdict.
 */
export async function verifyForSite(
  site: Site,
  path: string,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  { confirms = [], imported, describe, base = [] }: SiteQuestion = {},
): Promise<SiteVerification> {
  const standards = siteStandards(site);
  requireClock(clockFinding(site), confirms);
  const time = { at: site.clock().now.toISOString(), source: "host-clock" } as const;
  const store = openStore(path, [...baseOf(site, path), ...base]);
  try {
    const approvals = readApprovals(path);
    const question = { ...standards, approvals, store, time, scope: "site", sealiftVersion: sealiftVersion() } as const;
    const { verdict: judged, contents } = await examineInCage({ ...question, imported, describe, onProgress });
    const verdict = withAttestation(site, judged, standards.policyBytes);
    const { policy } = parsePolicy(standards.policyBytes);
    const counted = policy.approvals || policy.rebuilds ? approvals : [];
    const allowed = verdict.decision === "allow" ? allowRelease(verdict, readLayout(store), counted) : undefined;
    return { verdict, allowed, contents, close: () => closeStore(store) };
  } catch (cause) {
    closeStore(store);
    throw cause;
  }
}

/** What the ledger says of this host's attestation is no matter of the bundle: it is added out here. */
function withAttestation(site: Site, verdict: Verdict, policyBytes: CageOptions["policyBytes"]): Verdict {
  const own = attestationFindings(site, verdict.subject.digest);
  if (own.length === 0 || policyBytes === undefined) return verdict;
  const findings = sortFindings([...verdict.findings, ...own]);
  return { ...verdict, findings, decision: decide(findings, parsePolicy(policyBytes).policy) };
}
