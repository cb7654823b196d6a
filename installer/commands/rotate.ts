/** `rotate`: other secrets, or other certificates inside. They change by way of the other colour, as `tls` does. */
import { type DeployPlan, planRotate, requireInstalled } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import type { Prepared } from "../lifecycle/preconditions.ts";
import { ROTATIONS, type RotationWish } from "../lifecycle/rotation.ts";
import type { Site } from "../lifecycle/site.ts";
import { readDeployments } from "../site/deployment.ts";
import { type Command, positionals, usageError } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, storedBundle, withPrepared } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { withSite } from "./site-options.ts";

const USAGE = "--key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]";

export const rotateSecrets = rotating("secrets", "replace the passwords and keys by which services know each other", [
  "Clients notice nothing, and API keys stay good. The plan says what is rotated, and what cannot be.",
]);

export const rotateCertificates = rotating(
  "certificates",
  "replace the root and the certificates inside, and the one that clients see if it is the site's own",
  ["The old root is trusted no more when it is over. The authority that clients trust stays."],
);

function rotating(wish: RotationWish, summary: string, details: readonly string[]): Command {
  const name = `rotate ${wish}`;
  return {
    name,
    summary,
    usage: USAGE,
    details: [...details, RECORDS_DETAIL, ...DEPLOY_DETAILS],
    options: { ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
    run: async (invocation) => {
      positionals(invocation, name);
      return withSite(invocation, name, async (site) => {
        const { release } = requireInstalled(readDeployments(site.paths));
        const code = await withPrepared(invocation, site, storedBundle(site, release), async (prepared) =>
          carryOut(invocation, name, site, prepared, planRotateOf(prepared, site, wish)),
        );
        return code ?? 3;
      });
    },
  };
}

export function planRotateOf({ facts, next }: Prepared, site: Site, wish: RotationWish): DeployPlan {
  return planRotate(facts, next, configOf(site, requireInstalled(facts.deployments)), wish);
}

/** The wish of this word, for `authorize`. @throws USAGE */
export function rotationWish(word: string): RotationWish {
  const wish = ROTATIONS.find((known) => known === word);
  if (wish) return wish;
  throw usageError("authorize", `got rotate ${JSON.stringify(word)}, want rotate ${ROTATIONS.join("|")}`);
}
