import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Database,
  type Login,
  LoginExpired,
  type Query,
} from "../../../../../compose/services/gateway/src/database/database.ts";
import { recordUsage } from "../../../../../compose/services/gateway/src/database/usage.ts";

type AsTenant = Pick<Database, "asTenant">;

const login = (keyId: string, expiresAt = Date.now() + 900_000): Login => ({
  ...{ tenantId: "t", tenantName: "t", principalId: "p", principalName: "p", role: "r", models: [] },
  ...{ keyId, capabilities: [], token: `token of ${keyId}`, expiresAt: new Date(expiresAt) },
});

/** What was written, as `key model requests input output`; `fault` throws in place of a write. */
function writing(fault: () => Error | undefined = () => undefined): { written: string[]; database: AsTenant } {
  const written: string[] = [];
  const query: Query = async (_, values = []) => {
    const [, , key, model, requests, input, output] = values;
    written.push(`${key} ${model} ${requests} ${input} ${output}`);
    return [];
  };
  const asTenant: Database["asTenant"] = async (_, work) => {
    const error = fault();
    if (error) throw error;
    return work(query);
  };
  return { written, database: { asTenant } };
}

function logLines(): { lines: string[]; log: (level: string, event: string, fields?: object) => void } {
  const lines: string[] = [];
  return { lines, log: (_, event, fields = {}) => void lines.push(`${event} ${JSON.stringify(fields)}`) };
}

test("sums by key, model and day, and writes once for many requests", async () => {
  const { written, database } = writing();
  const { lines, log } = logLines();
  let now = new Date("2026-03-31T23:59:59Z");
  const recorder = recordUsage(database, { log, flushMs: 60_000, now: () => now });
  for (let count = 0; count < 100; count += 1) recorder.add(login("a"), "m", { inputTokens: 2, outputTokens: 1 });
  recorder.add(login("b"), "m", { inputTokens: 1, outputTokens: 0 });
  now = new Date("2026-04-01T00:00:00Z");
  recorder.add(login("a"), "m", { inputTokens: 5, outputTokens: 5 });
  await recorder.stop();
  assert.deepEqual(written, ["a m 100 200 100", "b m 1 1 0", "a m 1 5 5"]);
  assert.deepEqual(lines, []);
});

test("while the database is away sums wait, and are written when it is back", async () => {
  let away = true;
  const { written, database } = writing(() => (away ? new Error("away") : undefined));
  const { lines, log } = logLines();
  const recorder = recordUsage(database, { log, flushMs: 5 });
  recorder.add(login("a"), "m", { inputTokens: 1, outputTokens: 1 });
  recorder.add(login("b"), "m", { inputTokens: 1, outputTokens: 1 });
  while (lines.length < 2) await sleep(2);
  recorder.add(login("a"), "m", { inputTokens: 1, outputTokens: 1 });
  away = false;
  while (written.length < 2) await sleep(2);
  await recorder.stop();
  assert.deepEqual(written.sort(), ["a m 2 2 2", "b m 1 1 1"]);
  assert.ok(lines.every((line) => line.startsWith("usage-not-written")));
});

test("what cannot be written any more is told by number, never dropped in silence", async () => {
  const { log, lines } = logLines();
  const expired = writing(() => new LoginExpired());
  const recorder = recordUsage(expired.database, { log, flushMs: 60_000 });
  for (let count = 0; count < 3; count += 1) recorder.add(login("a"), "m", { inputTokens: 1, outputTokens: 1 });
  await recorder.stop();
  assert.deepEqual(lines, ['usage-not-written {"code":"LOGIN_EXPIRED"}', 'usage-lost {"requests":3}']);
  lines.length = 0;
  const away = writing(() => new Error("away"));
  const stopped = recordUsage(away.database, { log, flushMs: 60_000 });
  stopped.add(login("a"), "m", { inputTokens: 1, outputTokens: 1 });
  await stopped.stop();
  assert.deepEqual(lines, ['usage-not-written {"code":"Error"}', 'usage-lost {"requests":1}']);
});
