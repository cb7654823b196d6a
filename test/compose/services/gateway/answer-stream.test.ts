import assert from "node:assert/strict";
import test from "node:test";
import {
  type AnswerFacts,
  AnswerStream,
  inspectAnswer,
  noFacts,
} from "../../../../compose/services/gateway/src/chat-answer.ts";
import { eventPayloads, StreamError } from "../../../../compose/services/gateway/src/events.ts";
import type { Inspection, Inspector, Question } from "../../../../compose/services/gateway/src/inspector.ts";
import { piiInspector } from "../../../../compose/services/gateway/src/pii-inspector.ts";
import { answerScan } from "../../../../compose/services/pii/src/pii.ts";
import { BUILT_IN_POLICY } from "../../../../compose/services/pii/src/policy.ts";
import { parseScanRequest } from "../../../../compose/services/pii/src/scan-request.ts";
import { PRINCIPAL, testSigner } from "../../../support/test-principals.ts";

async function payloadsOf(chunks: readonly Buffer[]): Promise<string[]> {
  const found: string[] = [];
  const source = (async function* () {
    yield* chunks;
  })();
  for await (const payloads of eventPayloads(source)) found.push(...payloads);
  return found;
}

test("reads events wherever the bytes are cut, with either end of line", async () => {
  for (const end of ["\n", "\r\n"]) {
    const lines = [
      ": a comment",
      "",
      'data: {"a":"ä€"}',
      "",
      "event: x",
      "data:1",
      "data: 2",
      "",
      "data: [DONE]",
      "",
      "data: late",
      "",
    ];
    const bytes = Buffer.from(`${lines.join(end)}${end}`);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const found = await payloadsOf([bytes.subarray(0, cut), bytes.subarray(cut)]);
      assert.deepEqual(found, ['{"a":"ä€"}', "1\n2"], `cut at ${cut}`);
    }
    assert.deepEqual(await payloadsOf([...bytes].map((byte) => Buffer.of(byte))), ['{"a":"ä€"}', "1\n2"]);
  }
});

test("refuses a stream without its end, one event that is too large, and bytes that are no text", async () => {
  const code = (wanted: StreamError["code"]) => (error: unknown) =>
    error instanceof StreamError && error.code === wanted;
  await assert.rejects(payloadsOf([Buffer.from("data: 1\n\n")]), code("STREAM_CUT"));
  await assert.rejects(payloadsOf([Buffer.from("data: [DONE]\n")]), code("STREAM_CUT"));
  const large = Array.from({ length: 6 }, () => Buffer.alloc(65_536, "x"));
  await assert.rejects(payloadsOf(large), code("STREAM_EVENT_TOO_LARGE"));
  await assert.rejects(payloadsOf([Buffer.from([0x64, 0xff, 0xfe])]), code("STREAM_MALFORMED"));
});

// One chunk of them held the event loop for minutes: each end was looked for to the end of the chunk.
test("reads a stream of nothing but empty events as fast as any other", { timeout: 60_000 }, async () => {
  const empty = Array.from({ length: 8 }, () => Buffer.alloc(256 * 1024, "\n\n"));
  assert.deepEqual(await payloadsOf([...empty, Buffer.from("data: 1\n\ndata: [DONE]\n\n")]), ["1"]);
});

test("refuses an answer in which arrays lie deeper in each other than anything can walk", async () => {
  const deep = `{"choices":[{"message":{"odd":${"[".repeat(20_000)}${"]".repeat(20_000)}}}]}`;
  const context = { principal: PRINCIPAL, inspector: inspector({ questions: 0 }), facts: noFacts() };
  await assert.rejects(inspectAnswer(Buffer.from(deep), context), { code: "ANSWER_MALFORMED" });
});

/** Replaces `secret`, holds back what could be its beginning, and asserts that windows are what the service takes. */
function inspector(counts: { questions: number }) {
  return {
    inspect: async ({ channel, texts }: Question): Promise<Inspection> => {
      counts.questions += 1;
      assert.equal(channel, "response");
      const inspected = texts.map(({ text, more, before = "" }) => {
        assert.ok(before.length <= 1024);
        const replaced = text.replaceAll("secret", "[X]");
        const held = more ? ([5, 4, 3, 2, 1].find((length) => text.endsWith("secret".slice(0, length))) ?? 0) : 0;
        const shown = replaced.slice(0, replaced.length - held);
        return { consumed: text.length - held, ...(replaced !== text && { text: shown }) };
      });
      return { decision: "redact", policy: "p1", findings: { secret: 1 }, texts: inspected };
    },
  };
}

function event(delta: object, finish: string | null = null): string {
  return JSON.stringify({
    id: "c",
    object: "chat.completion.chunk",
    created: 1,
    model: "small",
    choices: [{ index: 0, delta, finish_reason: finish }],
  });
}

interface Read {
  content: string;
  reasoning: string;
  args: Record<number, string>;
  heads: unknown[];
  finishes: unknown[];
  all: string[];
}

async function run(
  payloads: readonly (readonly string[])[],
  wantsUsage = false,
  inspect: (counts: { questions: number }) => Inspector = inspector,
): Promise<Read & { facts: AnswerFacts; questions: number }> {
  const counts = { questions: 0 };
  const facts = noFacts();
  const stream = new AnswerStream({ principal: PRINCIPAL, inspector: inspect(counts), facts }, wantsUsage);
  const read: Read = { content: "", reasoning: "", args: {}, heads: [], finishes: [], all: [] };
  const take = (out: readonly string[]): void => {
    for (const payload of out) {
      read.all.push(payload);
      const { choices } = JSON.parse(payload);
      const [choice] = choices;
      if (!choice) continue;
      read.content += choice.delta.content ?? "";
      read.reasoning += choice.delta.reasoning_content ?? "";
      for (const call of choice.delta.tool_calls ?? []) {
        if (call.id) read.heads.push([call.index, call.id, call.function.name]);
        read.args[call.index] = (read.args[call.index] ?? "") + call.function.arguments;
      }
      if (choice.finish_reason) read.finishes.push([choice.finish_reason, read.content]);
    }
  };
  for (const some of payloads) take(await stream.take(some));
  take(await stream.end());
  return { ...read, facts, ...counts };
}

test("replaces what is found in a stream, wherever its pieces are cut, and says everything else", async () => {
  const text = "a secret, a sec, and a secretsecret se";
  const want = "a [X], a sec, and a [X][X] se";
  for (let size = 1; size <= text.length; size += 1) {
    const pieces = text.match(new RegExp(`.{1,${size}}`, "g")) ?? [];
    const events = pieces.map((content) => event({ content }));
    for (const payloads of [events.map((one) => [one]), [events]]) {
      const read = await run([[event({ role: "assistant", content: "" })], ...payloads, [event({}, "stop")]]);
      assert.equal(read.content, want, `pieces of ${size}`);
      assert.deepEqual(read.finishes, [["stop", want]], "all of the text comes before the finish");
    }
  }
});

test("asks once for all that came together", async () => {
  const events = Array.from({ length: 50 }, () => event({ content: "word " }));
  assert.equal((await run([events])).questions, 1);
});

test("inspects reasoning and the arguments of each tool call as texts of their own", async () => {
  const call = (index: number, id: string | undefined, args: string) =>
    event({
      tool_calls: [
        { index, ...(id && { id, type: "function" }), function: { ...(id && { name: `f${index}` }), arguments: args } },
      ],
    });
  const read = await run([
    [event({ reasoning_content: "sec" })],
    [call(0, "a", '{"x":"sec')],
    [event({ reasoning_content: "ret" })],
    [call(1, "b", "ret")],
    [call(0, undefined, 'ret"}')],
    [event({}, "tool_calls")],
  ]);
  assert.equal(read.reasoning, "[X]");
  assert.deepEqual(read.args, { 0: '{"x":"[X]"}', 1: "ret" });
  assert.deepEqual(read.heads, [
    [0, "a", "f0"],
    [1, "b", "f1"],
  ]);
});

test("passes on no member that it does not know, beside the choices or in a delta", async () => {
  const { choices, ...frame } = JSON.parse(event({ content: "a", annotations: ["b"], audio: { data: "c" } }));
  const read = await run([[JSON.stringify({ ...frame, __verbose: { prompt: "d" }, choices })], [event({}, "stop")]]);
  assert.equal(read.content, "a");
  assert.ok(!/annotations|audio|verbose|prompt/.test(read.all.join("")), read.all.join("\n"));
});

test("tells the counts to the record, and to the client only if it asked", async () => {
  const usage = { prompt_tokens: 3, completion_tokens: 4 };
  const last = JSON.stringify({ id: "c", model: "small", choices: [], usage });
  for (const wants of [true, false]) {
    const read = await run([[event({ content: "a" }, "stop"), last]], wants);
    assert.deepEqual([read.facts.inputTokens, read.facts.outputTokens, read.facts.servedModel], [3, 4, "small"]);
    assert.equal(read.all.at(-1)?.includes("usage"), wants);
  }
});

test("refuses events that are not those of this API", async () => {
  const bad = [
    "{",
    "[]",
    "{}",
    '{"choices":[5]}',
    '{"choices":[{"index":1,"delta":{}}]}',
    '{"choices":[{"index":0}]}',
    event({ tool_calls: [{ index: 64 }] }),
    event({ tool_calls: [{ index: 0, id: "a b", function: { name: "x" } }] }),
    event({ tool_calls: "x" }),
  ];
  for (const payload of bad) await assert.rejects(run([[payload]]), { code: "ANSWER_MALFORMED" }, payload);
});

/** The pii service itself, without the network. */
function piiService(): Inspector {
  const post = async (_: string, body: unknown) =>
    answerScan(parseScanRequest(Buffer.from(JSON.stringify(body))), { policy: BUILT_IN_POLICY, digest: "built-in" });
  return piiInspector({ post }, testSigner("pii"));
}

test("with the real detectors: a card number is replaced wherever a stream is cut", async () => {
  const text = "pay with 4111 1111 1111 1111, or mail jane.roe@corp.example; no card: 4111 1111 1111 1112.";
  const want = text.replace("4111 1111 1111 1111", "[PAYMENT_CARD]");
  const splits = Array.from({ length: text.length + 1 }, (_, cut) => [text.slice(0, cut), text.slice(cut)]);
  for (const pieces of [...splits, [...text]]) {
    const events = pieces.map((content) => [event({ content })]);
    const read = await run([...events, [event({}, "stop")]], false, piiService);
    assert.equal(read.content, want, JSON.stringify(pieces[0]));
    assert.deepEqual(read.facts.findings, { "payment-card": 1, email: 1 });
  }
});
