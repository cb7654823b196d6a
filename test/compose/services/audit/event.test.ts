import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { canonicalJson } from "../../../../bundles/model/canonical-json.ts";
import { AppendRefused } from "../../../../compose/services/audit/src/audit-log.ts";
import { checkEvent, EventRefused } from "../../../../compose/services/audit/src/event.ts";
import { EventIdTaken, EventLog } from "../../../../compose/services/audit/src/event-log.ts";
import { scratch } from "../../../support/scratch.ts";
import { breakableDisk, openLog } from "./audit-directory.ts";

const required = () => ({
  v: 1,
  id: randomUUID(),
  ts: "2026-11-21T07:00:00.000Z",
  service: "gateway",
  type: "request.refused.personal-data",
  requestId: "request-1",
});

const everything = () => ({
  ...required(),
  tenant: randomUUID(),
  actor: "principal:17",
  key: "k-1",
  role: "user",
  source: "0".repeat(32),
  operation: "chat",
  release: "1.1.0-rc.1+7",
  control: "GW-08",
  policy: "strict@3",
  decision: "deny",
  problem: "personal-data",
  reason: "iban",
  outcome: "refused",
  model: "meta/llama-3:8b",
  servedModel: "llama-3",
  stream: true,
  status: 422,
  messages: 3,
  bytes: 9_007_199_254_740_991,
  answerBytes: 0,
  inputTokens: 1,
  outputTokens: 2,
  durationMs: 3,
  promptHmac: "ab".repeat(32),
  answerHmac: "cd".repeat(32),
  findings: { iban: 2, "us-ssn": 1 },
  counts: { tools: 0 },
});

test("an event's bytes are its RFC 8785 form", () => {
  const event = everything();
  const { id, entry } = checkEvent(event, "gateway");
  assert.equal(id, event.id);
  assert.deepEqual(entry, canonicalJson(event));
  // Members in another order, as another writer may have them.
  const turned = Object.fromEntries(Object.entries(event).reverse());
  assert.deepEqual(checkEvent(turned, "gateway").entry, entry);
});

test("what is not metadata of the schema is refused, and the message has no value in it", () => {
  const bad: readonly unknown[] = [
    null,
    [],
    "text",
    ...["v", "id", "ts", "service", "type", "requestId"].map((name) => ({ ...required(), [name]: undefined })),
    { ...required(), id: "1" },
    { ...required(), id: randomUUID().toUpperCase() },
    { ...required(), ts: "2026-11-21T07:00:00Z" },
    { ...required(), ts: "2026-13-21T07:00:00.000Z" },
    { ...required(), ts: "2026-02-30T07:00:00.000Z" },
    { ...required(), type: "Request" },
    { ...required(), type: "a.b.c.d.e" },
    { ...required(), requestId: "SECRET WORDS" },
    { ...required(), prompt: "SECRET WORDS" },
    { ...required(), toString: 1 },
    JSON.parse(`{${JSON.stringify(required()).slice(1, -1)},"__proto__":{"a":1}}`),
    { ...required(), actor: "SECRET WORDS" },
    { ...required(), actor: "x".repeat(129) },
    { ...required(), actor: 7 },
    { ...required(), status: -1 },
    { ...required(), status: 1.5 },
    { ...required(), status: "200" },
    { ...required(), stream: 1 },
    { ...required(), promptHmac: "SECRET" },
    { ...required(), findings: { iban: "SECRET" } },
    { ...required(), findings: { "SECRET WORDS": 1 } },
    { ...required(), findings: ["SECRET"] },
    { ...required(), findings: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`n${i}`, i])) },
    { ...required(), service: "pii" },
  ];
  for (const event of bad) {
    assert.throws(
      () => checkEvent(event, "gateway"),
      (cause) => cause instanceof EventRefused && !cause.isVersion && !cause.message.includes("SECRET"),
      JSON.stringify(event),
    );
  }
});

test("the next version is taken with members that this service does not know, but no text", () => {
  const next = { ...everything(), v: 2, agent: "planner", depth: 3, dry: false, tools: { search: 1 } };
  assert.deepEqual(checkEvent(next, "gateway").entry, canonicalJson(next));
  for (const event of [
    { ...next, agent: "what was said" },
    { ...next, depth: null },
    { ...next, tools: { search: "what was said" } },
    { ...next, "not a name": 1 },
    { ...next, actor: 1 },
    { ...next, ...Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`member${i}`, i])) },
  ]) {
    assert.throws(
      () => checkEvent(event, "gateway"),
      (cause) => cause instanceof EventRefused && !cause.isVersion,
    );
  }
  for (const v of [0, 3]) {
    assert.throws(
      () => checkEvent({ ...required(), v }, "gateway"),
      (cause) => cause instanceof EventRefused && cause.isVersion,
    );
  }
});

const checked = (event: unknown = everything()) => checkEvent(event, "gateway");

test("an event that is sent again has the place that it has, at once, later and after a start", async (t) => {
  const directory = await scratch(t);
  const log = await openLog(directory);
  const events = await EventLog.open(log);
  const [one, two] = [checked(), checked()];
  const both = await Promise.all([events.append([one, one]), events.append([one, two])]);
  assert.deepEqual(
    both.map((appended) => appended.map(({ index }) => index)),
    [
      [0, 0],
      [0, 1],
    ],
  );
  assert.deepEqual((await events.append([two]))[0]?.index, 1);
  await log.close();
  const again = await openLog(directory);
  assert.equal(again.size, 2);
  const after = await EventLog.open(again);
  assert.deepEqual(await after.append([two]), await events.append([two]));
  await again.close();
});

test("another event with the id of one that is there is refused", async (t) => {
  const log = await openLog(await scratch(t));
  const events = await EventLog.open(log);
  const event = everything();
  await events.append([checked(event)]);
  await assert.rejects(events.append([checked({ ...event, status: 200 })]), EventIdTaken);
  await assert.rejects(
    events.append([
      checked(required()),
      ...[1, 2].map((status) => checked({ ...event, id: event.id.replace(/^./, "0"), status })),
    ]),
    EventIdTaken,
  );
  await log.close();
});

test("only so many ids are known", async (t) => {
  const log = await openLog(await scratch(t));
  const events = await EventLog.open(log, 2);
  const all = [checked(), checked(), checked()];
  for (const event of all) await events.append([event]);
  assert.equal((await events.append([all[2] as (typeof all)[0]]))[0]?.index, 2);
  assert.equal((await events.append([all[0] as (typeof all)[0]]))[0]?.index, 3, "forgotten, hence appended anew");
  await log.close();
});

test("an event that was refused can be sent again", async (t) => {
  const directory = await scratch(t);
  const disk = breakableDisk();
  const log = await openLog(directory, { disk });
  const events = await EventLog.open(log);
  const event = checked();
  while (disk.calls < 1) await events.append([checked()]);
  disk.failing = "EIO";
  await assert.rejects(events.append([event]), AppendRefused);
  disk.failing = undefined;
  await assert.rejects(events.append([event]), AppendRefused);
  await log.close();
  const again = await openLog(directory);
  assert.equal((await (await EventLog.open(again)).append([event]))[0]?.index, again.size - 1);
  await again.close();
});
