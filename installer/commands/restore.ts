import { existsSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { manifestDigest } from "../backup/backup-manifest.ts";
import { nothingRunning } from "../backup/place-site.ts";
import { SPOOL } from "../backup/spool.ts";
import { requireAttested } from "../lifecycle/attested.ts";
import { type Authorization, spendAuthorization } from "../lifecycle/authorization.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import { execute } from "../lifecycle/execute.ts";
import { clientAddress, clientUrl } from "../lifecycle/front.ts";
import { appendEntry } from "../lifecycle/ledger.ts";
import { SITE_RESTORED } from "../lifecycle/ledger-deployments.ts";
import { type Prepared, requirePreconditions, requireRoom } from "../lifecycle/preconditions.ts";
import { renderedFile } from "../lifecycle/rendered-file.ts";
import { restoreDataKind } from "../lifecycle/restore-data.ts";
import { type RestoreDataPlan, type RestoreSitePlan, requireOwnBackup } from "../lifecycle/restore-plan.ts";
import { restoreSiteKind } from "../lifecycle/restore-site.ts";
import { openSiteForChange, type Site } from "../lifecycle/site.ts";
import type { OperationKind, Parameters } from "../lifecycle/step.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import { removeTree, renameDurably } from "../site/disk.ts";
import { surveyState } from "../site/state.ts";
import { stepReport } from "../ui/step-report.ts";
import { type Command, type Invocation, positionals, requiredOption } from "./command.ts";
import { DEPLOY_DETAILS, DEPLOY_OPTIONS, printPlan } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import {
  dataPlan,
  type EmptyPlace,
  RESTORE,
  RESTORE_OPTIONS,
  requireNoSite,
  spoolOf,
  type Unpacked,
  withNewSite,
  withSitePlan,
  withUnpacked,
} from "./restore-plan.ts";
import { withSiteEngine } from "./site-engine.ts";
import { obtainAuthorization, tellLedger, withSite } from "./site-options.ts";
import { withStopSignal } from "./stop-signal.ts";

const DENIED = 3;

export const restore: Command = {
  name: RESTORE,
  summary: "bring back the data of a backup, or with --new-host the whole site on a host that has none",
  usage:
    "FILE --identity KEY [--new-host] [--bundle BUNDLE] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "FILE                  as sealift backup wrote it",
    "--identity KEY        the private half of one of its keys: a file with AGE-SECRET-KEY-1…",
    "--new-host            the state directory is empty: operators, trust, ledger and secrets come from FILE too",
    "--bundle BUNDLE       the release that FILE is of, where nothing is installed and the store does not have it",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
    "",
    "Where a release runs, its databases are replaced; ledger and audit log go on and say so. Where nothing is",
    "installed, the backup's release is started on the backup's data, and a new epoch of the audit log begins.",
  ],
  options: { ...RESTORE_OPTIONS, ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    const [file = ""] = positionals(invocation, RESTORE, "FILE");
    requiredOption(invocation, RESTORE, "identity");
    if (invocation.options["new-host"] === true) return restoreOnNewHost(invocation, file);
    return withSite(invocation, RESTORE, async (site) =>
      withUnpacked(invocation, file, spoolOf(site), async (unpacked) => {
        requireOwnBackup(site, unpacked.manifest);
        const { current } = readDeployments(site.paths);
        if (current) return withSiteEngine(site, (engine) => restoreData(invocation, site, engine, current, unpacked));
        const place = { site, paths: site.paths, unpacked, isNewHost: false };
        return restoreSite(invocation, place, async () => site);
      }),
    );
  },
};

/** The databases of a site on which a release is installed. */
async function restoreData(
  invocation: Invocation,
  site: Site,
  engine: Engine,
  current: Deployment,
  unpacked: Unpacked,
): Promise<number> {
  const plan = await dataPlan(invocation, site, engine, current, unpacked);
  if (invocation.options["plan"] === true) {
    printPlan(invocation, site, plan.subject);
    return 0;
  }
  requireDatabaseRoom(engine, unpacked);
  const authorization = await obtainAuthorization(invocation, RESTORE, site, plan.subject);
  if (!authorization) return 0;
  const entry = spendAuthorization(site, authorization);
  const work = { site, engine, source: undefined, kind: restoreDataKind, parameters: { ...plan.parameters }, entry };
  const code = await carryOut(invocation, unpacked, work);
  if (code === 0) tellData(invocation, plan, authorization);
  return code;
}

function requireDatabaseRoom({ facts }: Engine, { manifest }: Unpacked): void {
  const what = "the restored databases";
  requireRoom([{ directory: facts.rootDirectory, bytes: manifest.databaseBytes, what }]);
}

function tellData(
  { terminal }: Invocation,
  { parameters, subject }: RestoreDataPlan,
  { approvals }: Authorization,
): void {
  const { backup, at, gap } = parameters;
  terminal.result(`${at.appliance} ${at.version} runs on the data of ${backup.created}`);
  const { entriesAtBackup, entriesAtRestore } = gap;
  if (entriesAtBackup !== undefined) {
    const lost = (entriesAtRestore ?? 0) - entriesAtBackup;
    terminal.result(`The audit log goes on; the data of its ${lost} entries from ${entriesAtBackup} on is lost`);
  } else if (entriesAtRestore !== undefined) {
    terminal.result("The audit log goes on; the backup had none, so nothing says from which entry on data is lost");
  }
  terminal.result("Next: sealift status; sealift audit verify; sealift backup --out DIR");
  terminal.document({ restored: backup, gap, plan: subject, approvals });
}

/** `settle`: the operators have signed; makes it the site of this host, and returns it. */
async function restoreSite(invocation: Invocation, place: EmptyPlace, settle: () => Promise<Site>): Promise<number> {
  const code = await withSitePlan(invocation, place, async (prepared, plan) => {
    if (invocation.options["plan"] === true) {
      printPlan(invocation, place.site, plan.subject);
      return 0;
    }
    return startSite(invocation, place, prepared, plan, settle);
  });
  return code ?? DENIED;
}

async function startSite(
  invocation: Invocation,
  { site, unpacked }: EmptyPlace,
  prepared: Prepared,
  plan: RestoreSitePlan,
  settle: () => Promise<Site>,
): Promise<number> {
  const { engine, source, next } = prepared;
  const { to } = plan.parameters.deploy;
  await requirePreconditions(prepared, plan.parameters.deploy);
  requireDatabaseRoom(engine, unpacked);
  const authorization = await obtainAuthorization(invocation, RESTORE, site, plan.subject);
  if (!authorization) return 0;
  const entry = spendAuthorization(site, authorization);
  const settled = await settle();
  requireAttested(settled, to.release);
  const work = { site: settled, engine, source, kind: restoreSiteKind, parameters: { ...plan.parameters }, entry };
  const code = await carryOut(invocation, unpacked, work);
  if (code !== 0) return code;
  tellSite(invocation, plan, authorization, clientUrl(clientAddress(renderedFile(settled, to, "base"), next.rules)));
  return 0;
}

function tellSite(
  { terminal }: Invocation,
  { parameters, subject }: RestoreSitePlan,
  { approvals }: Authorization,
  address: string,
): void {
  const { deploy, backup, gap } = parameters;
  terminal.result(`${deploy.to.appliance} ${deploy.to.version} runs on the data of ${backup.created}`);
  terminal.result(`Clients reach it at ${address}`);
  const { entriesAtBackup, epoch } = gap;
  if (epoch !== undefined) {
    const what = `epoch ${epoch} continues the ${entriesAtBackup} entries of the backup`;
    terminal.result(`Audit log: ${what}; what came after them is lost`);
  }
  terminal.result("Next: sealift status; sealift audit verify; sealift ledger verify --against DIR");
  terminal.document({ restored: backup, gap, deployment: deploy.to, address, plan: subject, approvals });
}

interface Work {
  readonly site: Site;
  readonly engine: Engine;
  readonly source: DeployContext["source"];
  readonly kind: OperationKind<DeployContext>;
  readonly parameters: Parameters;
  readonly entry: Digest;
}

async function carryOut(
  { terminal }: Invocation,
  { handOver }: Unpacked,
  { site, engine, source, kind, parameters, entry }: Work,
): Promise<number> {
  return withStopSignal(terminal, "the old state is in place", async (signal) => {
    handOver();
    const report = stepReport(terminal);
    const context: DeployContext = { ...site, engine: async () => engine, source, report, signal, showOnce: () => {} };
    report.plan(kind.steps(context, parameters));
    try {
      await execute(site, kind, context, parameters, entry);
    } finally {
      await report.close();
      for (const remark of report.remarks) terminal.note(`note: ${plain(remark)}`);
    }
    return 0;
  });
}

/**
 * The site becomes that of this host by one rename, after the operators that the backup names have signed. Before that
 * this host has no site, after it one on which nothing runs yet.
 */
async function restoreOnNewHost(invocation: Invocation, file: string): Promise<number> {
  return withNewSite(invocation, file, async (place, beside) => {
    const { site, paths, unpacked } = place;
    const { disk } = site;
    const settle = async (): Promise<Site> => {
      requireNoSite(paths.directory);
      const { manifest } = unpacked;
      const deployments = nothingRunning(manifest.deployments);
      const data = { backup: manifestDigest(manifest), created: manifest.created, deployments };
      appendEntry(disk, site.paths.ledger, SITE_RESTORED, data, site.clock());
      if (existsSync(paths.directory)) rmdirSync(paths.directory);
      renameDurably(disk, beside, paths.directory);
      return openSiteForChange(paths.directory);
    };
    try {
      return await restoreSite(invocation, place, settle);
    } finally {
      if (surveyState(paths.directory) === "whole") {
        removeTree(disk, join(paths.directory, SPOOL));
        await tellLedger(invocation, { ...site, paths });
      }
    }
  });
}
