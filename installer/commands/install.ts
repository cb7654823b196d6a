import { readBoundedFile } from "../host/read-file.ts";
import { planInstall } from "../lifecycle/deploy-plan.ts";
import type { ReleaseParts } from "../lifecycle/stored-release.ts";
import { CONFIG_MAX_BYTES, type Config, parseConfigFile } from "../site/config.ts";
import { askConfig } from "../ui/ask-config.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, withPrepared } from "./deploy-verb.ts";
import { withSite } from "./site-options.ts";

const NAME = "install";

export const install: Command = {
  name: NAME,
  summary: "verify a bundle, then start its appliance on this site",
  usage: "BUNDLE [--config FILE] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "--config FILE         the site's configuration, YAML or JSON; asked for on a terminal if absent, else the defaults",
    ...DEPLOY_DETAILS,
  ],
  options: { config: { type: "string" }, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    const [bundle = ""] = positionals(invocation, NAME, "BUNDLE");
    return withSite(invocation, `${NAME} ${bundle}`, async (site) => {
      const code = await withPrepared(invocation, site, bundle, async (prepared) => {
        const config = await configuration(invocation, prepared.next);
        const plan = planInstall(prepared.facts, prepared.next, config);
        return carryOut(invocation, NAME, site, prepared, plan);
      });
      return code ?? 3;
    });
  },
};

/** From the file, else from the person, else the release's defaults. @throws CONFIG_MALFORMED | FILE_NOT_FOUND */
export async function configuration(invocation: Invocation, { configSchema }: ReleaseParts): Promise<Config> {
  const file = optionalOption(invocation, "config");
  if (file !== undefined) return parseConfigFile(await readBoundedFile(file, CONFIG_MAX_BYTES), file);
  return invocation.terminal.interactive ? askConfig(configSchema) : {};
}
