/**
 * Brings a database's schema forward while the running release works on. A statement that would have to
 * wait for a lock gives up after seconds and is tried again later, because all who come after it in the
 * queue would wait too.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import pg from "pg";
import type { Migration } from "./migration-files.ts";

export interface MigrationResult {
  /** The schema's version before and after; 0 is an empty database. */
  readonly from: number;
  readonly to: number;
}

/**
 * `changed`: a migration that the database has is not the file of that number. `foreign`: something would
 * have to be applied, but the database has migrations that this release does not know. `locked`: another
 * migration is under way. `failed`: a statement failed; nothing of its file is applied, the files before it are.
 */
export type MigrationProblem = "changed" | "foreign" | "locked" | "failed";

export class MigrationError extends Error {
  readonly problem: MigrationProblem;
  /** Plain facts, without what rows hold. */
  readonly facts: Readonly<Record<string, string | number>>;

  constructor(problem: MigrationProblem, facts: Readonly<Record<string, string | number>>, options?: ErrorOptions) {
    super(`migration: ${problem}`, options);
    this.name = "MigrationError";
    this.problem = problem;
    this.facts = facts;
  }
}

export interface MigrateOptions {
  readonly migrations: readonly Migration[];
  /** Apply none above this version. A database that is above it stays as it is: there is no way back. */
  readonly to: number;
  readonly log: Log;
  /** Waits between two tries of a migration that did not get its locks. */
  readonly retryMs?: readonly number[];
  /** How long a statement waits for a lock. */
  readonly lockTimeoutMs?: number;
}

/** Any number, always the same: the advisory lock that migrations of one database share. */
const ADVISORY_LOCK = 5_270_142;
const LOCKED_TRIES = 60;
const LOCK_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 60_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** lock_not_available, deadlock_detected, serialization_failure. */
const WORTH_A_RETRY = new Set(["55P03", "40P01", "40001"]);

/** `client` is connected as the owner and used for nothing else. @throws MigrationError */
export async function applyMigrations(client: pg.ClientBase, options: MigrateOptions): Promise<MigrationResult> {
  await takeLock(client, options);
  try {
    await client.query(`
      CREATE SCHEMA IF NOT EXISTS app;
      CREATE TABLE IF NOT EXISTS app.schema_migration (
        version integer PRIMARY KEY,
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
      )`);
    const from = await appliedVersion(client, options.migrations);
    const pending = options.migrations.filter(({ version }) => version > from && version <= options.to);
    for (const migration of pending) await applyWithRetries(client, migration, options);
    return { from, to: pending.at(-1)?.version ?? from };
  } finally {
    // With the connection gone, so is the lock.
    await client.query("SELECT pg_advisory_unlock($1)", [ADVISORY_LOCK]).catch(() => {});
  }
}

async function takeLock(client: pg.ClientBase, { log, retryMs = RETRY_MS }: MigrateOptions): Promise<void> {
  for (let tries = 0; tries < LOCKED_TRIES; tries += 1) {
    const { rows } = await client.query("SELECT pg_try_advisory_lock($1) AS taken", [ADVISORY_LOCK]);
    if (rows[0]?.taken === true) return;
    if (tries === 0) log("warn", "migration-waits", { reason: "another migration is under way" });
    await sleep(retryMs[1] ?? 0);
  }
  throw new MigrationError("locked", {});
}

/** The highest version that the database has. @throws MigrationError `changed` or `foreign` */
async function appliedVersion(client: pg.ClientBase, migrations: readonly Migration[]): Promise<number> {
  const { rows } = await client.query<{ version: number; sha256: string }>(
    "SELECT version, sha256 FROM app.schema_migration ORDER BY version",
  );
  for (const [index, { version, sha256 }] of rows.entries()) {
    if (version !== index + 1) throw new MigrationError("foreign", { version });
    const known = migrations[index];
    // Above what is known here, a newer release has expanded the schema, and this one works on it.
    if (known && known.sha256 !== sha256) throw new MigrationError("changed", { version, name: known.name });
  }
  return rows.length;
}

async function applyWithRetries(client: pg.ClientBase, migration: Migration, options: MigrateOptions): Promise<void> {
  const { log, retryMs = RETRY_MS, lockTimeoutMs = LOCK_TIMEOUT_MS } = options;
  const { version, name } = migration;
  for (const wait of [...retryMs, undefined]) {
    const started = performance.now();
    try {
      await applyOne(client, migration, lockTimeoutMs);
      log("info", "migration-applied", { version, name, durationMs: Math.round(performance.now() - started) });
      return;
    } catch (cause) {
      const code = errorCode(cause);
      if (wait === undefined || !WORTH_A_RETRY.has(code)) {
        throw new MigrationError("failed", { version, name, code, ...placeOf(cause, migration) }, { cause });
      }
      log("warn", "migration-retried", { version, name, code, waitMs: wait });
      await sleep(wait);
    }
  }
}

async function applyOne(client: pg.ClientBase, migration: Migration, lockTimeoutMs: number): Promise<void> {
  const { version, name, sha256, sql } = migration;
  await client.query("BEGIN");
  try {
    await client.query(
      `SET LOCAL lock_timeout = ${lockTimeoutMs}; SET LOCAL statement_timeout = ${STATEMENT_TIMEOUT_MS}`,
    );
    await client.query(sql);
    await client.query("INSERT INTO app.schema_migration (version, name, sha256) VALUES ($1, $2, $3)", [
      version,
      name,
      sha256,
    ]);
    await client.query("COMMIT");
  } catch (cause) {
    await client.query("ROLLBACK").catch(() => {});
    throw cause;
  }
}

/** Line of the statement in the file, and what the server says it is about; never its message, which may hold values. */
function placeOf(cause: unknown, migration: Migration): Record<string, string | number> {
  if (!(cause instanceof pg.DatabaseError)) return {};
  const { position, table, constraint } = cause;
  return {
    ...(position !== undefined && { line: migration.sql.slice(0, Number(position)).split("\n").length }),
    ...(table !== undefined && { table }),
    ...(constraint !== undefined && { constraint }),
  };
}
