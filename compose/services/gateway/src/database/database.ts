/**
 * The gateway's connection to Postgres: a bounded pool in which nothing waits for ever, whose role is looked
 * at on each new connection, and in which a tenant's rows are reached only with that tenant's token.
 */
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { SettingsError } from "@sealift/service-kit/settings.ts";
import pg from "pg";
import type { ApiKeyProof } from "./api-key.ts";
import { type DatabaseSettings, databaseTls } from "./database-settings.ts";
import { Hold, Passwords } from "./reconnect.ts";
import { refuseUnsafeRole } from "./role-guard.ts";

/** Who holds an API key, and what it may do. */
export interface Login {
  readonly tenantId: string;
  readonly tenantName: string;
  readonly principalId: string;
  readonly principalName: string;
  readonly role: string;
  /** What the role may use, by exact name. */
  readonly models: readonly string[];
  readonly keyId: string;
  readonly capabilities: readonly string[];
  /** For app.tenant_id(); never written down anywhere. */
  readonly token: string;
  /** When the token and with it this login ends. */
  readonly expiresAt: Date;
}

export type Query = <Row extends pg.QueryResultRow>(
  sql: string,
  values?: readonly unknown[],
) => Promise<readonly Row[]>;

export interface Database {
  /**
   * Looks at the role once, before the service listens. @throws SettingsError if row-level security would not
   * hold for it. A database that does not answer is no error here: the first connection that comes is asked.
   */
  guard(): Promise<void>;
  /**
   * Whether a query was answered just now and the schema is new enough; at most one is under way, and an
   * answer counts for a second.
   */
  answers(): Promise<boolean>;
  /**
   * Undefined where there is no such key, or it does not count any more. Waits for a database that is started anew;
   * rejects if it cannot tell.
   */
  login(proof: ApiKeyProof): Promise<Login | undefined>;
  /**
   * One transaction that sees and writes the rows of the login's tenant and no other.
   * @throws LoginExpired if the token does not count any more; whatever else fails rejects as pg has it.
   */
  asTenant<Result>(login: Login, work: (query: Query) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

/** The login's token no longer counts: log in again. */
export class LoginExpired extends Error {
  readonly code = "LOGIN_EXPIRED";

  constructor() {
    super("the login is no longer valid");
    this.name = "LoginExpired";
  }
}

export interface DatabaseOptions {
  /** The schema version that the caller works with; ready only when the database has it. */
  readonly schemaVersion?: number;
}

const CONNECTIONS_MAX = 8;
const TIMEOUT_MS = 2_000;
const ANSWER_COUNTS_MS = 1_000;
/** So that a rotated password is taken and the role looked at again. */
const CONNECTION_LIFETIME_S = 300;

interface LoginRow {
  readonly tenant_id: string;
  readonly tenant_name: string;
  readonly principal_id: string;
  readonly principal_name: string;
  readonly role: string;
  readonly models: string[];
  readonly key_id: string;
  readonly capabilities: string[];
  readonly token: string;
  readonly token_expires_at: Date;
}

/** Connects to nothing yet. @throws SettingsError, or what reading throws, if the identity is none */
export async function openDatabase(
  settings: DatabaseSettings,
  log: Log,
  options: DatabaseOptions = {},
): Promise<Database> {
  const { schemaVersion = 1 } = options;
  const passwords = new Passwords(settings.passwordFile);
  const hold = new Hold();
  const pool = new pg.Pool({
    host: settings.host,
    port: settings.port,
    database: settings.name,
    user: settings.user,
    ssl: await databaseTls(settings),
    // Asked for at each connection, so that a rotated password is taken without a restart.
    password: () => passwords.current(),
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
    statement_timeout: TIMEOUT_MS,
    idle_in_transaction_session_timeout: TIMEOUT_MS,
    idleTimeoutMillis: 30_000,
    maxLifetimeSeconds: CONNECTION_LIFETIME_S,
    application_name: "gateway",
    onConnect: refuseUnsafeRole,
  });
  // Without a listener, an idle connection that breaks ends the process.
  pool.on("error", (cause) => log("warn", "database-connection-lost", { code: errorCode(cause) }));

  let checking: Promise<boolean> | undefined;
  let last = { at: Number.NEGATIVE_INFINITY, answered: false };
  const check = async (): Promise<boolean> => {
    let answered = false;
    try {
      const { rows } = await passwords.run(() =>
        pool.query("SELECT coalesce(max(version), 0) AS version FROM app.schema_migration"),
      );
      answered = rows[0]?.version >= schemaVersion;
      if (!answered) log("warn", "database-schema-too-old", { want: schemaVersion });
    } catch (cause) {
      const problems = cause instanceof SettingsError ? { problems: cause.message } : {};
      log("warn", "database-silent", { code: errorCode(cause), ...problems });
    }
    last = { at: performance.now(), answered };
    checking = undefined;
    return answered;
  };

  return {
    async guard() {
      try {
        (await passwords.run(() => pool.connect())).release();
      } catch (cause) {
        if (cause instanceof SettingsError) throw cause;
        log("warn", "database-silent", { code: errorCode(cause) });
      }
    },
    async answers() {
      // Probes come from outside too: they must not become load on the database.
      if (performance.now() - last.at < ANSWER_COUNTS_MS) return last.answered;
      checking ??= check();
      return checking;
    },
    async login({ prefix, presented }) {
      // Named: parsed and planned once for each connection.
      const query = { name: "login", text: "SELECT * FROM app.login($1, $2)", values: [prefix, presented] };
      const { rows } = await hold.run(() => passwords.run(() => pool.query<LoginRow>(query)));
      return rows[0] && loginOf(rows[0]);
    },
    asTenant: async (login, work) =>
      inTransaction(await hold.run(() => passwords.run(() => pool.connect())), login, work),
    close: () => pool.end(),
  };
}

function loginOf(row: LoginRow): Login {
  return {
    tenantId: row.tenant_id,
    tenantName: row.tenant_name,
    principalId: row.principal_id,
    principalName: row.principal_name,
    role: row.role,
    models: row.models,
    keyId: row.key_id,
    capabilities: row.capabilities,
    token: row.token,
    expiresAt: row.token_expires_at,
  };
}

async function inTransaction<Result>(
  client: pg.PoolClient,
  login: Login,
  work: (query: Query) => Promise<Result>,
): Promise<Result> {
  // The pool listens to idle ones only. A connection that breaks in here makes the next query reject; without a
  // listener it would end the process.
  const ignore = (): void => {};
  client.on("error", ignore);
  try {
    await client.query("BEGIN");
    // For this transaction only: the next user of the connection has no token.
    const { rows } = await client.query<{ tenant: string | null }>(
      "WITH given AS MATERIALIZED (SELECT set_config('app.token', $1, true)) SELECT app.tenant_id() AS tenant FROM given",
      [login.token],
    );
    // Without this, a token that Postgres no longer takes would look like a tenant without rows.
    if (rows[0]?.tenant !== login.tenantId) throw new LoginExpired();
    const result = await work(async (sql, values = []) => (await client.query(sql, [...values])).rows);
    await client.query("COMMIT");
    client.release();
    return result;
  } catch (cause) {
    // A connection whose state is not known is not used again.
    const undone = await client.query("ROLLBACK").then(
      () => true,
      () => false,
    );
    client.release(!undone);
    throw cause;
  } finally {
    client.off("error", ignore);
  }
}
