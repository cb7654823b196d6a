import { type PlanFacts, planUpgrade, requireInstalled } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import type { Site } from "../lifecycle/site.ts";
import type { ReleaseParts } from "../lifecycle/stored-release.ts";
import type { Config } from "../site/config.ts";
import { readDeployments } from "../site/deployment.ts";
import { askBundle } from "../ui/ask-bundle.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, withPrepared } from "./deploy-verb.ts";
import { configuration, showVerdict } from "./install.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { requireNamedFiles, withSite } from "./site-options.ts";

const NAME = "upgrade";

export const upgrade: Command = {
  name: NAME,
  summary: "verify a bundle, then move this site to its release without losing a request",
  usage:
    "[BUNDLE] [--config FILE] [--key K | --request FILE --authorization FILE.sig…] [--db FILE] [--plan] [--state DIR]",
  details: [
    "On a terminal it asks for the bundle and the key if they are not given. Ctrl-C while it works brings the",
    "old state back. The site keeps its configuration.",
    "",
    "BUNDLE                a bundle's tar file, or a directory with its media parts or its OCI layout",
    "--config FILE         another configuration than the one that the site has",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
  ],
  options: { config: { type: "string" }, ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    const isAsked = invocation.args.length === 0 && invocation.terminal.interactive;
    if (!isAsked) positionals(invocation, NAME, "BUNDLE");
    requireNamedFiles(invocation, NAME);
    return withSite(invocation, [NAME, ...invocation.args].join(" "), async (site) => {
      requireInstalled(readDeployments(site.paths));
      const bundle = invocation.args[0] ?? (await askBundle());
      const complete = { ...invocation, args: [bundle] };
      const code = await withPrepared(complete, site, bundle, async (prepared) => {
        showVerdict(invocation, prepared.source.verdict);
        const config = await upgradeConfiguration(invocation, site, prepared.facts, prepared.next);
        return carryOut(complete, NAME, site, prepared, planUpgrade(prepared.facts, prepared.next, config));
      });
      return code ?? 3;
    });
  },
};

/** The file's, or the one that the site has. @throws SITE_NOT_INSTALLED | CONFIG_MALFORMED | STATE_DAMAGED */
export async function upgradeConfiguration(
  invocation: Invocation,
  site: Pick<Site, "paths">,
  { deployments }: PlanFacts,
  next: ReleaseParts,
): Promise<Config> {
  const current = requireInstalled(deployments);
  if (optionalOption(invocation, "config") !== undefined) return configuration(invocation, next);
  return configOf(site, current);
}
