import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import OpenAI from "openai";
import { type GatewayApiOptions, gatewayApi, HELLO, KEY, USAGE } from "../../../support/gateway-api.ts";

async function client(t: TestContext, options: GatewayApiOptions = {}, apiKey = KEY): Promise<OpenAI> {
  const { port } = await gatewayApi(t, options);
  return new OpenAI({ apiKey, baseURL: `http://127.0.0.1:${port}/v1`, maxRetries: 0 });
}

const MESSAGES = [{ role: "user" as const, content: "Good morning" }];

test("the official client lists the models that the key may use", async (t) => {
  const openai = await client(t);
  const { data } = await openai.models.list();
  assert.deepEqual(
    data.map(({ id }) => id),
    ["small", "large"],
  );
});

test("the official client gets a whole answer", async (t) => {
  const openai = await client(t);
  const answer = await openai.chat.completions.create({ model: "small", messages: MESSAGES, user: "somebody" });
  assert.equal(answer.choices[0]?.message.content, "Hello there");
  assert.deepEqual(answer.usage, USAGE);
});

test("the official client gets a stream, with the counts at its end only if it asked for them", async (t) => {
  const openai = await client(t);
  for (const include_usage of [true, false]) {
    const stream = await openai.chat.completions.create({
      model: "small",
      messages: MESSAGES,
      stream: true,
      stream_options: { include_usage },
    });
    let text = "";
    let finish: string | null | undefined;
    let usage: unknown = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish ??= chunk.choices[0]?.finish_reason;
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([text, finish, usage], ["Hello there", "stop", include_usage ? USAGE : null]);
  }
});

test("the official client knows our errors for what they are", async (t) => {
  const openai = await client(t);
  await assert.rejects(openai.chat.completions.create({ model: "secret", messages: MESSAGES }), (error) => {
    assert.ok(error instanceof OpenAI.PermissionDeniedError);
    assert.deepEqual([error.status, error.code, error.type], [403, "model-not-allowed", "invalid_request_error"]);
    assert.match(error.requestID ?? "", /^[0-9a-f-]{36}$/);
    return true;
  });
  const wrong = { model: "small", messages: MESSAGES, temperature: 3 };
  await assert.rejects(openai.chat.completions.create(wrong), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
  const stranger = await client(t, {}, "slk_nobody");
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test("the official client throws where a stream ends without its end", async (t) => {
  const openai = await client(t, {
    model: (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const choices = [{ index: 0, delta: { content: "Half of" }, finish_reason: null }];
      response.end(
        `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", model: HELLO.model, choices })}\n\n`,
      );
    },
  });
  const stream = await openai.chat.completions.create({ model: "small", messages: MESSAGES, stream: true });
  let text = "";
  await assert.rejects(
    async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    },
    (error) => error instanceof OpenAI.APIError && error.code === "model-failed",
  );
  assert.equal(text, "Half of");
});
