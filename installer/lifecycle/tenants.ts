/**
 * The appliance's tenants and API keys, as operators look after them. The database belongs to the appliance,
 * so one of its tasks does it: it gets one order as JSON, and prints one line of JSON. Before an operator
 * signs, the same task is asked what there is, so that an order that cannot be done is refused at once.
 */
import { randomBytes } from "node:crypto";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { containerStates, runTask, stopTask } from "../../compose/engine/project.ts";
import { projectName } from "../../compose/render.ts";
import { type Deployment, deploymentSchema, readDeployments } from "../site/deployment.ts";
import type { PlanSubject } from "./authorization.ts";
import { colourProject, type DeployContext, type SiteNames } from "./deploy-context.ts";
import { requireInstalled } from "./deploy-plan.ts";
import { lifecycleError } from "./error.ts";
import { renderedFile } from "./rendered-file.ts";
import { type NewStep, reported } from "./reported-step.ts";
import type { OperationKind, Parameters } from "./step.ts";
import { withStoredRelease } from "./stored-release.ts";

/** What the task can be ordered to do, besides to look. */
export type TenantOrder =
  | { readonly do: "tenant-add"; readonly tenant: string; readonly models: readonly string[] }
  | { readonly do: "tenant-models"; readonly tenant: string; readonly models: readonly string[] }
  | { readonly do: "tenant-active"; readonly tenant: string; readonly active: boolean }
  | {
      readonly do: "key-add";
      readonly tenant: string;
      readonly holder: string;
      readonly prefix: string;
      readonly capabilities: readonly string[];
      readonly days: number;
    }
  | { readonly do: "key-revoke"; readonly prefix: string };

/** An order as an operator gives it: the models may be all that the release has, and a key has no name yet. */
export type TenantWish =
  | { readonly do: "tenant-add"; readonly tenant: string; readonly models: readonly string[] | null }
  | { readonly do: "tenant-models"; readonly tenant: string; readonly models: readonly string[] | null }
  | { readonly do: "tenant-active"; readonly tenant: string; readonly active: boolean }
  | {
      readonly do: "key-add";
      readonly tenant: string;
      readonly holder: string;
      readonly capabilities: readonly string[];
      readonly days: number;
    }
  | { readonly do: "key-revoke"; readonly prefix: string };

export interface TenantList {
  /** Of the release that runs. */
  readonly models: readonly string[];
  readonly tenants: readonly {
    /** As in the records of the audit log, where a tenant, an actor and a key have no names. */
    readonly id: string;
    readonly name: string;
    readonly active: boolean;
    readonly created: string;
    readonly models: readonly string[];
  }[];
  /** At most 5000; those that work come first. */
  readonly keys: readonly {
    readonly prefix: string;
    readonly id: string;
    readonly tenant: string;
    readonly holder: string;
    readonly holderId: string;
    readonly capabilities: readonly string[];
    readonly created: string;
    readonly expires: string;
    readonly revoked: string | null;
    /** To the day. */
    readonly lastUsed: string | null;
  }[];
}

export interface TenantPlan {
  readonly subject: PlanSubject;
  readonly parameters: { readonly at: Deployment; readonly order: TenantOrder };
}

export const CAPABILITIES = ["chat", "models", "usage"] as const;
export const KEY_DAYS = { default: 90, max: 3_650 } as const;
const TASK_SECONDS = 120;
const NAME = "^[a-z0-9][a-z0-9-]{0,62}$";
const PREFIX = "^[a-z2-7]{12}$";
const LETTERS = "abcdefghijklmnopqrstuvwxyz234567";

const name = { type: "string", pattern: NAME };
const names = { type: "array", maxItems: 256, items: { type: "string", minLength: 1, maxLength: 128 } };
const closed = (properties: Readonly<Record<string, object>>): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});
const orderSchema: JsonSchema = {
  oneOf: [
    closed({ do: { enum: ["tenant-add", "tenant-models"] }, tenant: name, models: names }),
    closed({ do: { const: "tenant-active" }, tenant: name, active: { type: "boolean" } }),
    closed({
      do: { const: "key-add" },
      tenant: name,
      holder: name,
      prefix: { type: "string", pattern: PREFIX },
      capabilities: { type: "array", minItems: 1, uniqueItems: true, items: { enum: [...CAPABILITIES] } },
      days: { type: "integer", minimum: 1, maximum: KEY_DAYS.max },
    }),
    closed({ do: { const: "key-revoke" }, prefix: { type: "string", pattern: PREFIX } }),
  ],
};
const parametersSchema = closed({ at: deploymentSchema, order: orderSchema });
const text = { type: "string", maxLength: 256 };
const textOrNull = { type: ["string", "null"], maxLength: 64 };
const listSchema = closed({
  kind: { const: "list" },
  models: names,
  tenants: {
    type: "array",
    items: closed({ id: text, name, active: { type: "boolean" }, created: text, models: names }),
  },
  keys: {
    type: "array",
    items: closed({
      prefix: { type: "string", pattern: PREFIX },
      id: text,
      tenant: name,
      holder: name,
      holderId: text,
      capabilities: { type: "array", items: text },
      created: text,
      expires: text,
      revoked: textOrNull,
      lastUsed: textOrNull,
    }),
  },
});

export function isTenantName(value: string): boolean {
  return new RegExp(NAME).test(value);
}

export function isKeyPrefix(value: string): boolean {
  return new RegExp(PREFIX).test(value);
}

/**
 * What there is, of one tenant or of all.
 * @throws SITE_NOT_INSTALLED | SITE_NOT_RUNNING | TENANTS_NOT_HERE | ENGINE_TASK_FAILED
 */
export async function listTenants(site: SiteNames, engine: Engine, tenant: string | null): Promise<TenantList> {
  const current = requireInstalled(readDeployments(site.paths));
  await requireDatabase(site, engine, current);
  const said = await give(site, engine, current, { do: "list", tenant }, true);
  const problem = schemaProblem(listSchema, said);
  if (problem !== undefined) throw lifecycleError("TENANTS_NOT_HERE", `the appliance's list of tenants: ${problem}`);
  return said as unknown as TenantList;
}

/**
 * What an operator signs for `wish`, judged by what there is.
 * @throws TENANT_EXISTS | TENANT_UNKNOWN | TENANT_UNCHANGED | MODEL_UNKNOWN | API_KEY_UNKNOWN, and as `listTenants`
 */
export async function planTenants(site: SiteNames, engine: Engine, wish: TenantWish): Promise<TenantPlan> {
  const at = requireInstalled(readDeployments(site.paths));
  const order = judge(await listTenants(site, engine, null), wish);
  return { subject: subjectOf(at, order), parameters: { at, order } };
}

/** The order that carries out `wish` where `list` is what there is. Pure but for the name of a new key. */
export function judge(list: TenantList, wish: TenantWish): TenantOrder {
  if (wish.do === "key-revoke") {
    const key = list.keys.find(({ prefix }) => prefix === wish.prefix);
    if (!key) {
      throw lifecycleError("API_KEY_UNKNOWN", `there is no API key ${JSON.stringify(wish.prefix)}`, {
        hints: ["sealift api-key list; the name of a key is what stands between its first two underscores"],
      });
    }
    if (key.revoked !== null) throw unchanged(`API key ${wish.prefix} was revoked at ${key.revoked}`);
    return wish;
  }
  const tenant = list.tenants.find((one) => one.name === wish.tenant);
  if (wish.do === "tenant-add") {
    if (tenant) {
      throw lifecycleError("TENANT_EXISTS", `there is a tenant ${JSON.stringify(wish.tenant)} already`, {
        hints: ["sealift tenant list"],
      });
    }
    return { ...wish, models: modelsOf(list, wish.models, []) };
  }
  if (!tenant) {
    throw lifecycleError("TENANT_UNKNOWN", `there is no tenant ${JSON.stringify(wish.tenant)}`, {
      hints: ["sealift tenant list", `sealift tenant add ${wish.tenant}`],
    });
  }
  if (wish.do === "tenant-models") {
    const models = modelsOf(list, wish.models, tenant.models);
    if (models.join() === [...tenant.models].sort().join()) throw unchanged(`${wish.tenant} reaches these models`);
    return { ...wish, models };
  }
  if (wish.do === "tenant-active") {
    if (wish.active === tenant.active) throw unchanged(`${wish.tenant} is ${wish.active ? "enabled" : "disabled"}`);
    return wish;
  }
  return { ...wish, prefix: [...randomBytes(12)].map((byte) => LETTERS[byte % LETTERS.length]).join("") };
}

/** A model that only an earlier release had may be kept, but not given anew. */
function modelsOf({ models }: TenantList, wanted: readonly string[] | null, held: readonly string[]): string[] {
  const unknown = wanted?.find((model) => !models.includes(model) && !held.includes(model));
  if (unknown !== undefined) {
    throw lifecycleError("MODEL_UNKNOWN", `there is no model ${JSON.stringify(unknown)}`, {
      hints: [`this release has ${models.join(", ") || "no models"}`],
    });
  }
  return [...new Set(wanted ?? models)].sort();
}

function unchanged(what: string): Error {
  return lifecycleError("TENANT_UNCHANGED", `${what} already`);
}

/** The plan names no new key, so that it is the same plan wherever it is made. */
function subjectOf(at: Deployment, order: TenantOrder): PlanSubject {
  const action = order.do === "key-add" || order.do === "key-revoke" ? "api-key" : "tenant";
  const { config } = at;
  return {
    ...{ action, from: at.release, to: at.release, configDigest: config, policyDigest: null, trustVersion: null },
    details: [inWords(order)],
  };
}

function inWords(order: TenantOrder): string {
  const models = (of: readonly string[]): string => (of.length === 0 ? "no model" : `the models ${of.join(", ")}`);
  switch (order.do) {
    case "tenant-add":
      return `adds tenant ${order.tenant}, which reaches ${models(order.models)}`;
    case "tenant-models":
      return `lets tenant ${order.tenant} reach ${models(order.models)}, and no other`;
    case "tenant-active":
      return order.active
        ? `enables tenant ${order.tenant}: its keys work again`
        : `disables tenant ${order.tenant}: none of its keys works, nothing is deleted`;
    case "key-add":
      return `makes an API key of tenant ${order.tenant} for ${order.holder}, good for ${order.days} days, for ${order.capabilities.join(", ")}`;
    case "key-revoke":
      return `revokes API key ${order.prefix} for ever`;
  }
}

/** Done by the appliance in one transaction. Done once more it changes nothing, but makes another new key. */
export const tenantsKind: OperationKind<DeployContext> = {
  name: "tenants",
  steps: (context, given) => {
    const { at, order } = parse(given);
    let said: Readonly<Record<string, unknown>> | undefined;
    const carryOut: NewStep = {
      name: "order",
      intent: inWords(order),
      isCommit: true,
      do: async () => {
        const engine = await context.engine();
        try {
          said = await give(context, engine, at, order, false);
        } catch (cause) {
          // Refused because it is done already: by a run of ours that was cut off before it could write so.
          if (!isRefusal(cause) || !isDone(await listTenants(context, engine, null), order)) throw cause;
        }
      },
      // What was not done needs nothing; what was done is never taken back.
      undo: async () => {},
      probe: async () => {
        const engine = await context.engine();
        // It may have outlived us: what it did after the question nobody would know.
        await stopTask(engine, colourProject(context, at).name, await taskOf(context, at));
        return isDone(await listTenants(context, engine, null), order) ? "done" : "not-done";
      },
    };
    const show: NewStep = {
      name: "show",
      intent: "show the key",
      do: async () => {
        try {
          // Another key in the place of one that nobody saw.
          said ??= await give(context, await context.engine(), at, order, false);
        } catch (cause) {
          // Somebody did, because it was used.
          if (!isRefusal(cause)) throw cause;
        }
        if (said && "key" in said) context.showOnce(JSON.stringify(said));
      },
    };
    const steps = order.do === "key-add" ? [carryOut, show] : [carryOut];
    return steps.map((step) => reported(context, step, false));
  },
};

function isRefusal(cause: unknown): boolean {
  return cause instanceof SealiftError && cause.code === "TENANT_REFUSED";
}

export function isDone({ tenants, keys }: TenantList, order: TenantOrder): boolean {
  if (order.do === "key-add") return keys.some(({ prefix }) => prefix === order.prefix);
  if (order.do === "key-revoke") return keys.some(({ prefix, revoked }) => prefix === order.prefix && revoked !== null);
  const tenant = tenants.find((one) => one.name === order.tenant);
  if (!tenant) return false;
  if (order.do === "tenant-active") return tenant.active === order.active;
  return [...tenant.models].sort().join() === order.models.join();
}

function parse(value: Parameters): TenantPlan["parameters"] {
  const problem = schemaProblem(parametersSchema, value);
  if (problem) throw lifecycleError("JOURNAL_DAMAGED", `the open operation's parameters: ${problem}`);
  return value as unknown as TenantPlan["parameters"];
}

/** @throws TENANTS_NOT_HERE */
async function taskOf({ paths }: SiteNames, at: Deployment): Promise<string> {
  const task = await withStoredRelease(paths, at.release, async ({ rules }) => rules.tasks.tenants);
  if (task === undefined) throw notHere(at);
  return task;
}

/** Runs the task in the colour that is live, and returns what it says. */
async function give(
  site: SiteNames,
  engine: Engine,
  at: Deployment,
  order: TenantOrder | { readonly do: "list"; readonly tenant: string | null },
  isLook: boolean,
): Promise<Readonly<Record<string, unknown>>> {
  const task = await taskOf(site, at);
  renderedFile(site, at, "containers");
  const run = { taskArguments: [JSON.stringify(order)], isLook };
  const line = (await runTask(engine, colourProject(site, at), task, TASK_SECONDS, run)).trim();
  let said: unknown;
  try {
    said = JSON.parse(line);
  } catch {
    throw lifecycleError("TENANTS_NOT_HERE", "the appliance's task for tenants: got no JSON");
  }
  const members = (typeof said === "object" && said !== null ? said : {}) as Readonly<Record<string, unknown>>;
  if (members["kind"] === "refused") {
    const reason = String(members["reason"]).slice(0, 64);
    throw lifecycleError("TENANT_REFUSED", `the appliance refused it: ${JSON.stringify(reason)}`, {
      hints: ["somebody else may have changed its database meanwhile: sealift tenant list"],
    });
  }
  return members;
}

function notHere({ appliance, version }: Deployment): Error {
  return lifecycleError("TENANTS_NOT_HERE", `${appliance} ${version} has no task that looks after tenants`, {
    hints: ["a later release may have one; how this one is looked after is its publisher's to say"],
  });
}

/** @throws SITE_NOT_RUNNING: waiting for a database that does not come tells an operator nothing */
async function requireDatabase(site: SiteNames, engine: Engine, at: Deployment): Promise<void> {
  const service = await withStoredRelease(site.paths, at.release, async ({ rules }) => rules.database?.service);
  if (service === undefined) throw notHere(at);
  const states = await containerStates(engine, projectName(site.siteId, "base"));
  if (states.some((one) => one.service === service && one.healthy)) return;
  throw lifecycleError("SITE_NOT_RUNNING", `${service} does not run, and tenants are in it`, {
    hints: ["sealift status", "sealift start"],
  });
}
