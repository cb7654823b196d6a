import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Login } from "../../../../compose/services/gateway/src/database/database.ts";
import { Settlements } from "../../../../compose/services/gateway/src/settlements.ts";
import type { AuditEvent } from "../../../../compose/services/service-kit/src/audit-client.ts";
import { PeerError } from "../../../../compose/services/service-kit/src/peer-client.ts";
import {
  answerHello,
  chunk,
  type GatewayApi,
  gatewayApi,
  HELLO,
  LOGIN,
  passAll,
  sendJson,
  WITH_KEY,
} from "../../../support/gateway-api.ts";
import { type Answer, ask, textOf } from "../../../support/service-client.ts";

const STREAMED = JSON.stringify({ ...HELLO, stream: true });

function chat(port: number, body = JSON.stringify(HELLO)): Promise<Answer> {
  return ask(port, "/v1/chat/completions", { body, headers: WITH_KEY });
}

async function openStream(port: number): Promise<IncomingMessage> {
  const headers = { ...WITH_KEY, "content-length": Buffer.byteLength(STREAMED) };
  const sent = request({
    host: "127.0.0.1",
    port,
    path: "/v1/chat/completions",
    method: "POST",
    headers,
    agent: false,
  });
  sent.on("error", () => {});
  sent.end(STREAMED);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return response;
}

async function settled({ records }: GatewayApi): Promise<AuditEvent> {
  for (let round = 0; round < 500; round += 1) {
    const found = records.find(({ type }) => type === "request.settled");
    if (found) return found;
    await sleep(5);
  }
  throw new Error("no record of how the request ended");
}

test("records who asked for what and how it ended, and nothing of what was said", async (t) => {
  const secret = "canary-4711";
  const api = await gatewayApi(t);
  const body = JSON.stringify({ ...HELLO, messages: [{ role: "user", content: secret, name: secret }], user: secret });
  const answer = await chat(api.port, body);
  assert.equal(answer.status, 200);
  const end = await settled(api);
  const [allowed] = api.records;
  const who = { tenant: LOGIN.tenantId, actor: LOGIN.principalId, key: LOGIN.keyId, role: "user", operation: "chat" };
  assert.deepEqual(allowed, {
    ...allowed,
    ...who,
    type: "request.allowed",
    requestId: answer.headers["x-request-id"],
    release: "1.2.3",
    model: "small",
    stream: false,
    messages: 1,
    policy: "p1",
  });
  assert.deepEqual(end, {
    ...end,
    ...who,
    outcome: "answered",
    status: 200,
    servedModel: "small",
    inputTokens: 5,
    outputTokens: 2,
    answerBytes: answer.body.length,
  });
  assert.match(String(allowed?.["promptHmac"]), /^[0-9a-f]{64}$/);
  const written = JSON.stringify(api.records) + api.logged.join("");
  for (const word of [secret, "Hello", "Good morning", WITH_KEY.authorization])
    assert.ok(!written.includes(word), word);
});

test("the hash of a prompt is the same for the same tenant only", async (t) => {
  const hashes: unknown[] = [];
  for (const tenantId of ["a", "a", "b"]) {
    const api = await gatewayApi(t, { login: { tenantId } });
    await chat(api.port);
    hashes.push(api.records[0]?.["promptHmac"]);
  }
  assert.equal(hashes[0], hashes[1]);
  assert.notEqual(hashes[0], hashes[2]);
});

test("sends no byte before the decision is recorded, and asks the model meanwhile", async (t) => {
  for (const body of [JSON.stringify(HELLO), STREAMED]) {
    let recorded = (): void => {};
    const durable = new Promise<void>((resolve) => {
      recorded = resolve;
    });
    const api = await gatewayApi(t, {
      append: ({ type }) => (type === "request.allowed" ? durable : Promise.resolve()),
    });
    const socket = connect(api.port, "127.0.0.1");
    let received = "";
    socket.on("data", (piece) => {
      received += piece;
    });
    const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: ${WITH_KEY.authorization}\r\n`;
    socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
    while (api.modelRequests() === 0) await sleep(5);
    await sleep(50);
    assert.equal(received, "");
    recorded();
    while (!received.includes("Hello")) await sleep(5);
    socket.destroy();
  }
});

test("gives no answer that cannot be recorded, and stops the model", async (t) => {
  let closed = false;
  const api = await gatewayApi(t, {
    append: async () => {
      await sleep(50);
      throw new Error("disk full");
    },
    model: (_, response) => {
      response.on("close", () => {
        closed = true;
      });
    },
  });
  const answer = await chat(api.port);
  assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [503, "audit-unavailable"]);
  while (!closed) await sleep(5);
  const refused = await ask(api.port, "/v1/models", { headers: { authorization: "Bearer x" } });
  assert.equal(refused.status, 503, "a refusal is recorded too, or not told");
});

test("tries again to record how a request ended, and lets nobody in while too many of these wait", async (t) => {
  let failing = true;
  const api = await gatewayApi(t, {
    append: ({ type }) =>
      failing && type === "request.settled" ? Promise.reject(new Error("away")) : Promise.resolve(),
  });
  assert.equal((await chat(api.port)).status, 200);
  await sleep(30);
  assert.equal(api.records.length, 1);
  failing = false;
  assert.equal((await settled(api))["outcome"], "answered");
  const settlements = new Settlements({ recorder: api.means.recorder, log: api.means.log, pendingMax: 0 });
  const other = await gatewayApi(t, { means: { settlements } });
  assert.equal((await chat(other.port)).status, 503);
  assert.equal(other.modelRequests(), 0);
});

test("asks no other address, whatever a request says", async (t) => {
  const seen: IncomingMessage[] = [];
  const api = await gatewayApi(t, {
    model: (incoming, response) => {
      seen.push(incoming);
      void answerHello(incoming, response);
    },
  });
  const headers = {
    ...WITH_KEY,
    host: "evil.example",
    "x-forwarded-host": "evil.example",
    "x-portkey-custom-host": "http://evil.example",
    "x-upstream-url": "http://evil.example",
    cookie: "a=b",
  };
  await ask(api.port, "/v1/chat/completions", { body: JSON.stringify(HELLO), headers });
  assert.equal(seen.length, 1);
  const given = seen[0]?.headers ?? {};
  assert.deepEqual(Object.keys(given).sort(), [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "x-request-id",
  ]);
  assert.match(given["host"] ?? "", /^127\.0\.0\.1:/);
  for (const path of ["//evil.example/v1/models", "http://evil.example/v1/models", "/v1/models/../x", "/v1/proxy/x"]) {
    assert.equal((await ask(api.port, path, { headers: WITH_KEY })).status, 404, path);
  }
});

test("follows no redirection of the model", async (t) => {
  const api = await gatewayApi(t, {
    model: (_, response) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
  });
  assert.equal((await chat(api.port)).status, 502);
  assert.equal(api.modelRequests(), 1);
});

test("says what became of the model", async (t) => {
  const cases: readonly (readonly [string, Parameters<typeof gatewayApi>[1] & object, number, string])[] = [
    [
      "loading",
      { model: (_, response) => sendJson(response, 503, { error: { message: "Loading model" } }) },
      503,
      "no-model",
    ],
    [
      "refusing",
      { model: (_, response) => sendJson(response, 400, { error: { message: "too long" } }) },
      400,
      "model-refused",
    ],
    ["loading, in words", { model: (_, response) => void response.writeHead(503).end("Loading") }, 503, "no-model"],
    ["refusing in words", { model: (_, response) => void response.writeHead(400).end("no") }, 400, "model-refused"],
    ["broken", { model: (_, response) => void response.writeHead(500).end("stack trace") }, 502, "model-failed"],
    [
      "no JSON",
      { model: (_, response) => void response.writeHead(200, { "content-type": "application/json" }).end("{") },
      502,
      "model-failed",
    ],
    [
      "a page",
      { model: (_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>") },
      502,
      "model-failed",
    ],
    ["cut", { model: (_, response) => void response.destroy() }, 503, "no-model"],
    ["silent", { model: () => {}, silenceMs: 100 }, 504, "model-silent"],
  ];
  for (const [name, options, status, code] of cases) {
    const api = await gatewayApi(t, options);
    const answer = await chat(api.port);
    assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [status, code], name);
    assert.ok(!answer.body.includes("stack trace"));
    const end = await settled(api);
    assert.deepEqual([end["outcome"], end["status"]], [status === 400 ? "refused" : "model-failed", status], name);
  }
});

test("stops the model when the client goes away, and records that it did", async (t) => {
  let closed = false;
  const api = await gatewayApi(t, {
    model: (_, response) => {
      response.on("close", () => {
        closed = true;
      });
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(chunk("small", { content: "Hello " }));
    },
  });
  const response = await openStream(api.port);
  response.on("error", () => {});
  await once(response, "data");
  response.destroy();
  const end = await settled(api);
  assert.deepEqual([end["outcome"], end["status"]], ["client-gone", 200]);
  assert.ok(Number(end["answerBytes"]) > 0);
  while (!closed) await sleep(5);
});

test("uses the connection to the model again after a stream that ended", async (t) => {
  const ports = new Set<number | undefined>();
  const api = await gatewayApi(t, {
    model: (incoming, response) => {
      ports.add(incoming.socket.remotePort);
      void answerHello(incoming, response);
    },
  });
  for (let round = 0; round < 3; round += 1) {
    assert.match((await chat(api.port, STREAMED)).body, /\[DONE\]/);
    await sleep(10);
  }
  assert.equal(ports.size, 1);
});

test("asks again where the model closed a kept connection just then", async (t) => {
  let requests = 0;
  const api = await gatewayApi(t, {
    model: (incoming, response) => {
      requests += 1;
      if (requests === 2) incoming.socket.destroy();
      else void answerHello(incoming, response);
    },
  });
  assert.equal((await chat(api.port)).status, 200);
  assert.equal((await chat(api.port)).status, 200);
  assert.equal(requests, 3);
});

test("holds back a model that is faster than its client, and gives up a client that takes nothing", async (t) => {
  let written = 0;
  const api = await gatewayApi(t, {
    model: (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const piece = chunk("small", { content: "x".repeat(8_000) });
      const fill = (): void => {
        while (written < 200_000_000 && response.write(piece)) written += piece.length;
      };
      response.on("drain", fill);
      fill();
    },
  });
  const response = await openStream(api.port);
  response.pause();
  let last = -1;
  while (last !== written) {
    last = written;
    await sleep(200);
  }
  assert.ok(written < 20_000_000, `${written} bytes are on their way to a client that reads none`);
  response.destroy();
  assert.equal((await settled(api))["outcome"], "client-gone");
});

test("inspects an answer on its way, whole or in pieces", async (t) => {
  const inspect = ({ channel, texts }: Parameters<typeof passAll>[0]) => ({
    decision: "redact" as const,
    policy: "p1",
    findings: channel === "response" ? { name: 1 } : {},
    texts: texts.map(({ text }) => ({
      consumed: text.length,
      ...(text.includes("there") && { text: text.replace("there", "[NAME]") }),
    })),
  });
  for (const body of [JSON.stringify(HELLO), STREAMED]) {
    const api = await gatewayApi(t, { inspect });
    const answer = await chat(api.port, body);
    assert.ok(answer.body.includes("[NAME]") && !answer.body.includes("there"), answer.body);
    assert.ok(Number(((await settled(api))["findings"] as Record<string, number>)["name"]) > 0);
  }
});

test("keeps in an answer that a policy denies", async (t) => {
  const inspect = (question: Parameters<typeof passAll>[0]) =>
    question.channel === "response" ? { ...passAll(question), decision: "deny" as const } : passAll(question);
  for (const body of [JSON.stringify(HELLO), STREAMED]) {
    const api = await gatewayApi(t, { inspect });
    const answer = await chat(api.port, body);
    assert.ok(!answer.body.includes("Hello"), answer.body);
    assert.match(answer.body, /personal-data-in-answer/);
    assert.equal((await settled(api))["outcome"], "answer-blocked");
  }
});

test("a stream whose end cannot be inspected ends with an error and without its end", async (t) => {
  let questions = 0;
  const api = await gatewayApi(t, {
    inspect: (question) => {
      questions += 1;
      return questions < 3 ? passAll(question) : Promise.reject(new Error("away"));
    },
    model: async (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(chunk("small", { content: "Hello " }));
      await sleep(50);
      response.write(chunk("small", { content: "there" }));
      response.end("data: [DONE]\n\n");
    },
  });
  const { body } = await chat(api.port, STREAMED);
  assert.match(body, /Hello /);
  assert.match(body, /inspection-unavailable/);
  assert.ok(!body.includes("there") && !body.includes("[DONE]"));
});

test("serves streams side by side, each with records of its own", async (t) => {
  const api = await gatewayApi(t);
  const responses = await Promise.all(Array.from({ length: 8 }, () => openStream(api.port)));
  for (const response of responses) assert.match(await textOf(response), /there.*\[DONE\]/s);
  const ids = api.records.filter(({ type }) => type === "request.allowed").map(({ requestId }) => requestId);
  assert.equal(new Set(ids).size, 8);
});

test("counts a client that goes away while it sends its body, and gives its place to others", async (t) => {
  const api = await gatewayApi(t);
  const socket = connect(api.port, "127.0.0.1");
  const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: ${WITH_KEY.authorization}\r\n`;
  socket.write(`${head}Content-Length: 100\r\n\r\n{"model"`);
  while (api.means.room.requests === 0) await sleep(5);
  socket.destroy();
  while (api.records.length === 0) await sleep(5);
  assert.equal(api.records[0]?.["problem"], "body-cut");
  assert.deepEqual([api.means.room.requests, api.modelRequests()], [0, 0]);
});

test("answers requests that came together on one connection in their order", async (t) => {
  const api = await gatewayApi(t);
  const socket = connect(api.port, "127.0.0.1");
  const one = (id: number, body: string): string =>
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: ${WITH_KEY.authorization}\r\n` +
    `X-Request-Id: r${id}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  socket.write(one(1, STREAMED) + one(2, JSON.stringify(HELLO)) + one(3, "{"));
  let received = "";
  socket.on("data", (piece) => {
    received += piece;
  });
  while (!received.includes("body-not-json")) await sleep(5);
  assert.deepEqual(
    [...received.matchAll(/x-request-id: (r\d)/g)].map(([, id]) => id),
    ["r1", "r2", "r3"],
  );
  socket.destroy();
});

test("counts what keys use and tells it to the tenant, where the release has it", async (t) => {
  const added: unknown[] = [];
  const line = { day: "2026-11-21", keyId: "k", model: "small", requests: 2, inputTokens: 10, outputTokens: 4 };
  const usage = {
    add: (login: Login, model: string, tokens: object) => void added.push([login.keyId, model, tokens]),
    read: (login: Login) => Promise.resolve(login.tenantId === LOGIN.tenantId ? [line] : []),
  };
  const login = { capabilities: ["chat", "usage"] };
  const api = await gatewayApi(t, { login, means: { usage } });
  await chat(api.port);
  await chat(api.port, STREAMED);
  await chat(api.port, "{");
  const tokens = { inputTokens: 5, outputTokens: 2 };
  assert.deepEqual(added, [
    [LOGIN.keyId, "small", tokens],
    [LOGIN.keyId, "small", tokens],
  ]);
  const told = await ask(api.port, "/v1/usage", { headers: WITH_KEY });
  const data = [{ day: "2026-11-21", key: "k", model: "small", requests: 2, input_tokens: 10, output_tokens: 4 }];
  assert.deepEqual([told.status, JSON.parse(told.body)], [200, { object: "list", data }]);
  assert.equal(api.records.at(-2)?.["operation"], "usage");
  const without = await gatewayApi(t, { login });
  assert.equal((await ask(without.port, "/v1/usage", { headers: WITH_KEY })).status, 404);
  const away = { ...usage, read: () => Promise.reject(new Error("silent")) };
  const failing = await gatewayApi(t, { login, means: { usage: away } });
  assert.equal((await ask(failing.port, "/v1/usage", { headers: WITH_KEY })).status, 503);
  const poor = await gatewayApi(t, { login: { capabilities: ["chat"] }, means: { usage } });
  assert.equal((await ask(poor.port, "/v1/usage", { headers: WITH_KEY })).status, 403);
});

test("gives up a record of an end that is refused for good, and sends the others under one id", async (t) => {
  const ids = new Set<unknown>();
  let tries = 0;
  const recorder = {
    append: (event: AuditEvent) => {
      tries += 1;
      ids.add(event["id"]);
      if (event.requestId === "bad") return Promise.reject(new PeerError("PEER_REFUSED", 400));
      return tries < 4 ? Promise.reject(new PeerError("PEER_LATE")) : Promise.resolve();
    },
  };
  const { means } = await gatewayApi(t);
  const settlements = new Settlements({ recorder, log: means.log, pendingMax: 1, retryMs: 1 });
  settlements.add({ type: "request.settled", requestId: "bad" }, undefined);
  assert.equal(settlements.hasRoom, false);
  while (!settlements.hasRoom) await sleep(1);
  settlements.add({ type: "request.settled", requestId: "good" }, undefined);
  while (!settlements.hasRoom) await sleep(1);
  await settlements.stop();
  assert.deepEqual([tries, ids.size], [4, 2]);
});
