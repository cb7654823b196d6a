/** The first API key of an appliance, with the tenant, the role and the principal that it belongs to. */
import type pg from "pg";
import { CAPABILITIES, makeApiKey } from "./api-key.ts";

export interface FirstKeyOptions {
  /** The content of the pepper's file. */
  readonly pepper: string;
  /** What the role may use; models that it may use already stay. */
  readonly models: readonly string[];
  readonly validDays: number;
}

/** `api-key`: a new one, shown only here. `api-key-in-use`: there is one that works and was used already. */
export type FirstKeyResult =
  | { readonly kind: "api-key"; readonly tenant: string; readonly key: string; readonly expires: string }
  | { readonly kind: "api-key-in-use"; readonly tenant: string; readonly prefix: string };

const TENANT = "default";
const ROLE = "user";
const PRINCIPAL = "first";

/**
 * Makes the first key, or another in its place as long as it was never used: whoever made it may have been
 * stopped before anybody saw it. `client` is connected as the owner. All or nothing.
 */
export async function makeFirstKey(client: pg.ClientBase, options: FirstKeyOptions): Promise<FirstKeyResult> {
  await client.query("BEGIN");
  try {
    const result = await inTransaction(client, options);
    await client.query("COMMIT");
    return result;
  } catch (cause) {
    await client.query("ROLLBACK").catch(() => {});
    throw cause;
  }
}

async function inTransaction(client: pg.ClientBase, options: FirstKeyOptions): Promise<FirstKeyResult> {
  const { pepper, models, validDays } = options;
  await client.query("INSERT INTO app.tenant (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", [TENANT]);
  // The lock keeps a second run waiting, so that there are never two first keys.
  const tenants = await client.query("SELECT id FROM app.tenant WHERE name = $1 FOR UPDATE", [TENANT]);
  const tenant: unknown = tenants.rows[0].id;
  await client.query("INSERT INTO app.role (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", [tenant, ROLE]);
  await client.query(
    "INSERT INTO app.role_model (tenant_id, role, model) SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING",
    [tenant, ROLE, models],
  );
  await client.query(
    "INSERT INTO app.principal (tenant_id, name, role) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, name) DO NOTHING",
    [tenant, PRINCIPAL, ROLE],
  );
  const used = await client.query<{ prefix: string }>(
    `SELECT prefix FROM app.api_key
      WHERE tenant_id = $1 AND last_used_at IS NOT NULL AND revoked_at IS NULL AND expires_at > now()
      ORDER BY created_at LIMIT 1`,
    [tenant],
  );
  if (used.rows[0]) return { kind: "api-key-in-use", tenant: TENANT, prefix: used.rows[0].prefix };
  const principals = await client.query("SELECT id FROM app.principal WHERE tenant_id = $1 AND name = $2", [
    tenant,
    PRINCIPAL,
  ]);
  const principal: unknown = principals.rows[0].id;
  await client.query(
    `UPDATE app.api_key SET revoked_at = now()
      WHERE principal_id = $1 AND last_used_at IS NULL AND revoked_at IS NULL`,
    [principal],
  );
  const { key, prefix, hash } = makeApiKey(pepper);
  const made = await client.query<{ expires_at: Date }>(
    `INSERT INTO app.api_key (tenant_id, principal_id, prefix, hash, capabilities, expires_at)
      VALUES ($1, $2, $3, $4, $5, now() + make_interval(days => $6)) RETURNING expires_at`,
    [tenant, principal, prefix, hash, CAPABILITIES, validDays],
  );
  return { kind: "api-key", tenant: TENANT, key, expires: made.rows[0]?.expires_at.toISOString() ?? "" };
}
