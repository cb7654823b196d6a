import { planUninstall, uninstallKind } from "../lifecycle/removal.ts";
import type { Command } from "./command.ts";
import { positionals } from "./command.ts";
import { DEPLOY_DETAILS, DEPLOY_OPTIONS } from "./deploy-verb.ts";
import { carryOutRemoval } from "./removal-verb.ts";
import { withSite } from "./site-options.ts";

const NAME = "uninstall";

export const uninstall: Command = {
  name: NAME,
  summary: "stop and remove the appliance; its data stays unless --purge-data is said",
  usage: "[--purge-data] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: ["--purge-data          remove volumes, secrets and backups too; there is no way back", ...DEPLOY_DETAILS],
  options: { "purge-data": { type: "boolean" }, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    positionals(invocation, NAME);
    return withSite(invocation, NAME, async (site) =>
      carryOutRemoval(
        invocation,
        site,
        uninstallKind,
        await planUninstall(site, invocation.options["purge-data"] === true),
      ),
    );
  },
};
