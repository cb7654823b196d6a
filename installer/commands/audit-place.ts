/** The audit log that a verb is about: a directory that was named, or the site's own. */
import { auditError } from "../audit/error.ts";
import { type SiteLog, siteLogs } from "../audit/site-log.ts";
import { openSite, type Site } from "../lifecycle/site.ts";
import { type Invocation, optionalOption, usageError } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { stateDirectory } from "./site-options.ts";

/** With the site, if it is the site's own. @throws USAGE | AUDIT_LOG_NOT_FOUND | ENGINE_… */
export async function auditPlace(invocation: Invocation, verb: string): Promise<SiteLog & { readonly site?: Site }> {
  const [directory, ...more] = invocation.args;
  if (more.length > 0) throw usageError(verb, `unexpected argument ${JSON.stringify(more[0])}`);
  if (directory !== undefined) {
    if (optionalOption(invocation, "state") === undefined) return { directory, publicKey: undefined };
    throw usageError(verb, "got DIR and --state, want one of them");
  }
  const site = openSite(stateDirectory(invocation));
  const [log, ...others] = await withSiteEngine(site, (engine) => siteLogs(engine, site));
  if (!log) {
    throw auditError("AUDIT_LOG_NOT_FOUND", "no volume of this site holds an audit log", {
      hints: ["sealift status", `give the directory of a copy: sealift ${verb} DIR`],
    });
  }
  if (others.length === 0) return { ...log, site };
  const found = [log, ...others].map((one) => one.directory).join(", ");
  throw usageError(verb, `this site's volumes hold more than one log, give one of ${found}`);
}
