/** The audit log that a verb is about: a directory that was named, or the site's own. */
import type { Engine } from "../../compose/engine/engine.ts";
import { auditError } from "../audit/error.ts";
import { type SiteLog, siteLogs } from "../audit/site-log.ts";
import { askCheckpoint } from "../audit/tell-audit-log.ts";
import { requireInstalled } from "../lifecycle/deploy-plan.ts";
import { requireSecretsHere } from "../lifecycle/secrets-here.ts";
import { openSite, type Site } from "../lifecycle/site.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { readDeployments } from "../site/deployment.ts";
import { type Invocation, optionalOption, usageError } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

export const AUDIT_PLACE_OPTIONS = { ...STATE_OPTION, checkpoint: { type: "boolean" } } as const;

/**
 * With the site, if it is the site's own. With --checkpoint its service has signed first what it has.
 * @throws USAGE | AUDIT_LOG_NOT_FOUND | AUDIT_CHECKPOINT_NOT_MADE | SITE_NOT_INSTALLED | SITE_SECRETS_AWAY | ENGINE_…
 */
export async function auditPlace(invocation: Invocation, verb: string): Promise<SiteLog & { readonly site?: Site }> {
  const [directory, ...more] = invocation.args;
  if (more.length > 0) throw usageError(verb, `unexpected argument ${JSON.stringify(more[0])}`);
  const isToBeSigned = invocation.options["checkpoint"] === true;
  if (directory !== undefined) {
    const other = isToBeSigned ? "checkpoint" : "state";
    if (!isToBeSigned && optionalOption(invocation, "state") === undefined) return { directory, publicKey: undefined };
    throw usageError(verb, `got DIR and --${other}, want one of them`);
  }
  const site = openSite(stateDirectory(invocation));
  const [log, ...others] = await withSiteEngine(site, async (engine) => {
    if (isToBeSigned) await makeCheckpoint(site, engine);
    return siteLogs(engine, site);
  });
  if (!log) {
    throw auditError("AUDIT_LOG_NOT_FOUND", "no volume of this site holds an audit log", {
      hints: ["sealift status", `give the directory of a copy: sealift ${verb} DIR`],
    });
  }
  if (others.length === 0) return { ...log, site };
  const found = [log, ...others].map((one) => one.directory).join(", ");
  throw usageError(verb, `this site's volumes hold more than one log, give one of ${found}`);
}

async function makeCheckpoint(site: Site, engine: Engine): Promise<void> {
  const { release } = requireInstalled(readDeployments(site.paths));
  const why = await withStoredRelease(site.paths, release, async ({ rules }) => {
    if (!rules.audit) return "the release that is installed has no audit service";
    requireSecretsHere(site, rules.secrets);
    return askCheckpoint(site, engine, rules.audit);
  });
  if (why === undefined) return;
  throw auditError("AUDIT_CHECKPOINT_NOT_MADE", `the audit service made no checkpoint: ${why}`, {
    hints: ["sealift status", "without --checkpoint the last one counts"],
  });
}
