/** What an operator may change in the database: tenants, the models they reach, and API keys. */
import type pg from "pg";
import { CAPABILITIES, type Capability, makeApiKey } from "./api-key.ts";

/** One change, or a look. As the installer writes it; whatever else is in it is an error. */
export type Order =
  | { readonly do: "list"; readonly tenant: string | null }
  | { readonly do: "tenant-add"; readonly tenant: string; readonly models: readonly string[] }
  | { readonly do: "tenant-models"; readonly tenant: string; readonly models: readonly string[] }
  | { readonly do: "tenant-active"; readonly tenant: string; readonly active: boolean }
  | {
      readonly do: "key-add";
      readonly tenant: string;
      readonly holder: string;
      /** Chosen by whoever asks, so that the same order twice makes one key. */
      readonly prefix: string;
      readonly capabilities: readonly Capability[];
      readonly days: number;
    }
  | { readonly do: "key-revoke"; readonly prefix: string };

/** Why an order cannot be done; nothing was changed. */
export type Refusal = "tenant-exists" | "tenant-unknown" | "model-unknown" | "key-unknown" | "key-in-use";

export class OrderError extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal);
    this.name = "OrderError";
    this.refusal = refusal;
  }
}

export interface AdministrationOptions {
  /** The content of the pepper's file. */
  readonly pepper: string;
  /** The models of the release. */
  readonly models: readonly string[];
}

/** Every tenant has this one role; what it reaches is what the tenant reaches. */
const ROLE = "user";
const LISTED_KEYS_MAX = 5_000;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const PREFIX = /^[a-z2-7]{12}$/;
const DAYS_MAX = 3_650;
const MODELS_MAX = 256;

/** The order in `text`, or undefined if it is none: an unknown member makes it none too. */
export function parseOrder(text: string): Order | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const given = value as Readonly<Record<string, unknown>>;
  const { tenant, models, active, holder, prefix, capabilities, days } = given;
  const has = (...names: readonly string[]): boolean =>
    Object.keys(given).sort().join() === [...names, "do"].sort().join();
  switch (given["do"]) {
    case "list":
      return has("tenant") && (tenant === null || isName(tenant)) ? { do: "list", tenant } : undefined;
    case "tenant-add":
    case "tenant-models":
      return has("tenant", "models") && isName(tenant) && areTexts(models, MODELS_MAX)
        ? { do: given["do"], tenant, models }
        : undefined;
    case "tenant-active":
      return has("tenant", "active") && isName(tenant) && typeof active === "boolean"
        ? { do: "tenant-active", tenant, active }
        : undefined;
    case "key-add":
      return has("tenant", "holder", "prefix", "capabilities", "days") &&
        isName(tenant) &&
        isName(holder) &&
        isPrefix(prefix) &&
        areCapabilities(capabilities) &&
        isDays(days)
        ? { do: "key-add", tenant, holder, prefix, capabilities, days }
        : undefined;
    case "key-revoke":
      return has("prefix") && isPrefix(prefix) ? { do: "key-revoke", prefix } : undefined;
    default:
      return undefined;
  }
}

function isName(value: unknown): value is string {
  return typeof value === "string" && NAME.test(value);
}

function isPrefix(value: unknown): value is string {
  return typeof value === "string" && PREFIX.test(value);
}

function isDays(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= DAYS_MAX;
}

function areTexts(value: unknown, max: number): value is readonly string[] {
  return Array.isArray(value) && value.length <= max && value.every((one) => typeof one === "string");
}

function areCapabilities(value: unknown): value is readonly Capability[] {
  const known: readonly string[] = CAPABILITIES;
  return areTexts(value, known.length) && value.length > 0 && value.every((one) => known.includes(one));
}

/**
 * Carries out one order in one transaction, as the database's owner. The same order again changes nothing
 * more, except that a key that was never used gets another secret: whoever asked may not have seen the first.
 * @throws OrderError
 */
export async function carryOutOrder(
  client: pg.ClientBase,
  order: Order,
  options: AdministrationOptions,
): Promise<unknown> {
  if (order.do === "list") return list(client, order.tenant, options.models);
  await client.query("BEGIN");
  try {
    const result = await change(client, order, options);
    await client.query("COMMIT");
    return result;
  } catch (cause) {
    await client.query("ROLLBACK").catch(() => {});
    throw cause;
  }
}

async function change(
  client: pg.ClientBase,
  order: Exclude<Order, { readonly do: "list" }>,
  { pepper, models }: AdministrationOptions,
): Promise<unknown> {
  switch (order.do) {
    case "tenant-add": {
      const made = await client.query<{ id: string }>(
        "INSERT INTO app.tenant (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING id",
        [order.tenant],
      );
      if (!made.rows[0]) throw new OrderError("tenant-exists");
      await client.query("INSERT INTO app.role (tenant_id, name) VALUES ($1, $2)", [made.rows[0].id, ROLE]);
      await setModels(client, made.rows[0].id, order.models, models);
      return { kind: "tenant", tenant: order.tenant };
    }
    case "tenant-models": {
      await setModels(client, await lockTenant(client, order.tenant), order.models, models);
      return { kind: "tenant", tenant: order.tenant };
    }
    case "tenant-active": {
      const tenant = await lockTenant(client, order.tenant);
      await client.query("UPDATE app.tenant SET active = $2 WHERE id = $1", [tenant, order.active]);
      return { kind: "tenant", tenant: order.tenant };
    }
    case "key-add":
      return addKey(client, order, pepper);
    case "key-revoke": {
      const { rows } = await client.query<{ revoked_at: Date }>(
        "UPDATE app.api_key SET revoked_at = coalesce(revoked_at, now()) WHERE prefix = $1 RETURNING revoked_at",
        [order.prefix],
      );
      if (!rows[0]) throw new OrderError("key-unknown");
      return { kind: "api-key-revoked", prefix: order.prefix, revoked: rows[0].revoked_at.toISOString() };
    }
  }
}

/** Its id; nobody else changes the tenant until the transaction ends. */
async function lockTenant(client: pg.ClientBase, name: string): Promise<string> {
  const { rows } = await client.query<{ id: string }>("SELECT id FROM app.tenant WHERE name = $1 FOR UPDATE", [name]);
  if (!rows[0]) throw new OrderError("tenant-unknown");
  return rows[0].id;
}

/** A model that the tenant reaches already may be one that only an earlier release had. */
async function setModels(
  client: pg.ClientBase,
  tenant: string,
  wanted: readonly string[],
  known: readonly string[],
): Promise<void> {
  const held = await client.query<{ model: string }>(
    "SELECT model FROM app.role_model WHERE tenant_id = $1 AND role = $2",
    [tenant, ROLE],
  );
  const allowed = new Set([...known, ...held.rows.map(({ model }) => model)]);
  if (wanted.some((model) => !allowed.has(model))) throw new OrderError("model-unknown");
  await client.query("DELETE FROM app.role_model WHERE tenant_id = $1 AND role = $2", [tenant, ROLE]);
  await client.query(
    "INSERT INTO app.role_model (tenant_id, role, model) SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING",
    [tenant, ROLE, wanted],
  );
}

async function addKey(
  client: pg.ClientBase,
  order: Extract<Order, { readonly do: "key-add" }>,
  pepper: string,
): Promise<unknown> {
  const tenant = await lockTenant(client, order.tenant);
  await client.query("INSERT INTO app.role (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", [tenant, ROLE]);
  await client.query(
    "INSERT INTO app.principal (tenant_id, name, role) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, name) DO NOTHING",
    [tenant, order.holder, ROLE],
  );
  const { key, prefix, hash } = makeApiKey(pepper, order.prefix);
  const { rows } = await client.query<{ expires_at: Date }>(
    `INSERT INTO app.api_key AS held (tenant_id, principal_id, prefix, hash, capabilities, expires_at)
      SELECT $1, id, $3, $4, $5, now() + make_interval(days => $6) FROM app.principal WHERE tenant_id = $1 AND name = $2
      ON CONFLICT (prefix) DO UPDATE SET hash = excluded.hash
        WHERE held.principal_id = excluded.principal_id AND held.last_used_at IS NULL AND held.revoked_at IS NULL
      RETURNING expires_at`,
    [tenant, order.holder, prefix, hash, order.capabilities, order.days],
  );
  if (!rows[0]) throw new OrderError("key-in-use");
  const expires = rows[0].expires_at.toISOString();
  return { kind: "api-key", tenant: order.tenant, holder: order.holder, prefix, key, expires };
}

async function list(client: pg.ClientBase, tenant: string | null, models: readonly string[]): Promise<unknown> {
  const tenants = await client.query(
    `SELECT t.id, t.name, t.active, t.created_at AS created,
        ARRAY(SELECT m.model FROM app.role_model m WHERE m.tenant_id = t.id AND m.role = $2 ORDER BY 1) AS models
      FROM app.tenant t WHERE $1::text IS NULL OR t.name = $1 ORDER BY t.name`,
    [tenant, ROLE],
  );
  const keys = await client.query(
    `SELECT k.prefix, k.id, t.name AS tenant, p.name AS holder, p.id AS "holderId", k.capabilities, k.created_at AS created,
        k.expires_at AS expires, k.revoked_at AS revoked, k.last_used_at AS "lastUsed"
      FROM app.api_key k JOIN app.tenant t ON t.id = k.tenant_id JOIN app.principal p ON p.id = k.principal_id
      WHERE $1::text IS NULL OR t.name = $1
      ORDER BY (k.revoked_at IS NULL AND k.expires_at > now()) DESC, t.name, p.name, k.created_at DESC LIMIT $2`,
    [tenant, LISTED_KEYS_MAX],
  );
  return { kind: "list", models, tenants: tenants.rows, keys: keys.rows };
}
