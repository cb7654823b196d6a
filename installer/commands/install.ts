import { readBoundedFile } from "../host/read-file.ts";
import { planInstall, requireNotInstalled } from "../lifecycle/deploy-plan.ts";
import { siteStandards } from "../lifecycle/site-verify.ts";
import type { ReleaseParts } from "../lifecycle/stored-release.ts";
import { CONFIG_MAX_BYTES, type Config, parseConfigFile } from "../site/config.ts";
import { readDeployments } from "../site/deployment.ts";
import { askBundle } from "../ui/ask-bundle.ts";
import { askConfig } from "../ui/ask-config.ts";
import { verdictSummary } from "../ui/verdict-summary.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, withPrepared } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { requireNamedFiles, withSite } from "./site-options.ts";

const NAME = "install";

export const install: Command = {
  name: NAME,
  summary: "verify a bundle, then start its appliance on this site",
  usage:
    "[BUNDLE] [--config FILE] [--key K | --request FILE --authorization FILE.sig…] [--db FILE] [--plan] [--state DIR]",
  details: [
    "On a terminal it asks for what is not given: the bundle, the configuration, the key. Ctrl-C at a question",
    "changes nothing; while it works, Ctrl-C brings the old state back. Elsewhere it asks nothing: then BUNDLE",
    "and --key or --request are needed, and without --config the release's defaults hold.",
    "",
    "BUNDLE                a bundle's tar file, or a directory with its media parts or its OCI layout",
    "--config FILE         the site's configuration, YAML or JSON",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
    "",
    "Before it, once for each site: sealift site init --operators FILE, then sealift trust import DIR",
  ],
  options: { config: { type: "string" }, ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    const isAsked = invocation.args.length === 0 && invocation.terminal.interactive;
    if (!isAsked) positionals(invocation, NAME, "BUNDLE");
    requireNamedFiles(invocation, NAME);
    return withSite(invocation, [NAME, ...invocation.args].join(" "), async (site) => {
      // What would end the verb anyway is said before anybody has typed anything.
      requireNotInstalled(readDeployments(site.paths));
      siteStandards(site);
      const bundle = invocation.args[0] ?? (await askBundle());
      const complete = { ...invocation, args: [bundle] };
      const code = await withPrepared(complete, site, bundle, async (prepared) => {
        showVerdict(invocation, prepared.source.verdict);
        const config = await configuration(invocation, prepared.next);
        const plan = planInstall(prepared.facts, prepared.next, config);
        return carryOut(complete, NAME, site, prepared, plan);
      });
      return code ?? 3;
    });
  },
};

/** For a person who is about to be asked for a signature. */
export function showVerdict({ terminal }: Invocation, verdict: Parameters<typeof verdictSummary>[0]): void {
  if (!terminal.interactive) return;
  for (const line of verdictSummary(verdict)) terminal.paragraph(line);
}

/** From the file, else from the person, else the release's defaults. @throws CONFIG_MALFORMED | FILE_NOT_FOUND | Stopped */
export async function configuration(invocation: Invocation, { configSchema }: ReleaseParts): Promise<Config> {
  const file = optionalOption(invocation, "config");
  if (file !== undefined) return parseConfigFile(await readBoundedFile(file, CONFIG_MAX_BYTES), file);
  return invocation.terminal.interactive ? askConfig(invocation.terminal, configSchema) : {};
}
