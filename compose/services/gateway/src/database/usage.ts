/**
 * What keys use of models, summed by day. Sums are kept in memory for a second and then written, so that a
 * request does not wait for them: a process that is killed loses at most that second. The audit log is the
 * record that loses nothing.
 */
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { type Database, type Login, LoginExpired } from "./database.ts";

/** The schema that has the table. */
export const USAGE_SCHEMA_VERSION = 2;

export interface UsedTokens {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export interface UsageLine extends UsedTokens {
  /** UTC, YYYY-MM-DD. */
  readonly day: string;
  readonly keyId: string;
  readonly model: string;
  readonly requests: number;
}

export interface UsageRecorder {
  /** One request more. Never fails and never waits. */
  add(login: Login, model: string, tokens: UsedTokens): void;
  /** Writes what is left. */
  stop(): Promise<void>;
}

export interface UsageRecorderOptions {
  readonly log: Log;
  readonly flushMs?: number;
  readonly now?: () => Date;
}

const FLUSH_MS = 1_000;
/** Lines that wait, while the database is away; more are dropped, and the log says how many requests. */
const WAITING_MAX = 10_000;
const DAYS_MAX = 400;

interface Waiting {
  login: Login;
  readonly line: { -readonly [Member in keyof UsageLine]: UsageLine[Member] };
}

export function recordUsage(database: Pick<Database, "asTenant">, options: UsageRecorderOptions): UsageRecorder {
  const { log, flushMs = FLUSH_MS, now = () => new Date() } = options;
  let waiting = new Map<string, Waiting>();
  let flushing: Promise<void> | undefined;
  let dropped = 0;

  const add = (login: Login, line: UsageLine): void => {
    const id = `${line.day} ${login.keyId} ${line.model}`;
    const known = waiting.get(id);
    if (known) {
      // The newest login: its token is good for longest.
      if (login.expiresAt > known.login.expiresAt) known.login = login;
      known.line.requests += line.requests;
      known.line.inputTokens += line.inputTokens;
      known.line.outputTokens += line.outputTokens;
    } else if (waiting.size < WAITING_MAX) {
      waiting.set(id, { login, line: { ...line } });
    } else {
      dropped += line.requests;
    }
  };

  const flush = async (): Promise<void> => {
    const batch = [...waiting.values()];
    waiting = new Map();
    for (const [index, { login, line }] of batch.entries()) {
      try {
        await database.asTenant(login, (query) => query(UPSERT, upsertValues(login, line)));
      } catch (cause) {
        log("warn", "usage-not-written", { code: errorCode(cause) });
        if (cause instanceof LoginExpired) {
          dropped += line.requests;
          continue;
        }
        // The next lines would wait for the same database: all are tried again with the next batch. If it was
        // only the answer that got lost, this line counts twice.
        for (const { login: holder, line: left } of batch.slice(index)) add(holder, left);
        break;
      }
    }
    if (dropped > 0) log("error", "usage-lost", { requests: dropped });
    dropped = 0;
  };
  const timer = setInterval(() => {
    if (waiting.size === 0) return;
    flushing ??= flush().finally(() => {
      flushing = undefined;
    });
  }, flushMs);
  timer.unref();

  return {
    add: (login, model, tokens) => {
      const day = now().toISOString().slice(0, 10);
      add(login, { day, keyId: login.keyId, model, requests: 1, ...tokens });
    },
    async stop() {
      clearInterval(timer);
      await flushing;
      await flush();
      for (const { line } of waiting.values()) dropped += line.requests;
      if (dropped > 0) log("error", "usage-lost", { requests: dropped });
    },
  };
}

const UPSERT = `
  INSERT INTO app.usage AS u (tenant_id, day, key_id, model, requests, input_tokens, output_tokens)
  VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT (tenant_id, day, key_id, model) DO UPDATE SET
    requests = u.requests + excluded.requests,
    input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens`;

function upsertValues(login: Login, line: UsageLine): unknown[] {
  return [login.tenantId, line.day, line.keyId, line.model, line.requests, line.inputTokens, line.outputTokens];
}

/** The tenant's sums of the last `days` days, newest first. Numbers are exact up to 2^53. */
export async function readUsage(
  database: Pick<Database, "asTenant">,
  login: Login,
  days: number,
): Promise<readonly UsageLine[]> {
  const rows = await database.asTenant(login, (query) =>
    query<Record<"day" | "key_id" | "model" | "requests" | "input_tokens" | "output_tokens", string>>(
      // No tenant in it: Postgres leaves out what is not this tenant's.
      `SELECT day::text, key_id, model, requests, input_tokens, output_tokens FROM app.usage
        WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::int ORDER BY day DESC, key_id, model`,
      [Math.min(days, DAYS_MAX)],
    ),
  );
  return rows.map((row) => ({
    day: row.day,
    keyId: row.key_id,
    model: row.model,
    requests: Number(row.requests),
    inputTokens: Number(row.input_tokens),
    outputTokens: Number(row.output_tokens),
  }));
}
