import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { checkEvent } from "../../../../compose/services/audit/src/event.ts";
import { Call } from "../../../../compose/services/gateway/src/call.ts";
import { GATES } from "../../../../compose/services/gateway/src/gates/controls.ts";
import {
  decisionRecord,
  EVENT_TYPES,
  settlementRecord,
  sourceHmac,
} from "../../../../compose/services/gateway/src/records.ts";
import { PII_CLASSES } from "../../../../compose/services/pii/src/classes.ts";
import { type AuditEvent, openAuditClient } from "../../../../compose/services/service-kit/src/audit-client.ts";

/** What the audit service gets of `event`, checked as it would check it. */
async function sent(event: AuditEvent): Promise<string> {
  let body: unknown;
  const peer = {
    post: async (_: string, events: unknown) => {
      [body] = JSON.parse(String(events)) as unknown[];
      return { entries: [{ id: (body as { id: string }).id, index: 0, leafHash: "" }] };
    },
  };
  await openAuditClient({ peer, service: "gateway" }).append(event);
  checkEvent(body, "gateway");
  return (body as { type: string }).type;
}

function call(): Call {
  const made = new Call({
    requestId: randomUUID(),
    operation: "chat",
    source: sourceHmac("192.0.2.1", "key"),
    readBody: async () => Buffer.alloc(0),
  });
  made.findings = Object.fromEntries(PII_CLASSES.map((name) => [name, 1]));
  made.chat = {
    model: "meta/llama-3:8b",
    stream: true,
    wantsUsage: false,
    messages: 3,
    texts: [],
    body: () => Buffer.alloc(0),
  };
  made.login = {
    tenantId: randomUUID(),
    tenantName: "A tenant",
    principalId: randomUUID(),
    principalName: "A person",
    role: "user",
    models: [],
    keyId: randomUUID(),
    capabilities: [],
    token: "secret",
    expiresAt: new Date(),
  };
  return made;
}

test("the audit service takes every record that the gateway makes, with every class of findings", async () => {
  const context = { release: "1.1.0", recordKey: "key" };
  const forModel = Buffer.from("what was said");
  const types = [await sent(decisionRecord(call(), { refusal: undefined, forModel, unrecorded: 7 }, context))];
  for (const gate of GATES) {
    const problem = gate.problems[0];
    assert.ok(problem);
    const refusal = { control: gate.id, gate: gate.name, problem };
    types.push(await sent(decisionRecord(call(), { refusal, forModel, unrecorded: undefined }, context)));
  }
  const settlement = {
    outcome: "client-gone",
    status: 200,
    servedModel: "meta/llama-3:8b",
    inputTokens: 1,
    outputTokens: undefined,
    answerBytes: 10,
    findings: { iban: 1 },
    durationMs: 12,
  } as const;
  types.push(await sent(settlementRecord(call(), settlement)));
  assert.deepEqual(types, EVENT_TYPES);
});
