/**
 * The way of a request: through the gates, its decision recorded, to the model and back, its end recorded.
 *
 * Recording and asking the model overlap; the answer waits for both. What cannot be recorded gets no answer.
 */
import type { IncomingMessage } from "node:http";
import type { AuditEvent } from "@sealift/service-kit/audit-client.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { PROBLEMS, type Problem, streamedProblem } from "@sealift/service-kit/problem.ts";
import { type Call, known, type Refusal } from "./call.ts";
import { AnswerError, type AnswerFacts, noFacts } from "./chat-answer.ts";
import { type Client, ClientGone } from "./client.ts";
import type { Login } from "./database/database.ts";
import type { UsageLine, UsedTokens } from "./database/usage.ts";
import type { Gate, GateMeans } from "./gates/gate.ts";
import { GATEWAY_PROBLEMS } from "./problems.ts";
import { decisionRecord, type RecordContext, type Recorder, type Settlement, settlementRecord } from "./records.ts";
import type { RefusalThrottle } from "./refusal-throttle.ts";
import { ModelRefusal, relayChat, relayModels } from "./relay-answer.ts";
import type { Settlements } from "./settlements.ts";
import { type Upstream, UpstreamError } from "./upstream.ts";

export interface ServeMeans extends GateMeans {
  readonly recorder: Recorder;
  /** For refusals of requests that did not get a place. */
  readonly refusals: RefusalThrottle;
  readonly settlements: Settlements;
  readonly upstream: Upstream;
  /** Only in a release whose schema has it. */
  readonly usage?: Usage;
  readonly context: RecordContext;
  readonly log: Log;
}

/** What keys used of models, summed by day. */
export interface Usage {
  add(login: Login, model: string, tokens: UsedTokens): void;
  /** The tenant's sums of the last days. */
  read(login: Login): Promise<readonly UsageLine[]>;
}

/** How a request ended. */
export interface Served {
  readonly outcome: Settlement["outcome"] | "refused-by-gate";
  readonly control?: string;
}

/** Answers `client` in any case. Rejects on nothing but a fault of its own. */
export async function serve(call: Call, client: Client, gates: readonly Gate[], means: ServeMeans): Promise<Served> {
  const started = performance.now();
  try {
    const refusal = await firstRefusal(call, gates, means);
    const unrecorded = refusal && !call.place ? means.refusals.admit(call.login?.keyId ?? "nobody") : 0;
    if (refusal && unrecorded === undefined) {
      client.refuse(refusal.problem);
      return { outcome: "refused-by-gate", control: refusal.control };
    }
    const forModel = call.chat?.body();
    const decision = record(call, decisionRecord(call, { refusal, forModel, unrecorded }, means.context), means);
    if (refusal) {
      client.refuse((await isRecorded(decision, call, means)) ? refusal.problem : GATEWAY_PROBLEMS.audit);
      return { outcome: "refused-by-gate", control: refusal.control };
    }
    const facts = noFacts();
    const outcome =
      call.operation === "usage"
        ? await tellUsage(call, client, decision, means)
        : await dispatch(call, client, forModel, decision, facts, means);
    if (call.chat && outcome !== "not-recorded" && outcome !== "refused") addUsage(call, call.chat.model, facts, means);
    const durationMs = Math.round(performance.now() - started);
    const { status, sentBytes: answerBytes } = client;
    if (outcome !== "not-recorded") {
      const settled = settlementRecord(call, { outcome, status, answerBytes, durationMs, ...facts });
      means.settlements.add(settled, call.principal);
    }
    return { outcome };
  } finally {
    call.release();
  }
}

async function firstRefusal(call: Call, gates: readonly Gate[], means: ServeMeans): Promise<Refusal | undefined> {
  for (const gate of gates) {
    let problem: Problem | undefined;
    try {
      problem = await gate.check(call, means);
    } catch (cause) {
      means.log("error", "gate-failed", { requestId: call.requestId, control: gate.id, code: errorCode(cause) });
      problem = PROBLEMS.internal;
    }
    if (problem) return { control: gate.id, gate: gate.name, problem };
  }
  return undefined;
}

/** Nothing is begun whose end could not be recorded. */
function record(call: Call, decision: AuditEvent, { recorder, settlements }: ServeMeans): Promise<unknown> {
  return settlements.hasRoom
    ? recorder.append(decision, call.principal)
    : Promise.reject(new Error("settlements wait"));
}

function isRecorded(decision: Promise<unknown>, { requestId }: Call, { log }: ServeMeans): Promise<boolean> {
  return decision.then(
    () => true,
    (cause) => {
      log("error", "decision-not-recorded", { requestId, code: errorCode(cause) });
      return false;
    },
  );
}

async function dispatch(
  call: Call,
  client: Client,
  body: Buffer | undefined,
  decision: Promise<unknown>,
  facts: AnswerFacts,
  means: ServeMeans,
): Promise<Settlement["outcome"]> {
  const { requestId, operation } = call;
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  client.gone.addEventListener("abort", abort);
  if (client.gone.aborted) abort();
  decision.catch(abort);
  const asked = means.upstream.send({
    method: body ? "POST" : "GET",
    path: operation === "chat" ? "/v1/chat/completions" : "/v1/models",
    requestId,
    signal: stop.signal,
    ...(body && { body }),
  });
  try {
    const [isDurable, answer] = await Promise.all([isRecorded(decision, call, means), outcomeOf(asked)]);
    if (!isDurable) {
      if ("answer" in answer) answer.answer.destroy();
      client.refuse(GATEWAY_PROBLEMS.audit);
      return "not-recorded";
    }
    if ("failure" in answer) throw answer.failure;
    await relay(call, client, answer.answer, facts, means);
    return "answered";
  } catch (cause) {
    return endBadly(cause, call, client, means);
  } finally {
    client.gone.removeEventListener("abort", abort);
  }
}

async function tellUsage(
  call: Call,
  client: Client,
  decision: Promise<unknown>,
  means: ServeMeans,
): Promise<Settlement["outcome"]> {
  const [isDurable, lines] = await Promise.all([
    isRecorded(decision, call, means),
    known(means.usage)
      .read(known(call.login))
      .catch((cause: unknown) => {
        means.log("warn", "usage-not-read", { requestId: call.requestId, code: errorCode(cause) });
        return undefined;
      }),
  ]);
  if (!isDurable || !lines) {
    client.refuse(isDurable ? PROBLEMS.notReady : GATEWAY_PROBLEMS.audit);
    return isDurable ? "refused" : "not-recorded";
  }
  const data = lines.map(({ day, keyId, model, requests, inputTokens, outputTokens }) => ({
    day,
    key: keyId,
    model,
    requests,
    input_tokens: inputTokens,
    output_tokens: outputTokens,
  }));
  client.send(200, Buffer.from(JSON.stringify({ object: "list", data })));
  return "answered";
}

/** Also of an answer that was cut short; what the model did not tell counts as nothing. */
function addUsage(call: Call, model: string, { inputTokens, outputTokens }: AnswerFacts, { usage }: ServeMeans): void {
  usage?.add(known(call.login), model, { inputTokens: inputTokens ?? 0, outputTokens: outputTokens ?? 0 });
}

type Asked = { readonly answer: IncomingMessage } | { readonly failure: unknown };

function outcomeOf(asked: Promise<IncomingMessage>): Promise<Asked> {
  return asked.then(
    (answer) => ({ answer }),
    (failure: unknown) => ({ failure }),
  );
}

function relay(
  call: Call,
  client: Client,
  answer: IncomingMessage,
  facts: AnswerFacts,
  { inspector }: ServeMeans,
): Promise<void> {
  if (call.operation === "models") return relayModels(call, client, answer);
  return relayChat(call, client, answer, { principal: known(call.principal), inspector, facts });
}

function endBadly(cause: unknown, { requestId }: Call, client: Client, { log }: ServeMeans): Settlement["outcome"] {
  if (client.gone.aborted || cause instanceof ClientGone) {
    log("info", "client-gone", { requestId });
    return "client-gone";
  }
  const problem = problemOf(cause);
  log("warn", "answer-failed", { requestId, code: errorCode(cause), problem: problem.name });
  if (client.status === 0) {
    client.refuse(problem);
  } else {
    // No `[DONE]`: the client must not take what it got for the whole.
    try {
      void client.write(`data: ${streamedProblem(problem)}\n\n`)?.catch(() => {});
    } catch {
      // It went away meanwhile.
    }
    client.end();
  }
  if (cause instanceof AnswerError && cause.code === "ANSWER_BLOCKED") return "answer-blocked";
  return cause instanceof ModelRefusal && problem.status < 500 ? "refused" : "model-failed";
}

function problemOf(cause: unknown): Problem {
  if (cause instanceof ModelRefusal) return cause.problem;
  if (cause instanceof AnswerError && cause.code === "ANSWER_BLOCKED") return GATEWAY_PROBLEMS.personalDataOut;
  if (cause instanceof AnswerError && cause.code === "ANSWER_NOT_INSPECTED") return GATEWAY_PROBLEMS.pii;
  if (cause instanceof UpstreamError && cause.code === "UPSTREAM_SILENT") return GATEWAY_PROBLEMS.modelSilent;
  if (cause instanceof UpstreamError) return GATEWAY_PROBLEMS.noModel;
  return GATEWAY_PROBLEMS.modelFailed;
}
