import { planPrune, pruneKind } from "../lifecycle/removal.ts";
import { type Command, type Invocation, optionalOption, positionals, usageError } from "./command.ts";
import { DEPLOY_DETAILS, DEPLOY_OPTIONS } from "./deploy-verb.ts";
import { carryOutRemoval } from "./removal-verb.ts";
import { withSite } from "./site-options.ts";

const NAME = "prune";
const DEFAULT_KEEP = 3;

export const prune: Command = {
  name: NAME,
  summary: "remove releases to which the site cannot return, and old backups",
  usage: "[--keep N] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    `--keep N              how many backups stay, the newest ones (default ${DEFAULT_KEEP})`,
    ...DEPLOY_DETAILS,
  ],
  options: { keep: { type: "string" }, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const keep = keepOption(invocation);
    return withSite(invocation, NAME, async (site) =>
      carryOutRemoval(invocation, site, pruneKind, await planPrune(site, keep)),
    );
  },
};

/** @throws USAGE */
export function keepOption(invocation: Invocation): number {
  const text = optionalOption(invocation, "keep") ?? String(DEFAULT_KEEP);
  if (/^[0-9]{1,4}$/.test(text)) return Number(text);
  throw usageError(NAME, `--keep: got ${JSON.stringify(text)}, want a number from 0 to 9999`);
}
