import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { diskNeed } from "../../compose/engine/disk-need.ts";
import { type DoctorFacts, type DoctorFinding, diagnose, type SiteFact } from "../host/doctor.ts";
import { gatherDoctorFacts } from "../host/doctor-facts.ts";
import { collateralWarnings, siteCollateral } from "../lifecycle/collateral-store.ts";
import { openSite, type Site } from "../lifecycle/site.ts";
import { clientCertificate } from "../lifecycle/site-status.ts";
import { readDeployments } from "../site/deployment.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const MARKS = { pass: "ok  ", fail: "FAIL", "not-checked": "n/c " };

export const doctor: Command = {
  name: "doctor",
  summary: "check this host, with a fix for each failure; exit 0 or 4",
  usage: "[--for BUNDLE] [--state DIR]",
  details: [
    "--for BUNDLE  also whether this release fits: platform, disk, clock; checks no signature",
    "--state DIR   of the site whose certificate for clients is looked at (default /var/lib/sealift)",
  ],
  options: { for: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, "doctor");
    const { terminal } = invocation;
    const bundle = optionalOption(invocation, "for");
    const need = bundle === undefined ? undefined : needOf(bundle);
    const findings = await examineHost(invocation, need);
    for (const { check, status, message, fix, reason } of findings) {
      terminal.result(
        plain(`${MARKS[status]} ${check.padEnd(20)} ${message}${reason ? ` (not checked: ${reason})` : ""}`),
      );
      if (fix !== undefined) terminal.result(plain(`     ${"".padEnd(20)} fix: ${fix}`));
    }
    const failed = findings.filter((finding) => finding.status === "fail").length;
    const skipped = findings.filter((finding) => finding.status === "not-checked").length;
    terminal.result(`${findings.length} checks: ${failed} failed, ${skipped} not checked`);
    terminal.document({ schemaVersion: 1, ok: failed === 0, findings });
    return failed === 0 ? 0 : 4;
  },
};

/** What `doctor` finds: of this host, and of the site that the invocation names. */
export async function examineHost(invocation: Invocation, need?: DoctorFacts["need"]): Promise<DoctorFinding[]> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-docker-"));
  try {
    return diagnose(await gatherDoctorFacts(join(directory, "config"), need, await factsOfSite(invocation)));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function factsOfSite(invocation: Invocation): Promise<Pick<DoctorFacts, "clientCertificate" | "collateral">> {
  return {
    clientCertificate: await siteFact(invocation, async (site) => {
      const { current } = readDeployments(site.paths);
      if (!current) return undefined;
      const { problems, warnings } = await clientCertificate(site, current);
      return [...problems, ...warnings];
    }),
    collateral: await siteFact(invocation, async (site) =>
      existsSync(siteCollateral(site.paths)) ? collateralWarnings(site) : undefined,
    ),
  };
}

/** What `look` says is wrong with this host's site; undefined if it has no such thing. */
async function siteFact(
  invocation: Invocation,
  look: (site: Site) => Promise<readonly string[] | undefined>,
): Promise<SiteFact> {
  try {
    const problems = await look(openSite(stateDirectory(invocation)));
    return problems === undefined ? { state: "none" } : { state: "known", problems };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return cause.code === "STATE_NOT_FOUND" ? { state: "none" } : { state: "unknown", reason: cause.message };
  }
}

function needOf(path: string): DoctorFacts["need"] {
  const { layout, store } = openLayout(path);
  try {
    const release = readRelease(layout, readLayoutIndex(layout).release);
    const { version, created, platform } = release.manifest;
    return { release: version, created, platform, peakBytes: diskNeed(layout, release).peakBytes };
  } finally {
    closeStore(store);
  }
}
