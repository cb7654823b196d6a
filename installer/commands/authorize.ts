import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { POLICY_MAX_BYTES } from "../../verify/policy.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { makeRequest, type PlanSubject } from "../lifecycle/authorization.ts";
import {
  type DeployPlan,
  planConfig,
  planInstall,
  planRollback,
  planUpgrade,
  requireInstalled,
} from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import { planOperatorChange } from "../lifecycle/operator-change.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import { planPolicyChange, policyChangeTo } from "../lifecycle/policy-change.ts";
import { type Prepared, requirePreconditions } from "../lifecycle/preconditions.ts";
import { planPrune, planUninstall } from "../lifecycle/removal.ts";
import { openSiteForChange, type Site } from "../lifecycle/site.ts";
import { signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { planTenants } from "../lifecycle/tenants.ts";
import { planTrustChange, trustChangeTo } from "../lifecycle/trust-change.ts";
import { type Action, isAction } from "../site/authority.ts";
import { CONFIG_MAX_BYTES, parseConfigFile } from "../site/config.ts";
import { readDeployments } from "../site/deployment.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";
import { storedBundle, withPrepared } from "./deploy-verb.ts";
import { configuration } from "./install.ts";
import { changedAuthority } from "./operator.ts";
import { keepOption } from "./prune.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { newHostSubject, RESTORE_OPTIONS, restoreSubject } from "./restore-plan.ts";
import { rollbackTarget } from "./rollback.ts";
import { planRotateOf, rotationWish } from "./rotate.ts";
import { withSiteEngine } from "./site-engine.ts";
import {
  missingApprovals,
  REQUEST_DETAILS,
  REQUEST_OPTIONS,
  requestOptions,
  STATE_OPTION,
  stateDirectory,
} from "./site-options.ts";
import { WISH_OPTIONS, wishOf } from "./tenant.ts";
import { planTlsOf, TLS_OPTIONS, tlsWish } from "./tls.ts";
import { upgradeConfiguration } from "./upgrade.ts";

const NAME = "authorize";

export const authorize: Command = {
  name: NAME,
  summary: "write the request that operators sign for an action; changes nothing",
  usage: "ACTION [ARGS] --out FILE.request [--key K…] [--reason TEXT] [--valid-for HOURS] [--state DIR]",
  details: [
    "ACTION [ARGS]         install BUNDLE | upgrade BUNDLE | rollback | config FILE | operator add FILE | operator remove NAME |",
    "                      operator recipients FILE |",
    "                      trust DIR | policy FILE | prune | uninstall | tls renew | tls import CHAIN |",
    "                      rotate secrets | rotate certificates | restore FILE --identity KEY |",
    "                      tenant add NAME … | api-key add …, with the options of the verb",
    "--out FILE.request    the request; an existing file is not replaced",
    "--key K               sign at once into FILE.request.sig, FILE.request.2.sig …",
    RECORDS_DETAIL,
    ...REQUEST_DETAILS,
  ],
  options: {
    out: { type: "string" },
    key: { type: "string", multiple: true },
    config: { type: "string" },
    ...RECORDS_OPTION,
    to: { type: "string" },
    keep: { type: "string" },
    "purge-data": { type: "boolean" },
    ...RESTORE_OPTIONS,
    ...TLS_OPTIONS,
    ...WISH_OPTIONS,
    ...REQUEST_OPTIONS,
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    const { terminal } = invocation;
    const out = requiredOption(invocation, NAME, "out");
    const { site, subject } = await asks(invocation);
    if (!subject) return 3;
    const request = makeRequest(site, subject, requestOptions(invocation, NAME));
    if (existsSync(out)) throw fileExists(out);
    const keys = repeatedOption(invocation, "key");
    const signatures: Buffer[] = [];
    for (const key of keys) signatures.push(await signWithSshKeygen(request, key, terminal.interactive));
    const names = signatures.map((_, i) => (i === 0 ? `${out}.sig` : `${out}.${i + 1}.sig`));
    await writeNew(out, request);
    for (const name of [`${out}.sig`, ...names]) await removeOldSignature(name);
    for (const [i, bytes] of signatures.entries()) await writeNew(names[i] as string, bytes);
    for (const line of planLines(subject)) terminal.result(line);
    terminal.result(`${missingApprovals(site, subject)}; ${signatures.length} signed`);
    // Through a pipe: given the file's name, ssh-keygen would ask to write over another signer's FILE.sig.
    terminal.result(`Sign with: ssh-keygen -Y sign -n sealift-authorization -f KEY <${plain(out)} >NAME.sig`);
    terminal.document({ request: out, signatures: names, plan: subject, siteId: site.siteId });
    return 0;
  },
};

/** A signature of an older request by this name would look like one of this. @throws FILE_WRITE_FAILED */
async function removeOldSignature(path: string): Promise<void> {
  await rm(path, { force: true }).catch((cause: unknown) => {
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  });
}

/** Of a site that is here, or that a backup brings to this host. */
async function asks(
  invocation: Invocation,
): Promise<{ readonly site: Site; readonly subject: PlanSubject | undefined }> {
  const [action, ...rest] = invocation.args;
  if (action === "restore" && invocation.options["new-host"] === true) {
    return newHostSubject(invocation, only(rest, "restore FILE --new-host --identity KEY"));
  }
  const site = openSiteForChange(stateDirectory(invocation));
  return { site, subject: await planOf(invocation, site) };
}

/** Both `tenant` and `api-key`: one database, one task. */
const planWish: Planner = async (invocation, site) =>
  withSiteEngine(site, async (engine) => {
    return (await planTenants(site, engine, wishOf(invocation, invocation.args))).subject;
  });

type Planner = (invocation: Invocation, site: Site, args: readonly string[]) => Promise<PlanSubject | undefined>;

/** What others shall sign must be possible now. @throws what `requirePreconditions` throws */
async function asked(prepared: Prepared, { subject, parameters }: DeployPlan): Promise<PlanSubject> {
  await requirePreconditions(prepared, parameters);
  return subject;
}

/** The plan of each action, made as its verb makes it; undefined if the release is denied. */
const PLANNERS: Readonly<Partial<Record<Action, Planner>>> = {
  install: async (invocation, site, args) =>
    withPrepared(invocation, site, only(args, "install BUNDLE"), async (prepared) => {
      const { facts, next } = prepared;
      return asked(prepared, planInstall(facts, next, await configuration(invocation, next)));
    }),
  upgrade: async (invocation, site, args) =>
    withPrepared(invocation, site, only(args, "upgrade BUNDLE"), async (prepared) => {
      const { facts, next } = prepared;
      return asked(prepared, planUpgrade(facts, next, await upgradeConfiguration(invocation, site, facts, next)));
    }),
  rollback: async (invocation, site, args) => {
    none(args, "rollback [--to VERSION]");
    const target = rollbackTarget(site, optionalOption(invocation, "to"));
    return withPrepared(invocation, site, storedBundle(site, target.release), async (prepared) => {
      return asked(prepared, planRollback(prepared.facts, prepared.next, configOf(site, target)));
    });
  },
  config: async (invocation, site, args) => {
    const file = only(args, "config FILE");
    const given = parseConfigFile(await readBoundedFile(file, CONFIG_MAX_BYTES), file);
    const { release } = requireInstalled(readDeployments(site.paths));
    return withPrepared(invocation, site, storedBundle(site, release), async (prepared) => {
      return asked(prepared, planConfig(prepared.facts, prepared.next, given));
    });
  },
  operator: async (_invocation, site, [word, argument, ...more]) => {
    const isWord = word === "add" || word === "remove" || word === "recipients";
    if (!isWord || argument === undefined || more.length > 0) {
      throw usageError(NAME, "want `operator add FILE`, `operator remove NAME` or `operator recipients FILE`");
    }
    return planOperatorChange(site.authority, await changedAuthority(site.authority, word, argument));
  },
  trust: async (_invocation, site, args) =>
    planTrustChange(trustChangeTo(site, readTrustDirectory(only(args, "trust DIR")))),
  policy: async (_invocation, site, args) => {
    const bytes = await readBoundedFile(only(args, "policy FILE"), POLICY_MAX_BYTES);
    return planPolicyChange(policyChangeTo(site.ledger.entries, bytes));
  },
  tenant: planWish,
  "api-key": planWish,
  tls: async (invocation, site, args) => {
    const wish = tlsWish(invocation, site, args);
    const { release } = requireInstalled(readDeployments(site.paths));
    return withPrepared(invocation, site, storedBundle(site, release), async (prepared) => {
      return asked(prepared, planTlsOf(prepared, site, await wish));
    });
  },
  rotate: async (invocation, site, args) => {
    const wish = rotationWish(only(args, "rotate secrets|certificates"));
    const { release } = requireInstalled(readDeployments(site.paths));
    return withPrepared(invocation, site, storedBundle(site, release), async (prepared) =>
      asked(prepared, planRotateOf(prepared, site, wish)),
    );
  },
  prune: async (invocation, site, args) => {
    none(args, "prune [--keep N]");
    return (await planPrune(site, keepOption(invocation))).subject;
  },
  restore: async (invocation, site, args) =>
    restoreSubject(invocation, site, only(args, "restore FILE --identity KEY")),
  uninstall: async (invocation, site, args) => {
    none(args, "uninstall [--purge-data]");
    return (await planUninstall(site, invocation.options["purge-data"] === true)).subject;
  },
};

function only(args: readonly string[], usage: string): string {
  const [argument, ...more] = args;
  if (argument === undefined || more.length > 0) throw usageError(NAME, `want \`${usage}\``);
  return argument;
}

function none(args: readonly string[], usage: string): void {
  if (args.length > 0) throw usageError(NAME, `want \`${usage}\``);
}

/** @throws USAGE, also for an action that this version does not do yet */
async function planOf(invocation: Invocation, site: Site): Promise<PlanSubject | undefined> {
  const [action, ...rest] = invocation.args;
  if (action === undefined) throw usageError(NAME, `ACTION is missing, one of ${Object.keys(PLANNERS).join(", ")}`);
  const planner = isAction(action) ? PLANNERS[action] : undefined;
  if (planner) return planner(invocation, site, rest);
  throw usageError(NAME, `got action ${JSON.stringify(action)}, want one of ${Object.keys(PLANNERS).join(", ")}`);
}
