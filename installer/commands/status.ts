import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { attestationFindings } from "../lifecycle/attested.ts";
import { type CollateralForecast, collateralForecast } from "../lifecycle/collateral-store.ts";
import { clockFinding, openSite, type Site } from "../lifecycle/site.ts";
import { type SiteStatus, siteStatus } from "../lifecycle/site-status.ts";
import { errorLines } from "../ui/terminal.ts";
import { type Command, positionals } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "status";
const EXITS: Readonly<Record<SiteStatus["state"], number>> = {
  healthy: 0,
  degraded: 4,
  "not-installed": 4,
  unknown: 6,
};

const DEGRADED_HINT =
  "hint: sealift start starts what does not run and writes changed files anew; sealift logs SERVICE says more";

export const status: Command = {
  name: NAME,
  summary: "what runs on this site, and whether it is as it should be",
  usage: "[--state DIR]",
  details: ["Exit 0: healthy. Exit 4: degraded, or nothing is installed. Exit 6: unknown, see `sealift recover`."],
  options: STATE_OPTION,
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const site = openSite(stateDirectory(invocation));
    const found = await lookAt(site);
    const { state, deployments, problems, warnings, containers, front } = found;
    const { current, previous } = deployments;
    terminal.result(`site ${site.siteId}: ${state}`);
    if (current) terminal.result(`  ${current.appliance} ${current.version} in ${current.colour}  ${current.release}`);
    if (previous) terminal.result(`  before: ${previous.version}  ${previous.release}`);
    if (front) terminal.result(`  clients: ${front.address}`);
    for (const { project, service, text } of containers) {
      terminal.result(`  ${plain(project)}  ${plain(service).padEnd(12)} ${plain(text)}`);
    }
    const clock = clockFinding(site);
    // It stops nothing that runs; the next change of the site asks an operator about it.
    if (clock) terminal.note(`note: ${clock.code}: ${clock.message}`);
    const [attestation] = attestationFindings(site, current?.release ?? null);
    if (attestation?.status === "pass") terminal.result(`  attestation: ${plain(attestation.message)}`);
    else if (attestation) terminal.note(`note: ${attestation.code}: ${plain(attestation.message)}`);
    const collateral = forecastOf(site);
    if (collateral) terminal.result(`  collateral: ${plain(collateral.what)} until ${collateral.until}`);
    for (const problem of problems) terminal.result(`  PROBLEM ${plain(problem)}`);
    for (const warning of warnings) terminal.result(`  soon: ${plain(warning)}`);
    if (state === "degraded") terminal.note(DEGRADED_HINT);
    terminal.document({
      siteId: site.siteId,
      state,
      current,
      previous,
      securityFloor: deployments.securityFloor,
      front,
      problems,
      warnings,
      clock: clock ?? null,
      attestation: attestation ?? null,
      collateral: collateral ?? null,
      containers: containers.map(({ project, service, healthy, restarts, text }) => ({
        ...{ project, service, healthy, restarts, text },
      })),
    });
    return EXITS[state];
  },
};

/** Of what was imported here; what cannot be read is one of the warnings. */
function forecastOf(site: Site): CollateralForecast | undefined {
  try {
    return collateralForecast(site);
  } catch (cause) {
    if (cause instanceof SealiftError) return undefined;
    throw cause;
  }
}

/** An engine that cannot be asked is something to report, not a reason to say nothing. */
async function lookAt(site: Site): Promise<SiteStatus> {
  try {
    return await withSiteEngine(site, (engine) => siteStatus(site, engine));
  } catch (cause) {
    if (!(cause instanceof SealiftError) || !/^(?:ENGINE|SITE_ENGINE)_/.test(cause.code)) throw cause;
    return siteStatus(site, { problem: errorLines(cause).join(" ") });
  }
}
