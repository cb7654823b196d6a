/**
 * What a request through the gateway costs at the least: each step that its guarantees need, by itself, compiled,
 * with nothing else under way, the least of some rounds. To it comes what a raw pass-through takes for the same
 * request (gateway.ts, which runs before this). Says what the machine could do if no core ever waited, nothing was
 * ever collected and all 32 connections' requests went together each time: gateway.ts cannot come out better.
 *
 * Prints what it writes to test/evidence/bench-gateway-steps.json.
 */
import { createHmac, randomUUID } from "node:crypto";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { checkEvent } from "../../compose/services/audit/src/event.ts";
import { leafHash } from "../../compose/services/audit/src/merkle.ts";
import { type ChatRequest, readChatRequest } from "../../compose/services/gateway/src/chat-request.ts";
import { answerScan } from "../../compose/services/pii/src/pii.ts";
import { BUILT_IN_POLICY } from "../../compose/services/pii/src/policy.ts";
import { parseScanRequest } from "../../compose/services/pii/src/scan-request.ts";
import { readBody } from "../../compose/services/service-kit/src/body.ts";
import { openPeer } from "../../compose/services/service-kit/src/peer-client.ts";
import { PrincipalVerifier } from "../../compose/services/service-kit/src/principal.ts";
import { startServer } from "../../compose/services/service-kit/src/server.ts";
import { testIdentities } from "../support/test-identities.ts";
import { PRINCIPAL, principalKey, testSigner } from "../support/test-principals.ts";

const ROUNDS = 8;
const ROUND_MS = 150;
/** Requests under way, all in one batch. */
const TOGETHER = 32;
const evidence = new URL("../evidence/", import.meta.url);

const prompt = "The quick brown fox jumps over the lazy dog. ".repeat(20);
const messages = [
  { role: "system", content: "You answer briefly." },
  { role: "user", content: prompt },
];
const body = Buffer.from(JSON.stringify({ model: "small", messages, max_tokens: 64 }));
const answer = Buffer.from(
  JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    model: "small",
    choices: [{ index: 0, message: { role: "assistant", content: "word ".repeat(40) }, finish_reason: "stop" }],
    usage: { prompt_tokens: 200, completion_tokens: 40, total_tokens: 240 },
  }),
);
const signer = testSigner("audit");
const token = signer.sign(PRINCIPAL, randomUUID());
const verifier = new PrincipalVerifier("audit", [principalKey("audit")]);
const recordKey = Buffer.alloc(32, 1);
const promptHmac = (): string => createHmac("sha256", recordKey).update(body).digest("hex");
const event = {
  v: 1,
  id: randomUUID(),
  ts: new Date().toISOString(),
  service: "gateway",
  type: "request.allowed",
  requestId: PRINCIPAL.requestId,
  tenant: PRINCIPAL.tenant,
  actor: PRINCIPAL.actor,
  key: randomUUID(),
  role: PRINCIPAL.role,
  operation: "chat",
  release: "1.0.0",
  policy: promptHmac(),
  model: "small",
  stream: false,
  messages: 2,
  bytes: body.length,
  promptHmac: promptHmac(),
};
const questionOf = (texts: readonly string[]) => ({
  requestId: PRINCIPAL.requestId,
  tenant: PRINCIPAL.tenantName,
  principal: token,
  channel: "request",
  texts: texts.map((text, index) => ({ id: String(index), text })),
});
const questions = Array.from({ length: TOGETHER }, (_, index) =>
  questionOf(index % 2 === 0 ? messages.map(({ content }) => content) : ["assistant", "word ".repeat(40)]),
);

const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-steps-"));
const identities = testIdentities(scratch);
const server = await startServer({
  host: "127.0.0.1",
  port: 0,
  tls: (await identities.open("audit")).serverOptions(["gateway"]),
  drainTimeoutMs: 0,
  log: () => {},
  routes: [
    {
      method: "POST",
      path: "/",
      quiet: true,
      handle: async ({ request, response }) => {
        await readBody(request, 1024 * 1024);
        response.end("{}");
      },
    },
  ],
});
const peer = openPeer({
  agent: (await identities.open("gateway")).agent("audit", { keepAlive: true }),
  origin: new URL(`https://127.0.0.1:${server.port}`),
  timeoutMs: 10_000,
  answerMaxBytes: 1024,
});
const batch = Buffer.alloc(TOGETHER * (JSON.stringify(event).length + token.length), "a");
const segment = openSync(join(scratch, "segment"), constants.O_CREAT | constants.O_WRONLY | constants.O_DSYNC);
const frame = Buffer.alloc(TOGETHER * JSON.stringify(event).length);

interface Step {
  /** A request. */
  readonly times: number;
  readonly run: () => unknown;
}

const STEPS: Readonly<Record<string, Step>> = {
  "principal signed": { times: 4, run: () => signer.sign(PRINCIPAL, event.id) },
  "principal verified": { times: 4, run: () => verifier.verify(token, "gateway") },
  "request read strictly, and written for the model": {
    times: 1,
    run: () => (readChatRequest(body, { messagesMax: 256, tokensMax: 4096 }) as ChatRequest).body(),
  },
  "keyed hash of the prompt": { times: 1, run: promptHmac },
  "answer read, and written anew": { times: 1, run: () => Buffer.from(JSON.stringify(JSON.parse(answer.toString()))) },
  "question written, read, scanned, answered": {
    times: 2 / TOGETHER,
    run: async () => {
      const asked = parseScanRequest(Buffer.from(JSON.stringify(questions)));
      return JSON.parse(JSON.stringify(await answerScan(asked, { policy: BUILT_IN_POLICY, digest: "built-in" })));
    },
  },
  "event written, checked, hashed": {
    times: 2,
    run: () => leafHash(checkEvent(JSON.parse(JSON.stringify(event)), "gateway").entry),
  },
  "exchange over mutual TLS, both sides": { times: 4 / TOGETHER, run: () => peer.post("/", batch, "request-1") },
  "durable write": { times: 2 / TOGETHER, run: () => writeSync(segment, frame, 0, frame.length, 0) },
};

/** The least of all rounds, in microseconds of processor. */
async function leastUs({ run }: Step): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = process.cpuUsage();
    let runs = 0;
    for (const end = performance.now() + ROUND_MS; performance.now() < end; runs += 1) await run();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / runs);
  }
  return least;
}

const round = (value: number): number => Math.round(value * 100) / 100;

interface Measured {
  readonly requestsPerSecond: number;
  readonly processorUsOfAll: number;
}

const stepsUs: Record<string, number> = {};
for (const [name, step] of Object.entries(STEPS)) stepsUs[name] = round((await leastUs(step)) * step.times);
const { goals, ...bench } = JSON.parse(readFileSync(new URL("bench-gateway.json", evidence), "utf8")) as {
  readonly goals: Readonly<Record<string, number>>;
} & Readonly<Record<"model that answers at once", Readonly<Record<string, Measured>>>>;
const measured = bench["model that answers at once"];
const passThroughUs = measured["pass-through"]?.processorUsOfAll ?? Number.NaN;
const leastOfAllUs = round(passThroughUs + Object.values(stepsUs).reduce((sum, us) => sum + us, 0));
const result = {
  commit: (JSON.parse(readFileSync(new URL("bench-gateway.json", evidence), "utf8")) as { commit: string }).commit,
  cores: availableParallelism(),
  "processor microseconds a request": { "raw pass-through, with load and model": passThroughUs, ...stepsUs },
  leastOfAllUs,
  requestsPerSecondAtMost: round((availableParallelism() * 1e6) / leastOfAllUs),
  "processor microseconds that a goal leaves": Object.fromEntries(
    Object.entries(goals).map(([name, goal]) => {
      const { requestsPerSecond = Number.NaN } = measured[name] ?? {};
      return [name, round((availableParallelism() * 1e6) / (goal * requestsPerSecond))];
    }),
  ),
};
peer.close();
await server.stop();
closeSync(segment);
rmSync(scratch, { recursive: true, force: true });
writeFileSync(new URL("bench-gateway-steps.json", evidence), `${JSON.stringify(result, null, 2)}\n`);
console.log(JSON.stringify(result, null, 2));
