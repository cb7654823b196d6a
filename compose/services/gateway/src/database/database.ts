/** The gateway's connection to Postgres: a bounded pool in which nothing waits for ever. */
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { readSecret } from "@sealift/service-kit/settings.ts";
import pg from "pg";
import type { DatabaseSettings } from "./database-settings.ts";

export interface Database {
  /** Whether a query was answered just now; at most one is under way, and an answer counts for a second. */
  answers(): Promise<boolean>;
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 4;
const TIMEOUT_MS = 2_000;
const ANSWER_COUNTS_MS = 1_000;

export function openDatabase(settings: DatabaseSettings, log: Log): Database {
  const pool = new pg.Pool({
    host: settings.host,
    port: settings.port,
    database: settings.name,
    user: settings.user,
    // Asked for at each connection, so that a rotated password is taken without a restart.
    password: () => readSecret(settings.passwordFile),
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
    statement_timeout: TIMEOUT_MS,
    idleTimeoutMillis: 30_000,
    application_name: "gateway",
  });
  // Without a listener, an idle connection that breaks ends the process.
  pool.on("error", (cause) => log("warn", "database-connection-lost", { code: errorCode(cause) }));
  let checking: Promise<boolean> | undefined;
  let last = { at: Number.NEGATIVE_INFINITY, answered: false };
  const check = async (): Promise<boolean> => {
    try {
      await pool.query("SELECT 1");
      last = { at: performance.now(), answered: true };
    } catch (cause) {
      log("warn", "database-silent", { code: errorCode(cause) });
      last = { at: performance.now(), answered: false };
    }
    checking = undefined;
    return last.answered;
  };
  return {
    async answers() {
      // Probes come from outside too: they must not become load on the database.
      if (performance.now() - last.at < ANSWER_COUNTS_MS) return last.answered;
      checking ??= check();
      return checking;
    },
    close: () => pool.end(),
  };
}
