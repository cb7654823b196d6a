import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { checkEvent } from "../../../../compose/services/audit/src/event.ts";
import { CALLERLESS_TYPES, checkCaller } from "../../../../compose/services/audit/src/event-principal.ts";
import { Call } from "../../../../compose/services/gateway/src/call.ts";
import { GATES } from "../../../../compose/services/gateway/src/gates/controls.ts";
import { IDENTITY } from "../../../../compose/services/gateway/src/gates/identity.ts";
import {
  decisionRecord,
  EVENT_TYPES,
  settlementRecord,
  sourceHmac,
} from "../../../../compose/services/gateway/src/records.ts";
import { PII_CLASSES } from "../../../../compose/services/pii/src/classes.ts";
import { type AuditEvent, openAuditClient } from "../../../../compose/services/service-kit/src/audit-client.ts";
import { type Principal, PrincipalVerifier } from "../../../../compose/services/service-kit/src/principal.ts";
import { PROBLEMS } from "../../../../compose/services/service-kit/src/problem.ts";
import { principalKey, testSigner } from "../../../support/test-principals.ts";

const VERIFIER = new PrincipalVerifier("audit", [principalKey("audit")]);

/** What the audit service gets of `event`, checked as it would check it. */
async function sent(event: AuditEvent, principal: Principal | undefined): Promise<string> {
  let body: Record<string, unknown> = {};
  const peer = {
    post: async (_: string, events: unknown) => {
      [body = {}] = JSON.parse(String(events)) as Record<string, unknown>[];
      return { entries: [{ id: body["id"], index: 0, leafHash: "" }] };
    },
  };
  const client = openAuditClient({ peer, service: "gateway", signer: testSigner("audit") });
  await client.append(event, principal);
  const { principal: token, ...rest } = body;
  checkEvent(rest, "gateway");
  assert.equal(checkCaller(rest, token, "gateway", VERIFIER)?.actor, principal?.actor);
  return String(rest["type"]);
}

const [TENANT, ACTOR] = [randomUUID(), randomUUID()];

function call(): Call {
  const made = new Call({
    requestId: "request-1",
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
    tenantId: TENANT,
    tenantName: "A tenant",
    principalId: ACTOR,
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
  const { principal } = call();
  const allowed = decisionRecord(call(), { refusal: undefined, forModel, unrecorded: 7 }, context);
  const types = [await sent(allowed, principal)];
  for (const gate of GATES) {
    const problem = gate.problems[0];
    assert.ok(problem);
    const refusal = { control: gate.id, gate: gate.name, problem };
    const record = decisionRecord(call(), { refusal, forModel, unrecorded: undefined }, context);
    types.push(await sent(record, principal));
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
  types.push(await sent(settlementRecord(call(), settlement), principal));
  assert.deepEqual(types, EVENT_TYPES);
});

test("a caller who is not known is refused by the gate that asks for one, and that event needs no principal", async () => {
  const stranger = call();
  stranger.login = undefined;
  assert.equal(stranger.principal, undefined);
  const problem = PROBLEMS.notFound;
  const refusal = { control: IDENTITY.id, gate: IDENTITY.name, problem };
  const decision = { refusal, forModel: undefined, unrecorded: undefined };
  const record = decisionRecord(stranger, decision, { release: "1.1.0", recordKey: "key" });
  assert.deepEqual(CALLERLESS_TYPES, [await sent(record, undefined)]);
});
