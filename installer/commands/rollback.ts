import { planRollback, requireInstalled } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import { lifecycleError } from "../lifecycle/error.ts";
import type { Site } from "../lifecycle/site.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import { type Command, optionalOption, positionals } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, storedBundle, withPrepared } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { withSite } from "./site-options.ts";

const NAME = "rollback";

export const rollback: Command = {
  name: NAME,
  summary: "return to the release before, from the site's own store, without losing a request",
  usage: "[--to VERSION] --key K | --request FILE --authorization FILE.sig… [--db FILE] [--plan] [--state DIR]",
  details: [
    "--to VERSION          must be the release before, so that a script fails rather than surprises",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
  ],
  options: { to: { type: "string" }, ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    positionals(invocation, NAME);
    return withSite(invocation, NAME, async (site) => {
      const target = rollbackTarget(site, optionalOption(invocation, "to"));
      const code = await withPrepared(invocation, site, storedBundle(site, target.release), async (prepared) =>
        carryOut(invocation, NAME, site, prepared, planRollback(prepared.facts, prepared.next, configOf(site, target))),
      );
      return code ?? 3;
    });
  },
};

/** @throws SITE_NOT_INSTALLED | ROLLBACK_NOT_POSSIBLE */
export function rollbackTarget(site: Pick<Site, "paths">, version: string | undefined): Deployment {
  const deployments = readDeployments(site.paths);
  requireInstalled(deployments);
  const { previous } = deployments;
  if (previous && (version === undefined || previous.version === version)) return previous;
  const kept = previous ? `the release before is ${previous.version}` : "this site had no release before";
  throw lifecycleError("ROLLBACK_NOT_POSSIBLE", version === undefined ? kept : `got --to ${version}, but ${kept}`, {
    hints: ["any other release comes from its medium: sealift upgrade BUNDLE"],
  });
}
