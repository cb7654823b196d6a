import { spendAuthorization } from "../lifecycle/authorization.ts";
import { execute } from "../lifecycle/execute.ts";
import { operatorChange, operatorChangeParameters, planOperatorChange } from "../lifecycle/operator-change.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import { openSite, requireAuthorityOfLedger } from "../lifecycle/site.ts";
import { signerLine } from "../site/allowed-signers.ts";
import { type Authority, addOperators, removeOperator, withBackupRecipients } from "../site/authority.ts";
import { type Command, type Invocation, positionals } from "./command.ts";
import { readRecipients, readSigners } from "./site-init.ts";
import {
  AUTHORIZATION_DETAILS,
  AUTHORIZATION_OPTIONS,
  missingApprovals,
  obtainAuthorization,
  STATE_OPTION,
  stateDirectory,
  withSite,
} from "./site-options.ts";

export const operatorList: Command = {
  name: "operator list",
  summary: "print who may move this site, as allowed_signers lines, and the thresholds",
  usage: "[--state DIR]",
  options: STATE_OPTION,
  run: async (invocation) => {
    positionals(invocation, "operator list");
    const { terminal } = invocation;
    const site = openSite(stateDirectory(invocation));
    requireAuthorityOfLedger(site);
    const { operators, reviewers, recoveryKey, backupRecipients, digest, document } = site.authority;
    terminal.result(`# site ${site.siteId}, authority ${document.version} ${digest}`);
    for (const signer of operators) terminal.result(signerLine(signer));
    for (const { principal, key } of reviewers) terminal.result(`# reviewer ${principal} ${key.fingerprint}`);
    terminal.result(`# recovery key ${recoveryKey?.fingerprint ?? "none"}`);
    for (const recipient of backupRecipients) terminal.result(`# backups are sealed for ${recipient}`);
    terminal.result(
      `# thresholds ${Object.entries(document.thresholds)
        .map((pair) => pair.join("="))
        .join(" ")}`,
    );
    terminal.document({ siteId: site.siteId, digest, authority: document });
    return 0;
  },
};

export const operatorAdd = changing("add", "FILE", "let more operators sign, or give one another key");
export const operatorRemove = changing("remove", "NAME", "take an operator's keys away");
export const operatorRecipients = changing(
  "recipients",
  "FILE",
  "say for which age public keys backups are sealed from now on: one a line, and no other",
);

type Word = "add" | "remove" | "recipients";

/** The authority after `operator WORD ARGUMENT`. @throws as `addOperators`, `removeOperator`, `withBackupRecipients` */
export async function changedAuthority(before: Authority, word: Word, argument: string): Promise<Authority> {
  if (word === "recipients") return withBackupRecipients(before, await readRecipients(argument));
  return word === "add" ? addOperators(before, await readSigners(argument)) : removeOperator(before, argument);
}

function changing(word: Word, argument: string, summary: string): Command {
  const name = `operator ${word}`;
  return {
    name,
    summary,
    usage: `${argument} --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]`,
    details: [...AUTHORIZATION_DETAILS, "--plan                print the plan and change nothing"],
    options: { ...AUTHORIZATION_OPTIONS, plan: { type: "boolean" }, ...STATE_OPTION },
    run: async (invocation) => {
      const [given = ""] = positionals(invocation, name, argument);
      return withSite(invocation, `${name} ${given}`, async (site) => {
        const after = await changedAuthority(site.authority, word, given);
        const subject = planOperatorChange(site.authority, after);
        const { terminal } = invocation;
        if (invocation.options["plan"] === true) {
          for (const line of planLines(subject)) terminal.result(line);
          terminal.result(missingApprovals(site, subject));
          terminal.document({ plan: subject, threshold: site.authority.document.thresholds.operator });
          return 0;
        }
        const authorization = await obtainAuthorization(invocation, name, site, subject);
        if (!authorization) return 0;
        const entry = spendAuthorization(site, authorization);
        await execute(site, operatorChange, site, operatorChangeParameters(site.authority, after), entry);
        printChange(invocation, after, authorization.approvals);
        return 0;
      });
    },
  };
}

function printChange(
  { terminal }: Invocation,
  after: Authority,
  approvals: readonly { readonly principal: string }[],
): void {
  terminal.result(`authority ${after.document.version} ${after.digest}`);
  terminal.result(`authorized by ${approvals.map(({ principal }) => principal).join(", ")}`);
  terminal.result("Next: sealift ledger export --out FILE, and let each operator keep it elsewhere");
  terminal.document({ authority: after.digest, version: after.document.version, approvals });
}
