/** Ways around a control that other gateways had, or that somebody would try: none leads to the model. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import test from "node:test";
import { adminRoutes } from "../../../../compose/services/gateway/src/admin.ts";
import { apiRoutes } from "../../../../compose/services/gateway/src/api.ts";
import { CONTROLS } from "../../../../compose/services/gateway/src/gates/controls.ts";
import { EVENT_TYPES } from "../../../../compose/services/gateway/src/records.ts";
import { gatewayApi, sendJson, WITH_KEY } from "../../../support/gateway-api.ts";
import { ask, textOf } from "../../../support/service-client.ts";

const CHAT = "/v1/chat/completions";
const MESSAGES = '"messages":[{"role":"user","content":"hello"}]';
/** Names that somebody, or something, could read as `small`, which this role has. It has no `secret`. */
const LOOK_ALIKES: readonly string[] = [
  ...["Small", "SMALL", "smaLl", "small ", " small", "\tsmall", "small\n", "small\0", "small\u200b", "\ufeffsmall"],
  ...["ѕmall", "smаll", "ｓｍａｌｌ", "sma\u0301ll", "small\u0301", "sma\u00adll", "ſmall", "𝓈mall", "smal1", "smalI"],
  ...["small.", "small/", "/small", "./small", "../small", "x/../small", "small?x", "small#x", "small%00", "%73mall"],
  ...["openai/small", "models/small", "small:latest", "small@latest", "small,secret", "small;secret", "small secret"],
  ...["smal", "smalls", "s", "", "*", "sm*", "small|secret", "^small$", "${model}", "default", "auto", "null"],
  ...["constructor", "__proto__", "toString", "length", "0", "small".repeat(40), "secret", "secret\u0000small"],
];
/** Where a reader that takes another member, or the other of two, would ask for what is not allowed. */
const BODIES: readonly string[] = [
  `{"model":["small"],${MESSAGES}}`,
  `{"model":["small","secret"],${MESSAGES}}`,
  `{"model":{"id":"small"},${MESSAGES}}`,
  `{"model":{"toString":"small"},${MESSAGES}}`,
  `{"model":null,${MESSAGES}}`,
  `{"model":0,${MESSAGES}}`,
  `{"model":true,${MESSAGES}}`,
  `{${MESSAGES}}`,
  `{"model":"small","model":"secret",${MESSAGES}}`,
  `{"model":"secret","model":"small",${MESSAGES}}`,
  `{"model":"small","mod\\u0065l":"secret",${MESSAGES}}`,
  `{"mod\\u0065l":"secret",${MESSAGES}}`,
  `{"Model":"secret",${MESSAGES}}`,
  `{"model ":"secret","model":"small",${MESSAGES}}`,
  `{"model":"small","models":["secret"],${MESSAGES}}`,
  `{"model":"small","route":"fallback","fallbacks":[{"model":"secret"}],${MESSAGES}}`,
  `{"model":"small","extra_body":{"model":"secret"},${MESSAGES}}`,
  `{"__proto__":{"model":"small"},${MESSAGES}}`,
  `[{"model":"small",${MESSAGES}}]`,
  `{"model":"small",${MESSAGES}}{"model":"secret",${MESSAGES}}`,
  `{"model":"secret",${MESSAGES}}/*"model":"small"*/`,
];

const ANSWER = {
  ...{ id: "c1", object: "chat.completion", created: 1, model: "small" },
  choices: [{ index: 0, message: { role: "assistant", content: "hello" }, finish_reason: "stop" }],
};

test("a name that only looks like an allowed model's reaches none, and is on record", async (t) => {
  const api = await gatewayApi(t, { login: { models: ["small"] } });
  for (const model of LOOK_ALIKES) {
    const before = api.records.length;
    const body = `{"model":${JSON.stringify(model)},${MESSAGES}}`;
    const { status, body: said } = await ask(api.port, CHAT, { body, headers: WITH_KEY });
    assert.ok(status === 403 || status === 400, `${status} for ${JSON.stringify(model)}`);
    assert.match(JSON.parse(said).error.code, /^(?:model-not-allowed|request-malformed)$/);
    assert.equal(api.records.length, before + 1, JSON.stringify(model));
  }
  assert.equal(api.modelRequests(), 0);
});

test("a body that can be read in two ways is refused, or the model gets the one reading that was judged", async (t) => {
  const heard: string[] = [];
  const model = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    heard.push(await textOf(request));
    sendJson(response, 200, ANSWER);
  };
  const api = await gatewayApi(t, { login: { models: ["small"] }, model });
  for (const body of BODIES) {
    heard.length = 0;
    const { status } = await ask(api.port, CHAT, { body, headers: WITH_KEY });
    assert.ok([200, 400, 403].includes(status), `${status} for ${body}`);
    assert.equal(heard.length, status === 200 ? 1 : 0, body);
    for (const text of heard) {
      assert.equal(JSON.parse(text).model, "small", body);
      assert.ok(!text.includes("secret"), `${text} for ${body}`);
    }
  }
});

test("headers and the address do not choose a model", async (t) => {
  const api = await gatewayApi(t, { login: { models: ["small"] } });
  const body = `{"model":"secret",${MESSAGES}}`;
  const headers = {
    ...WITH_KEY,
    "x-model": "small",
    "openai-model": "small",
    "x-portkey-config": '{"override_params":{"model":"small"}}',
    "x-portkey-custom-host": "http://127.0.0.1:1",
    "x-http-method-override": "GET",
    "x-original-url": "/v1/models",
  };
  assert.equal((await ask(api.port, CHAT, { body, headers })).status, 403);
  for (const path of [`${CHAT}?model=small`, `${CHAT}/`, `/${CHAT}`, "/V1/chat/completions", "/v1//chat/completions"]) {
    const { status } = await ask(api.port, path, { body, headers: WITH_KEY });
    assert.ok(status >= 400 && status < 500, `${status} for ${path}`);
  }
  assert.equal(api.modelRequests(), 0);
});

test("each route for clients has a control that stops it, and leaves a record of the control's", async (t) => {
  const api = await gatewayApi(t, {
    login: { capabilities: [] },
    means: { usage: { read: async () => [], add: () => {} } },
  });
  const routes = apiRoutes(api.means);
  assert.ok(routes.length >= 3);
  const traps = [
    { headers: {}, control: "identity" },
    { headers: WITH_KEY, control: "capability" },
  ];
  for (const { method, path } of routes) {
    for (const { headers, control } of traps) {
      const body = method === "POST" ? `{"model":"small",${MESSAGES}}` : undefined;
      const before = api.records.length;
      const { status } = await ask(api.port, path, { headers, ...(body !== undefined && { body }) });
      assert.ok(status === 401 || status === 403, `${status} for ${path}`);
      const [record, ...more] = api.records.slice(before);
      assert.equal(more.length, 0);
      assert.equal(record?.type, `request.refused.${control}`, path);
      assert.ok(EVENT_TYPES.includes(record.type));
      assert.ok(CONTROLS.some(({ id, name }) => id === record["control"] && name === control));
    }
  }
  assert.equal(api.modelRequests(), 0);
});

test("the routes without a control tell that the gateway lives, and are these", () => {
  const questions = { isReady: async () => true, canaryLives: async () => true };
  const routes = adminRoutes("1.2.3", questions).map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(routes, ["GET /healthz", "GET /readyz", "GET /canary"]);
});
