import assert from "node:assert/strict";
import test from "node:test";
import { type ChatRequest, readChatRequest } from "../../../../compose/services/gateway/src/chat-request.ts";

const LIMITS = { messagesMax: 4, tokensMax: 100 };
const MESSAGES = [{ role: "user", content: "hello" }];

function read(text: string | object) {
  return readChatRequest(Buffer.from(typeof text === "string" ? text : JSON.stringify(text)), LIMITS);
}

function accepted(text: string | object): ChatRequest {
  const chat = read(text);
  assert.ok(!("status" in chat), JSON.stringify(chat));
  return chat;
}

function forModel(text: string | object): unknown {
  return JSON.parse(accepted(text).body().toString());
}

function refused(text: string | object): string {
  const problem = read(text);
  assert.ok("status" in problem, "want it refused");
  return `${problem.name}${problem.param === undefined ? "" : ` ${problem.param}`}`;
}

test("writes anew what the model gets, without what is meant for an operator only", () => {
  assert.deepEqual(
    forModel({ model: "small", messages: MESSAGES, user: "jane", metadata: { a: "b" }, store: true, seed: null }),
    {
      model: "small",
      messages: MESSAGES,
      max_tokens: 100,
    },
  );
  assert.deepEqual(forModel({ model: "small", messages: MESSAGES, stream: true, max_completion_tokens: 7 }), {
    model: "small",
    messages: MESSAGES,
    stream: true,
    max_tokens: 7,
    stream_options: { include_usage: true },
  });
});

test("reads one request where two readers could read two", () => {
  const twice = '{"model":"secret","messages":[{"role":"user","content":"hello"}],"model":"small"}';
  const chat = accepted(twice);
  assert.equal(chat.model, "small");
  assert.deepEqual(forModel(twice), { model: "small", messages: MESSAGES, max_tokens: 100 });
  assert.ok(!chat.body().includes("secret"));
  const proto = '{"model":"small","messages":[{"role":"user","content":"hello","__proto__":{"x":1}}]}';
  assert.equal(refused(proto), "request-malformed messages[0]");
  assert.equal(refused('{"__proto__":{"model":"small"},"messages":[]}'), "request-malformed __proto__");
});

test("refuses what is no JSON object in UTF-8", () => {
  for (const text of ["", "[]", "null", '"x"', "{", '{"a":1}x', "NaN"])
    assert.equal(refused(text), "body-not-json", text);
  const latin = Buffer.from('{"model":"small","messages":[{"role":"user","content":"\xff"}]}', "latin1");
  const problem = readChatRequest(latin, LIMITS);
  assert.ok("status" in problem && problem.name === "body-not-json");
});

test("refuses a body that is nested too deep, without running out of stack", () => {
  const deep = (levels: number): string => `{"model":"small","messages":${"[".repeat(levels)}${"]".repeat(levels)}}`;
  assert.equal(refused(deep(33)), "body-not-json");
  assert.equal(refused(deep(400_000)), "body-not-json");
});

test("refuses members that it does not know and values that it does not take", () => {
  for (const [change, param] of [
    [{ n_predict: 5 }, "n_predict"],
    [{ lora: [] }, "lora"],
    [{ id_slot: 1 }, "id_slot"],
    [{ functions: [] }, "functions"],
    [{ logprobs: true }, "logprobs"],
    [{ toString: 1 }, "toString"],
    [{ temperature: "1" }, "temperature"],
    [{ temperature: -1 }, "temperature"],
    [{ n: 2 }, "n"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_tokens: 101 }, "max_tokens"],
    [{ max_completion_tokens: 1e9 }, "max_tokens"],
    [{ stream: "true" }, "stream"],
    [{ stop: ["a", "b", "c", "d", "e"] }, "stop"],
    [{ model: ["small"] }, "model"],
    [{ model: "small " }, "model"],
    [{ model: "../small" }, "model"],
    [{ model: "\uff53mall" }, "model"],
    [{ model: undefined }, "model"],
    [{ messages: undefined }, "messages"],
    [{ messages: [] }, "messages"],
    [{ messages: [...MESSAGES, ...MESSAGES, ...MESSAGES, ...MESSAGES, ...MESSAGES] }, "messages"],
  ] as const) {
    assert.equal(refused({ model: "small", messages: MESSAGES, ...change }), `request-malformed ${param}`);
  }
});

test("takes text and nothing that would be fetched or cannot be inspected", () => {
  accepted({ model: "small", messages: [{ role: "user", content: [{ type: "text", text: "hello" }] }] });
  accepted({ model: "small", messages: [{ role: "assistant", tool_calls: [{ id: "1", function: { name: "a" } }] }] });
  for (const content of [
    [{ type: "image_url", image_url: { url: "http://evil.example/x" } }],
    [{ type: "input_audio", input_audio: { data: "AAAA" } }],
    [{ type: "file", file: { file_id: "x" } }],
    [{ type: "text", text: "hello", image_url: "http://evil.example" }],
    [{ type: "text", text: 5 }],
    ["hello"],
    { url: "http://evil.example" },
    5,
  ]) {
    assert.equal(refused({ model: "small", messages: [{ role: "user", content }] }), "request-malformed messages[0]");
  }
  assert.equal(
    refused({ model: "small", messages: [...MESSAGES, { role: "root", content: "" }] }),
    "request-malformed messages[1]",
  );
  assert.equal(
    refused({ model: "small", messages: [{ role: "user", content: "", audio: "x" }] }),
    "request-malformed messages[0]",
  );
});

test("shows the inspecting service every string that the model gets, also the names of members", () => {
  const chat = accepted({
    model: "small",
    messages: [
      { role: "system", content: "in-content", name: "in-name" },
      { role: "user", content: [{ type: "text", text: "in-part" }] },
      {
        role: "assistant",
        tool_calls: [{ id: "in-id", type: "function", function: { name: "in-call", arguments: "in-arguments" } }],
      },
      { role: "tool", tool_call_id: "in-call-id", content: "in-result" },
    ],
    stop: ["in-stop"],
    tools: [{ type: "function", function: { name: "in-tool", parameters: { "in-member": { enum: ["in-enum"] } } } }],
    tool_choice: { function: { name: "in-choice" } },
    response_format: { type: "json_schema", json_schema: { name: "in-schema" } },
    user: "dropped",
  });
  const words = chat.texts.map(({ text }) => text);
  const inBody = [
    ...chat
      .body()
      .toString()
      .matchAll(/in-[a-z-]+/g),
  ].map(([word]) => word);
  assert.ok(inBody.length >= 14);
  for (const word of inBody) assert.ok(words.includes(word), word);
  assert.ok(!words.includes("dropped"));
});

test("refuses more texts than can be inspected", () => {
  const content = Array.from({ length: 4_000 }, () => ({ type: "text", text: "x" }));
  assert.equal(refused({ model: "small", messages: [{ role: "user", content }] }), "request-malformed");
});
