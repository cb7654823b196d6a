import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { type Agent, request } from "node:https";
import test, { type TestContext } from "node:test";
import { Admission } from "../../../../compose/services/pii/src/admission.ts";
import { NOT_DETECTED, PII_CLASSES } from "../../../../compose/services/pii/src/classes.ts";
import { BODY_MAX_BYTES } from "../../../../compose/services/pii/src/pii.ts";
import { type RunningPii, startPii } from "../../../../compose/services/pii/src/service.ts";
import { readSettings } from "../../../../compose/services/pii/src/settings.ts";
import { createLog } from "../../../../compose/services/service-kit/src/log.ts";
import { PrincipalSigner } from "../../../../compose/services/service-kit/src/principal.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../../support/scratch.ts";
import { testIdentities } from "../../../support/test-identities.ts";
import { PRINCIPAL, principalKey, principalKeyFile, testSigner } from "../../../support/test-principals.ts";

interface Service extends RunningPii {
  readonly lines: readonly string[];
  agent(service: string): Promise<Agent>;
}

async function service(t: TestContext, policy?: unknown): Promise<Service> {
  const directory = await scratch(t);
  const identities = testIdentities(directory);
  const lines: string[] = [];
  const running = await startPii(
    {
      host: "127.0.0.1",
      port: 0,
      adminPort: 0,
      release: "1.2.3",
      drainTimeoutMs: 200,
      identityFile: identities.path("pii"),
      principalKeyFile: principalKeyFile(directory, "pii"),
      ...(policy !== undefined && { policy: JSON.stringify(policy) }),
    },
    createLog("pii", (line) => lines.push(line)),
  );
  const agents: Agent[] = [];
  t.after(async () => {
    for (const agent of agents) agent.destroy();
    await running.stop();
  });
  return {
    ...running,
    lines,
    agent: async (name) => {
      const agent = (await identities.open(name)).agent("pii", { keepAlive: true });
      agents.push(agent);
      return agent;
    },
  };
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  readonly body: Record<string, unknown>;
}

async function read(sent: ReturnType<typeof request>): Promise<Answer> {
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text, body: JSON.parse(text) };
}

function post(port: number, agent: Agent, body: string | Buffer, headers: Record<string, string> = {}) {
  const sent = request({
    host: "127.0.0.1",
    port,
    agent,
    method: "POST",
    path: "/v1/scan",
    headers: { "content-type": "application/json", ...headers },
  });
  sent.end(body);
  return read(sent);
}

const SIGNER = testSigner("pii");

/** With what every question has: a request, and a principal for it and its tenant. */
function question<Asked extends { readonly tenant: string }>(asked: Asked) {
  const principal = SIGNER.sign({ ...PRINCIPAL, tenantName: asked.tenant }, randomUUID());
  return { requestId: PRINCIPAL.requestId, principal, ...asked };
}

function ask(port: number, agent: Agent, channel: string, texts: readonly object[], tenant = "acme") {
  return post(port, agent, JSON.stringify(question({ tenant, channel, texts })));
}

async function admin(port: number, path: string): Promise<Answer> {
  const sent = httpRequest({ host: "127.0.0.1", port, path, agent: false });
  sent.end();
  return read(sent);
}

test("tells places and classes, flags by itself and blocks what is harmful", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const flagged = await ask(port, gateway, "request", [
    { id: "a", text: "to me@example.com" },
    { id: "b", text: "x" },
  ]);
  assert.equal(flagged.status, 200);
  const { policy, ...rest } = flagged.body;
  assert.match(String(policy), /^[0-9a-f]{64}$/);
  assert.deepEqual(rest, {
    decision: "allow",
    texts: [
      {
        id: "a",
        decision: "allow",
        counts: { email: 1 },
        findings: [{ class: "email", start: 3, end: 17, score: 0.97, action: "flag" }],
        consumed: 17,
      },
      { id: "b", decision: "allow", counts: {}, findings: [], consumed: 1 },
    ],
  });
  const denied = await ask(port, gateway, "request", [{ id: "a", text: "card 4111 1111 1111 1111" }]);
  assert.equal(denied.body["decision"], "deny");
  assert.ok(!denied.text.includes("4111"));
  const redacted = await ask(port, gateway, "response", [{ id: "a", text: "card 4111 1111 1111 1111." }]);
  assert.equal(redacted.body["decision"], "redact");
  assert.ok(redacted.text.includes('"text":"card [PAYMENT_CARD]."'));
});

test("answers a list of questions in its order, each decided on by itself", async (t) => {
  const { port, agent } = await service(t);
  const texts = [{ id: "a", text: "card 4111 1111 1111 1111" }];
  const questions = [
    { tenant: "acme", channel: "response", texts },
    { tenant: "acme", channel: "request", texts },
    { tenant: "other", channel: "request", texts: [{ id: "b", text: "nothing" }] },
  ];
  const { status, text } = await post(port, await agent("gateway"), JSON.stringify(questions.map(question)));
  assert.equal(status, 200);
  const answers = JSON.parse(text) as { decision: string; texts: { id: string; text?: string }[] }[];
  assert.deepEqual(
    answers.map(({ decision, texts: [own] }) => [decision, own?.id, own?.text]),
    [
      ["redact", "a", "card [PAYMENT_CARD]"],
      ["deny", "a", undefined],
      ["allow", "b", undefined],
    ],
  );
});

test("a denied request brings back no text at all, also not of its other parts", async (t) => {
  const { port, agent } = await service(t, {
    default: { request: { email: { mode: "redact" }, iban: { mode: "strict" } } },
  });
  const texts = [
    { id: "a", text: "to me@example.com" },
    { id: "b", text: "DE89 3704 0044 0532 0130 00" },
  ];
  const answer = await ask(port, await agent("gateway"), "request", texts);
  assert.equal(answer.body["decision"], "deny");
  assert.ok(!answer.text.includes('"text"'));
});

test("lists a thousand findings and every kind of the others, counts all and redacts all", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const text = `${"a@b.example ".repeat(1200)}${"4111111111111111 ".repeat(3)}`;
  const texts = [
    { id: "a", text },
    { id: "b", text: "4111111111111111 5555555555554444" },
  ];
  interface Listed {
    readonly decision: string;
    readonly counts: object;
    readonly findings: readonly { readonly class: string }[];
    readonly text: string;
  }
  const answer = await ask(port, gateway, "response", texts);
  const [first, second] = answer.body["texts"] as [Listed, Listed];
  assert.equal(first.findings.length, 1001);
  assert.equal(first.findings.at(-1)?.class, "payment-card");
  assert.deepEqual(first.counts, { email: 1200, "payment-card": 3 });
  assert.equal(first.text, `${"a@b.example ".repeat(1200)}${"[PAYMENT_CARD] ".repeat(3)}`);
  assert.equal(second.findings.length, 1);
  assert.deepEqual([second.decision, second.counts], ["redact", { "payment-card": 2 }]);
  assert.equal(second.text, "[PAYMENT_CARD] [PAYMENT_CARD]");
  assert.equal((await ask(port, gateway, "request", texts)).body["decision"], "deny");
});

test("a tenant's policy is its own", async (t) => {
  const { port, agent } = await service(t, {
    tenants: { acme: { request: { email: { mode: "strict" } } } },
  });
  const gateway = await agent("gateway");
  const texts = [{ id: "a", text: "to me@example.com" }];
  assert.equal((await ask(port, gateway, "request", texts)).body["decision"], "deny");
  assert.equal((await ask(port, gateway, "request", texts, "other")).body["decision"], "allow");
  assert.equal((await ask(port, gateway, "response", texts)).body["decision"], "allow");
});

test("a stream in windows comes out as one text with one marker a match", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const token = `ghp_${"a1".repeat(300)}`;
  const text = `Here: 4111 1111 1111 1111, and ${token} and no more.`;
  let [pending, before, running, out] = ["", "", undefined as unknown, ""];
  for (let at = 0; at <= text.length; at += 23) {
    pending += text.slice(at, at + 23);
    const more = at + 23 <= text.length;
    const answer = await ask(port, gateway, "response", [{ id: "0", text: pending, before, running, more }]);
    const [window] = answer.body["texts"] as { text?: string; consumed: number; running?: string }[];
    assert.ok(window);
    out += window.text ?? pending.slice(0, window.consumed);
    before = (before + pending.slice(0, window.consumed)).slice(-1024);
    pending = pending.slice(window.consumed);
    running = window.running;
  }
  assert.equal(pending, "");
  assert.equal(out, "Here: [PAYMENT_CARD], and [SECRET] and no more.");
});

test("only the gateway may ask, and nobody without a certificate", async (t) => {
  const { port, agent } = await service(t);
  for (const name of ["audit", "model", "pii"]) {
    await assert.rejects(ask(port, await agent(name), "request", []), name);
  }
  const bare = request({ host: "127.0.0.1", port, path: "/v1/classes", rejectUnauthorized: false, agent: false });
  bare.end();
  await assert.rejects(once(bare, "response"));
  const plain = httpRequest({ host: "127.0.0.1", port, path: "/v1/classes", agent: false });
  plain.end();
  await assert.rejects(once(plain, "response"));
});

test("answers nobody whose caller is not signed for, says why, and writes down only that", async (t) => {
  const { port, agent, lines } = await service(t);
  const gateway = await agent("gateway");
  const body = { tenant: "acme", channel: "request", texts: [{ id: "a", text: "canary-text" }] };
  const good = question(body);
  const signed = (audience: string, now: () => number = Date.now) =>
    testSigner(audience, now).sign(PRINCIPAL, randomUUID());
  const forPii = new PrincipalSigner("audit", principalKey("pii")).sign(PRINCIPAL, randomUUID());
  const refused: readonly (readonly [string, number, unknown])[] = [
    ["principal-missing", 403, { ...question(body), principal: undefined }],
    ["principal-malformed", 403, { ...question(body), principal: "canary-token" }],
    ["principal-malformed", 403, { ...question(body), principal: null }],
    ["principal-forged", 403, { ...question(body), principal: signed("audit") }],
    ["principal-audience", 403, { ...question(body), principal: forPii }],
    ["principal-expired", 401, { ...question(body), principal: signed("pii", () => Date.now() - 21_000) }],
    ["principal-expired", 401, { ...question(body), principal: signed("pii", () => Date.now() + 6_000) }],
    ["principal-request", 403, { ...question(body), requestId: "another" }],
    ["principal-tenant", 403, { ...question(body), tenant: "other" }],
    // One in a list is enough, and the others are not used up by it.
    ["principal-tenant", 403, [good, { ...question(body), tenant: "other" }]],
  ];
  for (const [code, status, asked] of refused) {
    const answer = await post(port, gateway, JSON.stringify(asked));
    assert.deepEqual([answer.status, (answer.body["error"] as { code: string }).code], [status, code]);
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.ok(!answer.text.includes("canary"), answer.text);
  }
  assert.equal((await post(port, gateway, JSON.stringify(good))).status, 200);
  const twice = question(body);
  for (const asked of [good, [twice, twice]]) {
    const replayed = await post(port, gateway, JSON.stringify(asked));
    assert.deepEqual([replayed.status, (replayed.body["error"] as { code: string }).code], [403, "principal-replayed"]);
  }
  const codes = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === "principal-refused");
  assert.deepEqual(
    codes.map(({ code }) => code),
    [...refused.map(([code]) => code), "principal-replayed", "principal-replayed"],
  );
  assert.ok(!lines.join("").includes("canary"));
});

test("refuses a body that is not a scan request, and says where, not what", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const whole = { requestId: "r", tenant: "t", channel: "request", texts: [{ id: "a", text: "x" }] };
  const text = (changes: object) => ({ ...whole, texts: [{ id: "a", text: "x", ...changes }] });
  const wrong: [unknown, string][] = [
    [[], "body"],
    [{ ...whole, extra: "secret-word" }, "body"],
    [{ ...whole, requestId: "secret-word!" }, "requestId"],
    [{ ...whole, tenant: "secret-word!" }, "tenant"],
    [{ ...whole, channel: "secret-word" }, "channel"],
    [{ ...whole, texts: "secret-word" }, "texts"],
    [{ ...whole, texts: Array.from({ length: 1001 }, () => whole.texts[0]) }, "texts"],
    [text({ id: "" }), "texts[0].id"],
    [text({ text: 1 }), "texts[0].text"],
    [text({ before: "x".repeat(1025) }), "texts[0].before"],
    [text({ running: "secret-word" }), "texts[0].running"],
    [text({ more: "secret-word" }), "texts[0].more"],
    [text({ "secret-word": 1 }), "texts[0]"],
    [[whole, "secret-word"], "[1]"],
    [[whole, { ...whole, channel: "secret-word" }], "[1].channel"],
    [[text({ id: "" })], "[0].texts[0].id"],
    [Array.from({ length: 257 }, () => whole), "body"],
    [Array.from({ length: 2 }, () => ({ ...whole, texts: Array(501).fill(whole.texts[0]) })), "body"],
  ];
  for (const [body, param] of wrong) {
    const answer = await post(port, gateway, JSON.stringify(body));
    assert.equal(answer.status, 400, param);
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.match(answer.text, /"code":"scan-request"/);
    assert.equal((answer.body["error"] as { param: string }).param, param);
    assert.ok(!answer.text.includes("secret-word"), answer.text);
  }
  for (const bytes of [Buffer.from("{"), Buffer.from([0x22, 0xff, 0x22])]) {
    assert.equal((await post(port, gateway, bytes)).status, 400);
  }
  assert.equal((await post(port, gateway, "{}", { "content-type": "text/plain" })).status, 415);
});

test("refuses a body over 2 MiB, declared or not", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const large = Buffer.alloc(BODY_MAX_BYTES + 1, "x");
  assert.equal((await post(port, gateway, large)).status, 413);
  const answer = await post(port, gateway, large, { "transfer-encoding": "chunked" });
  assert.equal(answer.status, 413);
  assert.match(answer.text, /"code":"too-large"/);
});

test("what is over the room for work under way is told to come back", async (t) => {
  const { port, agent } = await service(t);
  const gateway = await agent("gateway");
  const held = Array.from({ length: 4 }, () => {
    const sent = request({
      host: "127.0.0.1",
      port,
      agent: gateway,
      method: "POST",
      path: "/v1/scan",
      headers: { "content-type": "application/json", "content-length": String(BODY_MAX_BYTES) },
    });
    sent.on("error", () => {});
    sent.write("{");
    return sent;
  });
  let answer = await ask(port, gateway, "request", []);
  for (let tries = 0; answer.status === 200 && tries < 100; tries++) answer = await ask(port, gateway, "request", []);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["retry-after"], "1");
  for (const sent of held) sent.destroy();
  for (let tries = 0; answer.status !== 200 && tries < 100; tries++) answer = await ask(port, gateway, "request", []);
  assert.equal(answer.status, 200, "room again");
});

test("room is given back once, for whole bodies", () => {
  const admission = new Admission(10);
  const leave = admission.enter(6);
  assert.ok(leave);
  assert.equal(admission.enter(5), undefined);
  const second = admission.enter(4);
  leave();
  assert.ok(second && admission.enter(6));
});

test("health is answered while a long text is scanned", async (t) => {
  const { port, adminPort, agent } = await service(t);
  const text = "1 2 33 444 a.b@c ".repeat(60_000);
  let done = false;
  const scan = ask(port, await agent("gateway"), "request", [{ id: "a", text }]).finally(() => {
    done = true;
  });
  let during = 0;
  while (!done) {
    assert.equal((await admin(adminPort, "/healthz")).status, 200);
    if (!done) during++;
  }
  assert.equal((await scan).status, 200);
  assert.ok(during >= 3, `${during} answers`);
});

test("is ready and well while it finds what it must, and names its release", async (t) => {
  const { adminPort } = await service(t);
  assert.deepEqual((await admin(adminPort, "/healthz")).body, { status: "ok", release: "1.2.3" });
  assert.deepEqual((await admin(adminPort, "/readyz")).body, { status: "ready", release: "1.2.3" });
  assert.deepEqual((await admin(adminPort, "/canary")).body, { status: "ok", release: "1.2.3" });
  assert.equal((await admin(adminPort, "/v1/scan")).status, 404, "the port of the appliance scans nothing");
});

test("says what it looks for and what it does not", async (t) => {
  const { port, agent } = await service(t);
  const sent = request({ host: "127.0.0.1", port, path: "/v1/classes", agent: await agent("gateway") });
  sent.end();
  assert.deepEqual((await read(sent)).body, { classes: [...PII_CLASSES], notDetected: NOT_DETECTED });
});

test("writes nothing of a text into its log", async (t) => {
  const { port, agent, lines } = await service(t);
  const gateway = await agent("gateway");
  await ask(port, gateway, "request", [{ id: "canary-id", text: "canary-text me@canary-text.example" }]);
  await post(port, gateway, '{"canary-text');
  await post(port, gateway, '{"tenant":"canary-text!"}');
  assert.ok(lines.length > 0);
  assert.ok(!lines.join("").includes("canary"), lines.join(""));
});

test("does not start with settings, a policy or an identity that is wrong", async (t) => {
  assert.throws(() => readSettings({}), /RELEASE is not set; IDENTITY_FILE is not set; PRINCIPAL_KEY_FILE is not set/);
  assert.deepEqual(readSettings({ RELEASE: "1.0.0", IDENTITY_FILE: "/i", PRINCIPAL_KEY_FILE: "/p", POLICY: "{}" }), {
    host: "0.0.0.0",
    port: 8443,
    adminPort: 8081,
    release: "1.0.0",
    drainTimeoutMs: 60_000,
    identityFile: "/i",
    principalKeyFile: "/p",
    policy: "{}",
  });
  await assert.rejects(service(t, { defualt: {} }), (cause) => cause instanceof SettingsError);
  const directory = await scratch(t);
  const keyFile = principalKeyFile(directory, "pii");
  const common = { host: "127.0.0.1", port: 0, adminPort: 0, release: "1", drainTimeoutMs: 0 };
  const settings = { ...common, principalKeyFile: keyFile };
  const log = createLog("pii", () => {});
  const identityFile = testIdentities(directory).path("pii");
  const broken = startPii({ ...settings, identityFile, policy: "{" }, log);
  await assert.rejects(broken, /policy: not JSON/);
  const foreign = testIdentities(await scratch(t)).path("gateway");
  await assert.rejects(startPii({ ...settings, identityFile: foreign }, log));
  await writeFile(keyFile, "short");
  await assert.rejects(startPii({ ...settings, identityFile }, log), SettingsError);
});
