import assert from "node:assert/strict";
import test from "node:test";
import { CONTROLS, GATES } from "../../../../compose/services/gateway/src/gates/controls.ts";
import type { Inspection, Question } from "../../../../compose/services/gateway/src/inspector.ts";
import { EVENT_TYPES } from "../../../../compose/services/gateway/src/records.ts";
import { RefusalThrottle } from "../../../../compose/services/gateway/src/refusal-throttle.ts";
import { RequestRoom } from "../../../../compose/services/gateway/src/request-room.ts";
import { TokenBuckets } from "../../../../compose/services/gateway/src/token-buckets.ts";
import {
  type GatewayApi,
  type GatewayApiOptions,
  gatewayApi,
  HELLO,
  passAll,
  WITH_KEY,
} from "../../../support/gateway-api.ts";
import { type Answer, ask } from "../../../support/service-client.ts";

interface Trap {
  readonly options?: GatewayApiOptions;
  readonly headers?: Record<string, string>;
  readonly body?: object;
  readonly status: number;
  readonly problem: string;
}

/** What makes each gate, and no gate before it, stop a request. */
const TRAPS: Readonly<Record<string, Trap>> = {
  identity: { headers: { authorization: "Bearer slk_nobody" }, status: 401, problem: "unauthorized" },
  capability: { options: { login: { capabilities: ["models"] } }, status: 403, problem: "capability-missing" },
  rate: {
    options: { means: { rates: new TokenBuckets({ burst: 0, perSecond: 0.1, max: 10 }) } },
    status: 429,
    problem: "rate-limited",
  },
  request: { body: { temperature: 3 }, status: 400, problem: "request-malformed" },
  model: { body: { model: "secret" }, status: 403, problem: "model-not-allowed" },
  "personal-data": {
    options: { inspect: (question) => ({ ...passAll(question), decision: "deny", findings: { iban: 1 } }) },
    status: 422,
    problem: "personal-data",
  },
};

async function askWith(
  t: { after(work: () => Promise<void>): void },
  traps: readonly Trap[],
): Promise<[Answer, GatewayApi]> {
  const api = await gatewayApi(t, Object.assign({}, ...traps.map(({ options }) => options)));
  const headers = Object.assign({ ...WITH_KEY }, ...traps.map((trap) => trap.headers));
  const body = JSON.stringify(Object.assign({ ...HELLO }, ...traps.map((trap) => trap.body)));
  return [await ask(api.port, "/v1/chat/completions", { body, headers }), api];
}

test("has a test's trap for each gate", () => {
  assert.deepEqual(
    Object.keys(TRAPS),
    GATES.map(({ name }) => name),
  );
});

test("each gate stops a request before the model hears of it, and one record names the gate", async (t) => {
  for (const gate of GATES) {
    const trap = TRAPS[gate.name] as Trap;
    const [answer, api] = await askWith(t, [trap]);
    const problem = JSON.parse(answer.body);
    assert.deepEqual([answer.status, problem.error.code], [trap.status, trap.problem], gate.name);
    assert.ok(
      gate.problems.some(({ name }) => name === trap.problem),
      "the matrix of controls tells this problem",
    );
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.equal(problem.type, `https://sealift.dev/problems/${trap.problem}`);
    assert.equal(api.modelRequests(), 0, gate.name);
    assert.equal(api.records.length, 1, gate.name);
    const [record] = api.records;
    assert.equal(record?.type, `request.refused.${gate.name}`);
    assert.ok(EVENT_TYPES.includes(record.type));
    assert.deepEqual([record["control"], record["problem"]], [gate.id, trap.problem]);
    assert.equal(record.requestId, answer.headers["x-request-id"]);
  }
});

test("of two gates that would stop a request, the first one does", async (t) => {
  const names = GATES.map(({ name }) => name);
  for (const [first, name] of names.entries()) {
    for (const later of names.slice(first + 1)) {
      const [, api] = await askWith(t, [TRAPS[name] as Trap, TRAPS[later] as Trap]);
      assert.equal(api.records[0]?.type, `request.refused.${name}`, `${name} and ${later}`);
    }
  }
});

test("says when a limited key may come again", async (t) => {
  const [answer] = await askWith(t, [TRAPS["rate"] as Trap]);
  assert.equal(answer.headers["retry-after"], "10");
});

test("takes a key only as one bearer token", async (t) => {
  const api = await gatewayApi(t);
  const key = WITH_KEY.authorization.slice("Bearer ".length);
  for (const [authorization, status] of [
    [`Bearer ${key}`, 200],
    [`bearer  ${key}`, 200],
    [key, 401],
    [`Basic ${key}`, 401],
    [`Bearer ${key} x`, 401],
    [`Bearer ${key},`, 401],
    ["Bearer ", 401],
  ] as const) {
    assert.equal((await ask(api.port, "/v1/models", { headers: { authorization } })).status, status, authorization);
  }
  assert.equal((await ask(api.port, "/v1/models")).status, 401);
});

test("lets nobody in while the database cannot tell who it is", async (t) => {
  const identities = { identify: () => Promise.reject(new Error("silent")) };
  const api = await gatewayApi(t, { means: { identities } });
  assert.equal((await ask(api.port, "/v1/models", { headers: WITH_KEY })).status, 503);
  assert.equal(api.modelRequests(), 0);
});

test("stops asking the database for one that guesses keys", async (t) => {
  let asked = 0;
  const identities = {
    identify: () => {
      asked += 1;
      return Promise.resolve(undefined);
    },
  };
  const failures = new TokenBuckets({ burst: 3, perSecond: 0.01, max: 10 });
  const api = await gatewayApi(t, { means: { identities, failures } });
  const statuses: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    statuses.push((await ask(api.port, "/v1/models", { headers: WITH_KEY })).status);
  }
  assert.deepEqual([statuses, asked], [[401, 401, 401, 429, 429], 3]);
});

test("records refusals of requests without a key up to a rate, and counts the rest", async (t) => {
  let now = 0;
  const refusals = new RefusalThrottle(new TokenBuckets({ burst: 2, perSecond: 1, max: 10, now: () => now }));
  const api = await gatewayApi(t, { means: { refusals } });
  const guess = { headers: { authorization: "Bearer slk_nobody" } };
  for (let round = 0; round < 5; round += 1) assert.equal((await ask(api.port, "/v1/models", guess)).status, 401);
  assert.equal(api.records.length, 2);
  assert.equal(
    (await ask(api.port, "/v1/models", { headers: WITH_KEY })).status,
    200,
    "others are not counted with them",
  );
  now = 1_000;
  await ask(api.port, "/v1/models", guess);
  assert.deepEqual(api.records.at(-1)?.["counts"], { unrecorded: 3 });
});

test("holds a key and the whole gateway to so many requests at once, and counts each as over when it is", async (t) => {
  let open = (): void => {};
  const inspected = new Promise<void>((resolve) => {
    open = resolve;
  });
  const room = new RequestRoom({ requestsMax: 3, requestsMaxOfKey: 2, bytesMax: 1024 * 1024 });
  const api = await gatewayApi(t, {
    means: { room },
    inspect: async (question) => {
      await inspected;
      return passAll(question);
    },
  });
  const post = (): Promise<Answer> =>
    ask(api.port, "/v1/chat/completions", { body: JSON.stringify(HELLO), headers: WITH_KEY });
  const held = [post(), post()];
  while (room.requests < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await post()).status, 429);
  open();
  assert.deepEqual(
    (await Promise.all(held)).map(({ status }) => status),
    [200, 200],
  );
  while (room.requests > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await post()).status, 200);
});

test("holds the bytes of all bodies together to what there is room for", async (t) => {
  const room = new RequestRoom({ requestsMax: 10, requestsMaxOfKey: 10, bytesMax: 100_000 });
  const api = await gatewayApi(t, { means: { room } });
  const body = JSON.stringify({ ...HELLO, messages: [{ role: "user", content: "x".repeat(60_000) }] });
  const answer = await ask(api.port, "/v1/chat/completions", { body, headers: WITH_KEY });
  assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [503, "overloaded"]);
  assert.equal(
    (await ask(api.port, "/v1/chat/completions", { body: JSON.stringify(HELLO), headers: WITH_KEY })).status,
    200,
  );
});

/** Replaces an address wherever it is. */
function hideAddress({ texts }: Question): Inspection {
  return {
    decision: "redact",
    policy: "p1",
    findings: { email: 1 },
    texts: texts.map(({ text }) => ({
      consumed: text.length,
      ...(text.includes("a@b.example") && { text: text.replace("a@b.example", "[EMAIL]") }),
    })),
  };
}

test("replaces what the inspecting service replaces, before the model sees it", async (t) => {
  let seen = "";
  const api = await gatewayApi(t, {
    inspect: hideAddress,
    model: (request, response) => {
      request.on("data", (piece) => {
        seen += piece;
      });
      request.on("end", () => response.writeHead(500).end());
    },
  });
  const tools = [
    { type: "function", function: { name: "send", parameters: { properties: { to: { default: "a@b.example" } } } } },
  ];
  const body = JSON.stringify({
    ...HELLO,
    tools,
    messages: [{ role: "user", content: [{ type: "text", text: "to a@b.example" }] }],
  });
  await ask(api.port, "/v1/chat/completions", { body, headers: WITH_KEY });
  assert.ok(!seen.includes("a@b.example"), seen);
  assert.equal(seen.match(/\[EMAIL\]/g)?.length, 2);
  assert.deepEqual(api.records[0]?.["findings"], { email: 1 });
});

test("blocks what would have to be replaced in the name of a member", async (t) => {
  const api = await gatewayApi(t, { inspect: hideAddress });
  const body = JSON.stringify({ ...HELLO, response_format: { "a@b.example": 1 } });
  assert.equal((await ask(api.port, "/v1/chat/completions", { body, headers: WITH_KEY })).status, 422);
});

test("lets nothing pass that cannot be inspected", async (t) => {
  const api = await gatewayApi(t, { inspect: () => Promise.reject(new Error("silent")) });
  const answer = await ask(api.port, "/v1/chat/completions", { body: JSON.stringify(HELLO), headers: WITH_KEY });
  assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [503, "inspection-unavailable"]);
  assert.equal(api.modelRequests(), 0);
});

test("a fault in a gate stops the request like a refusal", async (t) => {
  const room = Object.assign(new RequestRoom({ requestsMax: 1, requestsMaxOfKey: 1, bytesMax: 1 }), {
    enter: () => {
      throw new Error("secret words");
    },
  });
  const api = await gatewayApi(t, { means: { room } });
  const answer = await ask(api.port, "/v1/chat/completions", { body: JSON.stringify(HELLO), headers: WITH_KEY });
  assert.equal(answer.status, 500);
  assert.deepEqual([api.modelRequests(), api.records[0]?.type], [0, "request.refused.rate"]);
  assert.ok(!answer.body.includes("secret") && !api.logged.some((line) => line.includes("secret words")));
});

test("ids and names of controls are there once each", () => {
  assert.equal(new Set(CONTROLS.map(({ id }) => id)).size, CONTROLS.length);
  assert.equal(new Set(CONTROLS.map(({ name }) => name)).size, CONTROLS.length);
});
