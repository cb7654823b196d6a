import { plain } from "../../bundles/model/plain-text.ts";
import { POLICY_MAX_BYTES } from "../../verify/policy.ts";
import { policyLines } from "../../verify/policy-text.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { spendAuthorization } from "../lifecycle/authorization.ts";
import { execute } from "../lifecycle/execute.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import {
  type PolicyChange,
  planPolicyChange,
  policyChange,
  policyChangeParameters,
  policyChangeTo,
  policyOfLedger,
} from "../lifecycle/policy-change.ts";
import { openSite } from "../lifecycle/site.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";
import {
  AUTHORIZATION_DETAILS,
  AUTHORIZATION_OPTIONS,
  missingApprovals,
  obtainAuthorization,
  STATE_OPTION,
  stateDirectory,
  withSite,
} from "./site-options.ts";

const IMPORT = "policy import";

export const policyImport: Command = {
  name: IMPORT,
  summary: "say what this site demands of a release before it takes one: approvals, builders, sources …",
  usage: "FILE --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "FILE                  a policy (schema: `sealift schema policy`) with a version above the site's",
    ...AUTHORIZATION_DETAILS,
    "--plan                print the plan and change nothing",
    "Holds for every later install, upgrade, rollback and configuration change, and for what runs from the next of them on.",
  ],
  options: { ...AUTHORIZATION_OPTIONS, plan: { type: "boolean" }, ...STATE_OPTION },
  run: async (invocation) => {
    const [file = ""] = positionals(invocation, IMPORT, "FILE");
    const bytes = await readBoundedFile(file, POLICY_MAX_BYTES);
    return withSite(invocation, `${IMPORT} ${file}`, async (site) => {
      const { terminal } = invocation;
      const change = policyChangeTo(site.ledger.entries, bytes);
      const subject = planPolicyChange(change);
      if (invocation.options["plan"] === true) {
        for (const line of planLines(subject)) terminal.result(line);
        terminal.result(missingApprovals(site, subject));
        terminal.document({ plan: subject, threshold: site.authority.document.thresholds.policy });
        return 0;
      }
      if (change.before.digest === change.after.digest) {
        terminal.note("this policy is in force on the site already");
        printPolicy(invocation, change, []);
        return 0;
      }
      const authorization = await obtainAuthorization(invocation, IMPORT, site, subject);
      if (!authorization) return 0;
      const entry = spendAuthorization(site, authorization);
      await execute(site, policyChange, site, policyChangeParameters(change), entry);
      printPolicy(invocation, change, authorization.approvals);
      return 0;
    });
  },
};

function printPolicy(
  { terminal }: Invocation,
  { after }: PolicyChange,
  approvals: readonly { readonly principal: string }[],
): void {
  const { name, version } = after.policy;
  terminal.result(`policy ${name}, version ${version}: ${after.digest}`);
  if (approvals.length > 0) terminal.result(`authorized by ${approvals.map(({ principal }) => principal).join(", ")}`);
  terminal.document({ policy: after.digest, name, version, approvals });
}

export const policyShow: Command = {
  name: "policy show",
  summary: "print the policy by which this site judges releases, and who may approve them",
  usage: "[--out FILE] [--state DIR]",
  details: ["--out FILE            write its very bytes there, e.g. for a reviewer's machine"],
  options: { out: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, "policy show");
    const { terminal } = invocation;
    const { bytes, digest, policy } = policyOfLedger(openSite(stateDirectory(invocation)).ledger.entries);
    const out = optionalOption(invocation, "out");
    if (out !== undefined) await writeNew(out, bytes);
    terminal.result(`policy ${digest}`);
    for (const line of policyLines(bytes)) terminal.result(`  ${plain(line)}`);
    terminal.document({ digest, policy });
    return 0;
  },
};
