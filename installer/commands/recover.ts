import { existsSync } from "node:fs";
import { plain } from "../../bundles/model/plain-text.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import { hasBeside, removeBeside } from "../backup/beside-state.ts";
import { spoolDirectory } from "../backup/spool.ts";
import { DEPLOY_KINDS } from "../lifecycle/deploy.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import { openJournalPath, planRecovery, recover as recoverOperation } from "../lifecycle/execute.ts";
import { readJournal } from "../lifecycle/journal.ts";
import { mendDeployments } from "../lifecycle/ledger-deployments.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { operatorChange } from "../lifecycle/operator-change.ts";
import { policyChange } from "../lifecycle/policy-change.ts";
import { pruneKind, uninstallKind } from "../lifecycle/removal.ts";
import { restoreDataKind } from "../lifecycle/restore-data.ts";
import { restoreRelease } from "../lifecycle/restore-release.ts";
import { restoreSiteKind } from "../lifecycle/restore-site.ts";
import { openSite, type Site } from "../lifecycle/site.ts";
import { verifyForSite } from "../lifecycle/site-verify.ts";
import type { OperationKind } from "../lifecycle/step.ts";
import { tenantsKind } from "../lifecycle/tenants.ts";
import { trustChange } from "../lifecycle/trust-change.ts";
import { hostDisk, removeTree } from "../site/disk.ts";
import { openState, statePaths, surveyState } from "../site/state.ts";
import { tidyStore } from "../site/store.ts";
import { showCredentials } from "../ui/show-credentials.ts";
import { stepReport } from "../ui/step-report.ts";
import type { Terminal } from "../ui/terminal.ts";
import { type Command, type Invocation, optionalOption, positionals, usageError } from "./command.ts";
import { RECORDS_DETAIL, RECORDS_OPTION, withImportedRecords } from "./records-option.ts";
import { withLazyEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory, tellLedger } from "./site-options.ts";

/** Every operation that may have been cut off. A name is never taken away: an older Sealift may have begun it. */
const KINDS: ReadonlyMap<string, OperationKind<DeployContext>> = new Map(
  [
    operatorChange,
    trustChange,
    policyChange,
    ...Object.values(DEPLOY_KINDS),
    uninstallKind,
    pruneKind,
    tenantsKind,
    restoreDataKind,
    restoreSiteKind,
  ].map((kind) => [kind.name, kind]),
);

const DENIED = 3;
const NEW_HOST = "restore --new-host";

export const recover: Command = {
  name: "recover",
  summary: "end an operation that was cut off: back before its commit, forward after it",
  usage: "[--plan] [--bundle BUNDLE] [--db FILE] [--damaged-journal] [--state DIR]",
  details: [
    "Needs root, and no operator: it only ends what was authorized. Run it again if it was cut off itself.",
    "",
    "--plan                say which operation is open and what would be taken back or completed; change nothing",
    "--bundle BUNDLE       first verify it and copy it into the site's store, where its copy is damaged or lost;",
    "                      only a release that this site runs, may return to, or was on its way to",
    RECORDS_DETAIL,
    "--damaged-journal     the record of the operation is damaged: go by its beginning and by what the site is. The",
    "                      damaged file is kept in journal/. Copy the state directory away before",
  ],
  options: {
    plan: { type: "boolean" },
    bundle: { type: "string" },
    ...RECORDS_OPTION,
    "damaged-journal": { type: "boolean" },
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    positionals(invocation, "recover");
    const { terminal } = invocation;
    const directory = stateDirectory(invocation);
    if (invocation.options["plan"] === true) return plan(invocation, directory);
    if (removeBeside(hostDisk, directory)) {
      terminal.result(`${NEW_HOST} was cut off before it brought a site; what it had unpacked is removed`);
      if (surveyState(directory) !== "whole") return nothingWas(terminal);
    }
    openState(directory);
    const lock = acquireLock(statePaths(directory).lock, "recover");
    try {
      const site = openSite(directory);
      tidyStore(site.disk, directory);
      // Where an operation is open, its end decides what the document says.
      const isDamageAccepted = invocation.options["damaged-journal"] === true;
      const open = openJournalPath(site.paths);
      if (!(isDamageAccepted ? existsSync(open) : readJournal(open))) mend(terminal, site);
      const bundle = optionalOption(invocation, "bundle");
      const restored = bundle === undefined ? null : await bringBack(invocation, site, bundle);
      if (restored === undefined) return DENIED;
      const shown: string[] = [];
      const report = stepReport(terminal);
      const { operation, result, tornBytes } = await withLazyEngine(site, (engine) => {
        const showOnce = (text: string): void => void shown.push(text);
        const context = { ...site, engine, source: undefined, report, signal: undefined, showOnce };
        return recoverOperation(site, KINDS, context, { isDamageAccepted });
      }).finally(() => report.close());
      mend(terminal, site);
      // Of a backup or a restore that was cut off: in clear, and of no use to anybody.
      removeTree(site.disk, spoolDirectory(site));
      await tellLedger(invocation, site);
      if (tornBytes > 0) terminal.note(`note: the journal's last record was torn (${tornBytes} bytes)`);
      if (operation !== undefined)
        terminal.result(
          `${operation}: ${result === "committed" ? "completed" : "taken back, the old state is in place"}`,
        );
      else if (restored === null) terminal.result("nothing to recover");
      for (const remark of report.remarks) terminal.note(`note: ${plain(remark)}`);
      terminal.document({
        remarks: report.remarks,
        operation: operation ?? null,
        result: result ?? null,
        tornBytes,
        restored,
        abandoned: lock.abandoned ?? null,
        credentials: shown,
      });
      await showCredentials(terminal, shown);
      return 0;
    } finally {
      lock.release();
    }
  },
};

/** There is no site in whose name anything could be open. */
function nothingWas(terminal: Terminal): number {
  const nothing = { operation: null, result: null, tornBytes: 0, restored: null, abandoned: null };
  terminal.document({ remarks: [], ...nothing, credentials: [] });
  return 0;
}

async function plan(invocation: Invocation, directory: string): Promise<number> {
  if (optionalOption(invocation, "bundle") !== undefined) throw usageError("recover", "--bundle has no plan");
  const { terminal } = invocation;
  if (hasBeside(directory)) {
    terminal.result(`${NEW_HOST} was cut off before it brought a site; what it had unpacked would be removed`);
    if (surveyState(directory) !== "whole") {
      terminal.document({ operation: null, time: null, direction: null, steps: [] });
      return 0;
    }
  }
  const site = openSite(directory);
  const isDamageAccepted = invocation.options["damaged-journal"] === true;
  const report = stepReport(terminal);
  const found = await withLazyEngine(site, (engine) => {
    const context = { ...site, engine, source: undefined, report, signal: undefined, showOnce: () => {} };
    return planRecovery(site.paths, KINDS, context, { isDamageAccepted });
  }).finally(() => report.close());
  if (!found) {
    terminal.result("nothing to recover");
  } else {
    const { operation, time, direction, steps } = found;
    const way = direction === "forward" ? "it would be completed" : "it would be taken back";
    terminal.result(`${operation} of ${time} did not end; ${way}`);
    const what = direction === "forward" ? "" : "take back: ";
    for (const { intent } of steps) terminal.result(plain(`  - ${what}${intent}`));
    if (steps.length === 0) terminal.result("  - all steps are done; only the ledger has to hear of it");
    terminal.result("Next: sealift recover");
  }
  const steps = found?.steps.map(({ name, intent }) => ({ step: name, intent })) ?? [];
  terminal.document({
    operation: found?.operation ?? null,
    time: found?.time ?? null,
    direction: found?.direction ?? null,
    steps,
  });
  return 0;
}

function mend(terminal: Terminal, site: Site): void {
  const kept = mendDeployments(site);
  if (kept !== undefined) terminal.note(`note: site/deployment.json is written anew, as the ledger says; see ${kept}`);
}

/** Returns what is in the store again; undefined if the bundle is denied, after saying why. */
async function bringBack(
  invocation: Invocation,
  site: Site,
  bundle: string,
): Promise<{ readonly release: string; readonly version: string } | undefined> {
  const { terminal } = invocation;
  const megabytes = (done: number, total: number): string =>
    `${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB`;
  const verifying = terminal.progress("verifying");
  const verification = await withImportedRecords(invocation, (imported) =>
    verifyForSite(site, bundle, (...bytes) => verifying.update(`${megabytes(...bytes)} hashed`), { imported }),
  );
  try {
    const { verdict, allowed } = verification;
    verifying.done(verdict.decision === "allow" ? "allowed" : "denied");
    if (!allowed) {
      for (const line of renderVerdictText(verdict)) terminal.note(line);
      terminal.document(verdict);
      return undefined;
    }
    const copying = terminal.progress("copying the release into the site's store");
    await restoreRelease(site, allowed, (...bytes) => copying.update(megabytes(...bytes)));
    copying.done();
    const { descriptor, manifest, files } = allowed.release;
    terminal.result(`release ${manifest.version} is whole in the site's store`);
    if (files.size > 0)
      terminal.note("note: containers read its files when they start: sealift stop, then sealift start");
    return { release: descriptor.digest, version: manifest.version };
  } finally {
    verification.close();
  }
}
