import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AuditLog } from "../../../../compose/services/audit/src/audit-log.ts";
import { type RunningAudit, startAudit } from "../../../../compose/services/audit/src/service.ts";
import { apiRoutes } from "../../../../compose/services/gateway/src/api.ts";
import { createCanary } from "../../../../compose/services/gateway/src/canary.ts";
import { makeApiKey, proveApiKey } from "../../../../compose/services/gateway/src/database/api-key.ts";
import type { Database } from "../../../../compose/services/gateway/src/database/database.ts";
import { type Api, openApi } from "../../../../compose/services/gateway/src/open-api.ts";
import { type RunningPii, startPii } from "../../../../compose/services/pii/src/service.ts";
import { createLog } from "../../../../compose/services/service-kit/src/log.ts";
import { startServer } from "../../../../compose/services/service-kit/src/server.ts";
import { answerHello, HELLO, LOGIN } from "../../../support/gateway-api.ts";
import { scratch } from "../../../support/scratch.ts";
import { ask } from "../../../support/service-client.ts";
import { testIdentities } from "../../../support/test-identities.ts";
import { principalKeyFile } from "../../../support/test-principals.ts";

const PEPPER = "pepper";
const LIMITS = {
  bodyMaxBytes: 100_000,
  messagesMax: 8,
  tokensMax: 64,
  requestsPerMinute: 600,
  requestsAtOnce: 8,
};

interface Ground {
  readonly audit: RunningAudit;
  readonly pii: RunningPii;
  readonly api: Api;
  readonly port: number;
  readonly key: string;
  /** What the log holds, once it is closed. */
  entries(): Promise<string[]>;
}

/** The gateway's API with the real audit and pii services, a key that a database would know, and a toy model. */
async function ground(t: TestContext): Promise<Ground> {
  const root = await scratch(t);
  const identities = testIdentities(root);
  const log = createLog("test", () => {});
  const directory = join(root, "log");
  await mkdir(directory);
  const checkpointKeyFile = join(root, "checkpoint-key.pem");
  const { privateKey } = generateKeyPairSync("ed25519");
  await writeFile(checkpointKeyFile, privateKey.export({ type: "pkcs8", format: "pem" }));
  await writeFile(join(root, "pepper"), `${PEPPER}\n`);
  await writeFile(join(root, "record-key"), `${"0".repeat(64)}\n`);
  const common = { host: "127.0.0.1", port: 0, adminPort: 0, drainTimeoutMs: 1_000 };
  const audit = await startAudit(
    {
      ...common,
      identityFile: identities.path("audit"),
      directory,
      checkpointKeyFile,
      principalKeyFile: principalKeyFile(root, "audit"),
      origin: "site.example/audit",
      checkpointEntries: 4096,
      checkpointMs: 60_000,
    },
    log,
  );
  const keyFile = principalKeyFile(root, "pii");
  const piiSettings = { ...common, release: "1.2.3", identityFile: identities.path("pii"), principalKeyFile: keyFile };
  const pii = await startPii(piiSettings, log);
  while (audit.port === undefined) await sleep(5);
  const model = createServer((request, response) => void answerHello(request, response));
  model.listen(0, "127.0.0.1");
  await once(model, "listening");
  const made = makeApiKey(PEPPER);
  const known = proveApiKey(made.key, PEPPER);
  const database: Database = {
    guard: async () => {},
    answers: async () => true,
    login: async ({ presented }) => (known?.presented.equals(presented) ? LOGIN : undefined),
    asTenant: () => Promise.reject(new Error("not asked")),
    close: async () => {},
  };
  const settings = {
    upstream: new URL(`http://127.0.0.1:${(model.address() as AddressInfo).port}`),
    audit: new URL(`https://127.0.0.1:${audit.port}`),
    pii: new URL(`https://127.0.0.1:${pii.port}`),
    identityFile: identities.path("gateway"),
    pepperFile: join(root, "pepper"),
    recordKeyFile: join(root, "record-key"),
    auditPrincipalKeyFile: principalKeyFile(root, "audit"),
    piiPrincipalKeyFile: keyFile,
    canaryModel: "small",
    limits: LIMITS,
  };
  const api = await openApi(settings, "1.2.3", database, log);
  const server = await startServer({
    host: "127.0.0.1",
    port: 0,
    log,
    drainTimeoutMs: 20,
    routes: apiRoutes(api.means),
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= (async () => {
      await server.stop();
      await api.close();
      await Promise.all([pii.stop(), audit.stop()]);
      model.closeAllConnections();
      model.close();
    })();
    return closed;
  };
  t.after(close);
  return {
    audit,
    pii,
    api,
    port: server.port,
    key: made.key,
    async entries() {
      await close();
      const opened = await AuditLog.open({ directory, signer: { origin: "site.example/audit", privateKey }, log });
      const entries: string[] = [];
      for await (const { entry } of opened.lastEntries(1_000)) entries.push(entry.toString("utf8"));
      await opened.close();
      return entries;
    },
  };
}

test("with the real audit and pii services: answers, and two durable records without content", async (t) => {
  const site = await ground(t);
  const headers = { authorization: `Bearer ${site.key}` };
  const body = JSON.stringify({ ...HELLO, messages: [{ role: "user", content: "write to jane.roe@corp.example" }] });
  const answer = await ask(site.port, "/v1/chat/completions", { body, headers });
  assert.equal(answer.status, 200, answer.body);
  const streamed = await ask(site.port, "/v1/chat/completions", {
    body: JSON.stringify({ ...HELLO, stream: true }),
    headers,
  });
  assert.match(streamed.body, /there.*\[DONE\]/s);
  const entries = await site.entries();
  const events = entries.map((entry) => JSON.parse(entry));
  assert.deepEqual(events.map(({ type }) => type).sort(), [
    "request.allowed",
    "request.allowed",
    "request.settled",
    "request.settled",
  ]);
  assert.deepEqual(events[0].findings, { email: 1 });
  assert.ok(!/jane|corp\.example|Hello|Good morning/.test(entries.join("")));
  assert.ok(!/principal/.test(entries.join("")), "a principal is for the way, not for the log");
});

test("with the real pii service: a card number does not reach the model", async (t) => {
  const site = await ground(t);
  const headers = { authorization: `Bearer ${site.key}` };
  const body = JSON.stringify({ ...HELLO, messages: [{ role: "user", content: "my card is 4111 1111 1111 1111" }] });
  const answer = await ask(site.port, "/v1/chat/completions", { body, headers });
  assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [422, "personal-data"]);
  const [entry] = await site.entries();
  assert.match(entry ?? "", /"type":"request\.refused\.personal-data"/);
});

test("the canary goes all the way and is recorded; it fails when one service is missing", async (t) => {
  const site = await ground(t);
  assert.equal(await createCanary(site.api.means, "small")(), true);
  await site.pii.stop();
  assert.equal(await createCanary(site.api.means, "small")(), false);
  const entries = await site.entries();
  assert.match(entries.join("\n"), /"operation":"chat".*"requestId":"canary-/);
});
