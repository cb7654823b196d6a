/** What install, upgrade, rollback and `config apply` have in common: verify, plan, authorize, execute. */
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { closeStore } from "../../bundles/layout/layout.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { siteVolumes } from "../../compose/engine/project.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import type { Comparison } from "../../verify/release-contents.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import { hostPlatform, sealiftVersion } from "../host/this-host.ts";
import { requireAttested } from "../lifecycle/attested.ts";
import { type PlanSubject, spendAuthorization } from "../lifecycle/authorization.ts";
import { DEPLOY_KINDS } from "../lifecycle/deploy.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import type { DeployPlan, PlanFacts } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import { diskUse } from "../lifecycle/disk-use.ts";
import { execute } from "../lifecycle/execute.ts";
import { clientAddress, clientUrl } from "../lifecycle/front.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import { type Prepared, requirePreconditions } from "../lifecycle/preconditions.ts";
import { renderedFile } from "../lifecycle/rendered-file.ts";
import type { Site } from "../lifecycle/site.ts";
import { openCurrentRelease, verifyForSite } from "../lifecycle/site-verify.ts";
import { NOT_COMPARED } from "../lifecycle/software-change.ts";
import { RESTORE_HINT, type ReleaseParts, releaseParts, withStoredRelease } from "../lifecycle/stored-release.ts";
import { presentCertificate } from "../site/client-certificate.ts";
import { type Deployments, readDeployments } from "../site/deployment.ts";
import { clientAuthorityPath } from "../site/secret-makers.ts";
import { missingSecrets } from "../site/secrets.ts";
import { storedPath } from "../site/store.ts";
import { showCredentials } from "../ui/show-credentials.ts";
import { type OperationReport, stepReport } from "../ui/step-report.ts";
import type { Invocation } from "./command.ts";
import { withImportedRecords } from "./records-option.ts";
import { withSiteEngine } from "./site-engine.ts";
import {
  AUTHORIZATION_DETAILS,
  AUTHORIZATION_OPTIONS,
  missingApprovals,
  obtainAuthorization,
  STATE_OPTION,
} from "./site-options.ts";

export const DEPLOY_OPTIONS = { ...AUTHORIZATION_OPTIONS, plan: { type: "boolean" }, ...STATE_OPTION } as const;

export const DEPLOY_DETAILS = [
  ...AUTHORIZATION_DETAILS,
  "--plan                print the plan and change nothing; exit 3 if it would be denied",
  "--state DIR           the site's state directory (default /var/lib/sealift)",
];

/** Prints why and returns undefined if the release is denied. */
export async function withPrepared<Value>(
  invocation: Invocation,
  site: Site,
  path: string,
  work: (prepared: Prepared) => Promise<Value>,
): Promise<Value | undefined> {
  const { terminal } = invocation;
  const progress = terminal.progress("verifying");
  // Whether an operator really signs for the clock is seen when the authorization is checked.
  const confirms = invocation.options["confirm-clock"] === true ? ["CLOCK_BACKWARDS", "CLOCK_JUMPED"] : [];
  const onProgress = (done: number, total: number): void =>
    progress.update(`${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB hashed`);
  const earlier = openCurrentRelease(site, path);
  const verification = await withImportedRecords(invocation, (imported) =>
    verifyForSite(site, path, onProgress, { confirms, imported, ...(earlier && { describe: { earlier } }) }),
  ).finally(() => {
    if (earlier) closeStore(earlier.store);
  });
  try {
    const { verdict, allowed, contents } = verification;
    progress.done(verdict.decision === "allow" ? "allowed" : "denied");
    if (!allowed) {
      for (const line of renderVerdictText(verdict)) terminal.note(line);
      if (dirname(resolve(path)) === join(site.paths.directory, "store"))
        terminal.note(`  hint: if the copy is damaged: ${RESTORE_HINT}`);
      terminal.document(verdict);
      return undefined;
    }
    return await withSiteEngine(site, async (engine) => {
      const deployments = readDeployments(site.paths);
      const next = releaseParts(allowed.layout, allowed.release);
      const gather = async (current: ReleaseParts | undefined): Promise<Value> => {
        const facts = await gatherFacts(site, engine, deployments, next, allowed, current, contents?.comparison);
        return work({ facts, next, source: allowed, engine });
      };
      if (!deployments.current) return gather(undefined);
      return withStoredRelease(site.paths, deployments.current.release, gather);
    });
  } finally {
    verification.close();
  }
}

async function gatherFacts(
  site: Site,
  engine: Engine,
  deployments: Deployments,
  next: ReleaseParts,
  { verdict }: AllowedRelease,
  current: ReleaseParts | undefined,
  software: Comparison | undefined,
): Promise<PlanFacts> {
  const config = deployments.current ? configOf(site, deployments.current) : undefined;
  const isSame = current?.release.descriptor.digest === next.release.descriptor.digest;
  return {
    site,
    deployments,
    policyDigest: verdict.policy.digest,
    trustVersion: verdict.trust.targetsVersion,
    missingSecrets: missingSecrets(join(site.paths.directory, "secrets"), next.rules.secrets),
    volumes: await siteVolumes(engine, site.siteId),
    engineId: engine.facts.engineId,
    sealiftVersion: sealiftVersion(),
    hostPlatform: hostPlatform(),
    current,
    disk: diskUse(next, current, engine.facts.store),
    software: isSame || !current ? undefined : (software ?? NOT_COMPARED),
    certificate: presentCertificate(site.paths, next.rules.secrets, config, {
      hostName: hostname(),
      now: site.clock().now,
    }),
  };
}

/** Where a release that is on the site lies: the same way in as for a bundle. */
export function storedBundle(site: Site, release: Parameters<typeof storedPath>[1]): string {
  return storedPath(site.paths.directory, release);
}

/** Prints the plan; with --plan that is all. Else obtains the authorization and does it. Returns the exit code. */
export async function carryOut(
  invocation: Invocation,
  command: string,
  site: Site,
  prepared: Prepared,
  { subject, parameters }: DeployPlan,
): Promise<number> {
  const { terminal } = invocation;
  const { source, engine } = prepared;
  if (invocation.options["plan"] === true) {
    printPlan(invocation, site, subject, { software: prepared.facts.software ?? null });
    return 0;
  }
  await requirePreconditions(prepared, parameters);
  const askedConfig = parameters.action === "install" && !invocation.options["config"] ? parameters.config : undefined;
  const authorization = await obtainAuthorization(invocation, command, site, subject, askedConfig);
  if (!authorization) return 0;
  const interrupt = new AbortController();
  const report = stepReport(terminal);
  const shown: string[] = [];
  const context: DeployContext = {
    ...site,
    engine: async () => engine,
    source,
    report,
    signal: interrupt.signal,
    showOnce: (text) => shown.push(text),
  };
  // It may have expired while an operator was looked for. Secrets are made, and anything changed, only after this.
  requireAttested(site, parameters.to.release);
  const entry = spendAuthorization(site, authorization);
  const kind = DEPLOY_KINDS[parameters.action];
  report.plan(kind.steps(context, { ...parameters }));
  const ended = await untilDone(terminal, report, interrupt, () =>
    execute(site, kind, context, { ...parameters }, entry),
  );
  if (ended !== undefined) return ended;
  const { to } = parameters;
  const approvals = authorization.approvals.map(({ principal }) => principal);
  const target = clientAddress(renderedFile(site, to, "base"), prepared.next.rules);
  const address = clientUrl(target);
  terminal.result(`${to.appliance} ${to.version} runs in ${to.colour}, authorized by ${approvals.join(", ")}`);
  terminal.result(`Clients reach it at ${address}`);
  if (target.tls && parameters.action === "install")
    terminal.result(`They must trust the authority in ${clientAuthorityPath(site.paths)}`);
  for (const remark of report.remarks) terminal.note(`note: ${plain(remark)}`);
  terminal.document({
    deployment: to,
    address,
    approvals: authorization.approvals,
    credentials: shown,
    remarks: report.remarks,
  });
  await showCredentials(terminal, shown);
  terminal.result("Next: sealift status; sealift logs SERVICE; sealift config show");
  return 0;
}

/** `more` are members of the JSON document beside the plan: what is in the plan in words, for programs. */
export function printPlan({ terminal }: Invocation, site: Site, subject: PlanSubject, more: object = {}): void {
  for (const line of planLines(subject)) terminal.result(line);
  terminal.result(missingApprovals(site, subject));
  terminal.document({ plan: subject, threshold: site.authority.document.thresholds[subject.action], ...more });
}

function withRemarks(cause: unknown, { remarks }: OperationReport): unknown {
  if (!(cause instanceof SealiftError) || remarks.length === 0) return cause;
  const { code, exit, message, hints } = cause;
  return new SealiftError(code, exit, message, { cause, hints: [...hints, ...remarks] });
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** Runs `work`; a signal stops it between steps, and the old state is restored. Returns 128+n then, else undefined. */
async function untilDone(
  terminal: Invocation["terminal"],
  report: OperationReport,
  interrupt: AbortController,
  work: () => Promise<void>,
): Promise<number | undefined> {
  let caught: keyof typeof SIGNALS | undefined;
  let isStopped = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (caught === undefined) report.stopping(signal);
    caught ??= signal as keyof typeof SIGNALS;
    interrupt.abort();
  };
  for (const signal of Object.keys(SIGNALS)) process.on(signal, onSignal);
  try {
    await work().finally(() => report.close());
    if (caught !== undefined) terminal.note("it was committed already, and is complete");
    return undefined;
  } catch (cause) {
    const isRestored = (cause as { readonly code?: unknown }).code === "OPERATION_FAILED";
    if (caught === undefined || !isRestored) throw withRemarks(cause, report);
    terminal.note("stopped; the old state is in place");
    for (const remark of report.remarks) terminal.note(`note: ${plain(remark)}`);
    isStopped = true;
    return 128 + SIGNALS[caught];
  } finally {
    // An impatient operator's next signal must not end what is left to do before the exit.
    for (const signal of isStopped ? [] : Object.keys(SIGNALS)) process.off(signal, onSignal);
  }
}
