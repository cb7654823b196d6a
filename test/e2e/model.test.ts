/** The model service: llama.cpp's server from its image, with the model that the builder writes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, type TestContext } from "node:test";
import { isElfProgram, parseElf } from "../../bundles/source/recipe/elf.ts";
import { readContent } from "../../bundles/source/recipe/file-tree.ts";
import { renderTestModel, TEST_MODEL_NAME } from "../../bundles/source/test-model.ts";
import {
  eventually,
  freePort,
  killStarted,
  lockedImages,
  type Started,
  cannotStart as skip,
  startImage,
  type UnpackedImage,
  unpackImage,
} from "../support/image-process.ts";

let work = "";
let image: UnpackedImage;

before(async () => {
  if (skip) return;
  work = await mkdtemp(join(tmpdir(), "sealift-model-"));
  await chmod(work, 0o755);
  const { images } = await lockedImages(work, ["model"]);
  image = await unpackImage(images["model"] ?? assert.fail(), "model", work);
});

after(async () => {
  await killStarted();
  await rm(work, { recursive: true, force: true });
});

interface Running {
  readonly started: Started;
  readonly origin: string;
}

async function startModel(t: TestContext, model: Buffer): Promise<Running> {
  await writeFile(join(image.rootfs, "models/model.gguf"), model, { mode: 0o444 });
  const port = await freePort();
  const env = {
    ...{ LLAMA_ARG_HOST: "127.0.0.1", LLAMA_ARG_PORT: String(port) },
    ...{
      LLAMA_ARG_ALIAS: TEST_MODEL_NAME,
      LLAMA_ARG_CTX_SIZE: "8192",
      LLAMA_ARG_N_PARALLEL: "4",
      LLAMA_ARG_THREADS: "2",
    },
  };
  const started = startImage(image, { env });
  t.after(async () => {
    if (!started.hasEnded()) await started.stop("SIGKILL");
  });
  return { started, origin: `http://127.0.0.1:${port}` };
}

interface Completion {
  readonly model: string;
  readonly choices: readonly { readonly message: { readonly content: string }; readonly finish_reason: string }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

const PROMPT = "CANARY-7431 Grüße \u{1F512}";

async function ask(origin: string, more: object): Promise<Response> {
  const body = { model: TEST_MODEL_NAME, max_tokens: 64, messages: [{ role: "user", content: PROMPT }], ...more };
  return fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function complete(origin: string, seed: number): Promise<Completion> {
  const answer = await ask(origin, { seed });
  assert.equal(answer.status, 200);
  return (await answer.json()) as Completion;
}

/** The text of a stream, joined from its events, and how many there were. */
async function stream(origin: string, seed: number): Promise<{ text: string; events: number }> {
  const answer = await ask(origin, { seed, stream: true });
  assert.match(answer.headers.get("content-type") ?? "", /^text\/event-stream/);
  const lines = (await answer.text()).split("\n").filter((line) => line !== "");
  assert.ok(lines.every((line) => line.startsWith("data: ")));
  assert.equal(lines.at(-1), "data: [DONE]");
  const events = lines.slice(0, -1).map((line) => JSON.parse(line.slice("data: ".length)));
  return { text: events.map((event) => event.choices[0]?.delta.content ?? "").join(""), events: events.length };
}

test("the image has no program but the server, and nothing that is set-uid", { skip }, () => {
  const programs: string[] = [];
  for (const [path, { tar, type, mode, position, size }] of image.members) {
    assert.equal(mode & 0o6000, 0, path);
    if (type !== "file" || (mode & 0o111) === 0 || /\.so(?:\.|$)/.test(path)) continue;
    const read = (offset: number, length: number) => readContent({ file: tar, position, size }, offset, length);
    const start = read(0, 20);
    if (start.toString("latin1", 0, 2) === "#!") programs.push(path);
    else if (isElfProgram(start) && parseElf(read).interpreter !== undefined) programs.push(path);
  }
  assert.deepEqual(programs, ["usr/bin/llama-server"]);
});

test("serves the test model as OpenAI's API has it: the same seed, the same text, whole and as a stream", {
  skip,
}, async (t) => {
  const began = performance.now();
  const { started, origin } = await startModel(t, renderTestModel());
  await eventually("the model", started, async () => assert.equal((await fetch(`${origin}/health`)).status, 200));
  t.diagnostic(`healthy after ${Math.round(performance.now() - began)} ms`);
  const models = (await (await fetch(`${origin}/v1/models`)).json()) as { data: { id: string }[] };
  assert.deepEqual(
    models.data.map(({ id }) => id),
    [TEST_MODEL_NAME],
  );
  const texts = new Map<number, string>();
  for (const seed of [1, 2, 3]) {
    const [first, second] = [await complete(origin, seed), await complete(origin, seed)];
    const [text, again] = [first, second].map(({ choices }) => choices[0]?.message.content);
    assert.equal(text, again);
    assert.match(text ?? "", /^[a-z ,.]+$/, "syllables, no broken characters");
    assert.equal(first.model, TEST_MODEL_NAME);
    assert.ok(first.usage.prompt_tokens > 10 && first.usage.completion_tokens > 0);
    const streamed = await stream(origin, seed);
    assert.equal(streamed.text, text);
    assert.ok(streamed.events > 2);
    texts.set(seed, text ?? "");
  }
  assert.ok(new Set(texts.values()).size > 1, "another seed, another text");
  t.diagnostic(`seed 2: ${JSON.stringify(texts.get(2))}`);
  const many = await Promise.all(Array.from({ length: 12 }, (_, index) => stream(origin, 1 + (index % 3))));
  assert.ok(
    many.every(({ text }) => text.length > 0),
    "more at once than it has places",
  );
  assert.equal(await started.stop("SIGTERM"), 0, started.output());
  assert.doesNotMatch(started.output(), /CANARY/, "nothing of a prompt in the log");
});

test("tells nobody what others asked: no slots, no metrics, no page, no properties to change", { skip }, async (t) => {
  const { started, origin } = await startModel(t, renderTestModel());
  await eventually("the model", started, async () => assert.equal((await fetch(`${origin}/health`)).status, 200));
  await complete(origin, 1);
  for (const path of ["/slots", "/metrics", "/", "/index.html"]) {
    assert.ok([404, 501].includes((await fetch(`${origin}${path}`)).status), path);
  }
  assert.equal((await fetch(`${origin}/props`, { method: "POST", body: "{}" })).status, 501);
  const properties = await (await fetch(`${origin}/props`)).text();
  assert.doesNotMatch(properties, /CANARY/);
  const again = (await complete(origin, 1)) as Completion & { timings?: { cache_n?: number } };
  assert.equal(again.timings?.cache_n, 0, "a prompt seen before is not faster");
});

test("answers at once beside as many idle connections as the gateway keeps", { skip }, async (t) => {
  const { started, origin } = await startModel(t, renderTestModel());
  await eventually("the model", started, async () => assert.equal((await fetch(`${origin}/health`)).status, 200));
  const agents = Array.from({ length: 257 }, () => new Agent({ keepAlive: true }));
  t.after(() => {
    for (const agent of agents) agent.destroy();
  });
  const times = await Promise.all(
    agents.map(async (agent) => {
      const sent = request(`${origin}/v1/models`, { agent });
      const began = performance.now();
      sent.end();
      const [answer] = (await once(sent, "response")) as [IncomingMessage];
      await answer.toArray();
      return performance.now() - began;
    }),
  );
  // The server closes an idle connection after five seconds: so long the last ones would have waited.
  assert.ok(Math.max(...times) < 4_000, `${Math.max(...times)} ms`);
});

test("ends with an error when the model is cut off or is none", { skip }, async (t) => {
  for (const model of [renderTestModel().subarray(0, 100_000), Buffer.from("no model")]) {
    const { started } = await startModel(t, model);
    assert.notEqual(await started.ended, 0, started.output());
  }
});
