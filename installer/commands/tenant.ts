/** `tenant` and `api-key`: who may use the appliance. Each change is an operator's, and in the ledger. */
import { plain } from "../../bundles/model/plain-text.ts";
import { spendAuthorization } from "../lifecycle/authorization.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import { execute } from "../lifecycle/execute.ts";
import {
  CAPABILITIES,
  isKeyPrefix,
  isTenantName,
  KEY_DAYS,
  listTenants,
  planTenants,
  type TenantList,
  type TenantWish,
  tenantsKind,
} from "../lifecycle/tenants.ts";
import { showCredentials } from "../ui/show-credentials.ts";
import { stepReport } from "../ui/step-report.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  positionals,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";
import { printPlan } from "./deploy-verb.ts";
import { withSiteEngine } from "./site-engine.ts";
import {
  AUTHORIZATION_DETAILS,
  AUTHORIZATION_OPTIONS,
  obtainAuthorization,
  STATE_OPTION,
  withSite,
} from "./site-options.ts";
import { unstopped } from "./unstopped.ts";

const MODEL_OPTION = { model: { type: "string", multiple: true } } as const;
const KEY_OPTIONS = {
  tenant: { type: "string" },
  for: { type: "string" },
  days: { type: "string" },
  can: { type: "string", multiple: true },
} as const;
/** Of every verb here that changes something: what `authorize` must know too. */
export const WISH_OPTIONS = { ...MODEL_OPTION, ...KEY_OPTIONS } as const;

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly details?: readonly string[];
  readonly options: Command["options"];
  readonly wish: (invocation: Invocation, name: string, args: readonly string[]) => TenantWish;
}

const VERBS: readonly Verb[] = [
  {
    name: "tenant add",
    summary: "add a tenant of the appliance",
    usage: "NAME [--model MODEL…]",
    details: ["--model MODEL         a model that it reaches; all of the release if none is given"],
    options: MODEL_OPTION,
    wish: (invocation, name, args) => ({
      do: "tenant-add",
      tenant: tenantOf(name, args),
      models: modelsOf(invocation),
    }),
  },
  {
    name: "tenant models",
    summary: "say which models a tenant reaches",
    usage: "NAME [--model MODEL…]",
    details: ["--model MODEL         a model that it reaches; all of the release if none is given"],
    options: MODEL_OPTION,
    wish: (invocation, name, args) => ({
      do: "tenant-models",
      tenant: tenantOf(name, args),
      models: modelsOf(invocation),
    }),
  },
  ...([true, false] as const).map(
    (active): Verb => ({
      name: active ? "tenant enable" : "tenant disable",
      summary: active ? "let a tenant's keys work again" : "let none of a tenant's keys work; nothing is deleted",
      usage: "NAME",
      options: {},
      wish: (_invocation, name, args) => ({ do: "tenant-active", tenant: tenantOf(name, args), active }),
    }),
  ),
  {
    name: "api-key add",
    summary: "make an API key and show it once",
    usage: "--tenant NAME --for HOLDER [--days N] [--can CAPABILITY…]",
    details: [
      "--tenant NAME         whose key it is (sealift tenant list)",
      "--for HOLDER          who holds it, a person or a program",
      `--days N              how long it is good (default ${KEY_DAYS.default}, at most ${KEY_DAYS.max})`,
      `--can CAPABILITY      what it is for: ${CAPABILITIES.join(", ")}; all of them if none is given`,
    ],
    options: KEY_OPTIONS,
    wish: keyWish,
  },
  {
    name: "api-key revoke",
    summary: "let an API key never work again",
    usage: "PREFIX",
    details: [
      "PREFIX                what stands between a key's first two underscores (sealift api-key list)",
      "A gateway may take the key for five seconds more; a request that is under way then is not cut off.",
    ],
    options: {},
    wish: (_invocation, name, args) => {
      const [prefix = ""] = exactly(name, args, "PREFIX");
      if (isKeyPrefix(prefix)) return { do: "key-revoke", prefix };
      throw usageError(
        name,
        `got ${JSON.stringify(prefix)}, want the 12 letters between a key's first two underscores`,
      );
    },
  },
];

/** The wish of the verb of these words, for `authorize`. @throws USAGE */
export function wishOf(invocation: Invocation, words: readonly string[]): TenantWish {
  const [noun = "", verb = "", ...args] = words;
  const found = VERBS.find(({ name }) => name === `${noun} ${verb}`);
  if (found) return found.wish(invocation, found.name, args);
  const known = VERBS.flatMap(({ name }) => (name.startsWith(`${noun} `) ? [`\`${name}\``] : []));
  throw usageError("authorize", `want one of ${known.join(", ")}`);
}

function tenantOf(name: string, args: readonly string[]): string {
  const [tenant = ""] = exactly(name, args, "NAME");
  return checkedName(name, "NAME", tenant);
}

function checkedName(verb: string, what: string, value: string): string {
  if (isTenantName(value)) return value;
  throw usageError(verb, `${what}: got ${JSON.stringify(value)}, want 1 to 63 of a-z, 0-9 and -, and no - first`);
}

function exactly(name: string, args: readonly string[], what: string): readonly string[] {
  if (args.length === 1) return args;
  throw usageError(name, args.length === 0 ? `${what} is missing` : `unexpected argument ${JSON.stringify(args[1])}`);
}

function modelsOf(invocation: Invocation): readonly string[] | null {
  const models = repeatedOption(invocation, "model");
  return models.length === 0 ? null : models;
}

function keyWish(invocation: Invocation, name: string, args: readonly string[]): TenantWish {
  if (args.length > 0) throw usageError(name, `unexpected argument ${JSON.stringify(args[0])}`);
  const days = optionalOption(invocation, "days") ?? String(KEY_DAYS.default);
  if (!/^[1-9][0-9]{0,3}$/.test(days) || Number(days) > KEY_DAYS.max) {
    throw usageError(name, `--days: got ${JSON.stringify(days)}, want days from 1 to ${KEY_DAYS.max}`);
  }
  const wanted = repeatedOption(invocation, "can");
  const unknown = wanted.find((one) => !CAPABILITIES.some((known) => known === one));
  if (unknown !== undefined) {
    throw usageError(name, `--can: got ${JSON.stringify(unknown)}, want one of ${CAPABILITIES.join(", ")}`);
  }
  return {
    do: "key-add",
    tenant: checkedName(name, "--tenant", requiredOption(invocation, name, "tenant")),
    holder: checkedName(name, "--for", requiredOption(invocation, name, "for")),
    capabilities: CAPABILITIES.filter((known) => wanted.length === 0 || wanted.includes(known)),
    days: Number(days),
  };
}

function changing(verb: Verb): Command {
  return {
    name: verb.name,
    summary: verb.summary,
    usage: `${verb.usage} --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]`,
    details: [
      ...(verb.details ?? []),
      ...AUTHORIZATION_DETAILS,
      "--plan                print the plan and change nothing",
    ],
    options: { ...verb.options, ...AUTHORIZATION_OPTIONS, plan: { type: "boolean" }, ...STATE_OPTION },
    run: async (invocation) => {
      const wish = verb.wish(invocation, verb.name, invocation.args);
      return withSite(invocation, [verb.name, ...invocation.args].join(" "), (site) =>
        withSiteEngine(site, async (engine) => {
          const { terminal } = invocation;
          const { subject, parameters } = await planTenants(site, engine, wish);
          if (invocation.options["plan"] === true) {
            printPlan(invocation, site, subject);
            return 0;
          }
          const authorization = await obtainAuthorization(invocation, verb.name, site, subject);
          if (!authorization) return 0;
          const shown: string[] = [];
          const report = stepReport(terminal);
          const context: DeployContext = {
            ...site,
            engine: async () => engine,
            source: undefined,
            report,
            signal: undefined,
            showOnce: (text) => shown.push(text),
          };
          const entry = spendAuthorization(site, authorization);
          const work = (): Promise<void> => execute(site, tenantsKind, context, { ...parameters }, entry);
          await unstopped(report, "it ends in a moment", work).finally(() => report.close());
          for (const line of subject.details) terminal.result(line);
          const { approvals } = authorization;
          terminal.document({ plan: subject, approvals, credentials: shown });
          await showCredentials(terminal, shown);
          return 0;
        }),
      );
    },
  };
}

const commands = new Map(VERBS.map((verb) => [verb.name, changing(verb)]));

/** The verbs that change something. */
export function tenantVerb(name: string): Command {
  const found = commands.get(name);
  if (!found) throw new TypeError(`no verb ${name}`);
  return found;
}

export const tenantList: Command = {
  name: "tenant list",
  summary: "the appliance's tenants and the models that they reach",
  usage: "[--state DIR]",
  options: STATE_OPTION,
  run: async (invocation) => {
    positionals(invocation, "tenant list");
    const list = await lookUp(invocation, "tenant list", null);
    const { terminal } = invocation;
    for (const { name, active, models } of list.tenants) {
      terminal.result(`${name}${active ? "" : " (disabled)"}: ${plain(models.join(", ") || "no model")}`);
    }
    if (list.tenants.length === 0) terminal.result("there is no tenant");
    terminal.document({ models: list.models, tenants: list.tenants });
    return 0;
  },
};

export const apiKeyList: Command = {
  name: "api-key list",
  summary: "the appliance's API keys: whose, for what, how long; never a key itself",
  usage: "[--tenant NAME] [--state DIR]",
  details: [
    "--tenant NAME         of this tenant only",
    "--json has the ids too, by which the audit log names tenant, actor and key.",
  ],
  options: { tenant: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    const name = "api-key list";
    positionals(invocation, name);
    const given = optionalOption(invocation, "tenant");
    const tenant = given === undefined ? null : checkedName(name, "--tenant", given);
    const { keys } = await lookUp(invocation, name, tenant);
    const { terminal } = invocation;
    for (const key of keys) terminal.result(keyLine(key));
    if (keys.length === 0) terminal.result("there is no API key");
    terminal.document({ keys });
    return 0;
  },
};

function keyLine({
  prefix,
  tenant,
  holder,
  capabilities,
  expires,
  revoked,
  lastUsed,
}: TenantList["keys"][number]): string {
  const used = lastUsed === null ? "never used" : `last used ${lastUsed.slice(0, 10)}`;
  const end = revoked === null ? `until ${expires}` : `REVOKED ${revoked}`;
  return plain(`slk_${prefix}_…  ${tenant}/${holder}  ${capabilities.join(",")}  ${end}  ${used}`);
}

/** Under the lock: nothing may move the site meanwhile. */
async function lookUp(invocation: Invocation, name: string, tenant: string | null): Promise<TenantList> {
  return withSite(invocation, name, (site) => withSiteEngine(site, (engine) => listTenants(site, engine, tenant)));
}
