/** What a model answers, inspected piece by piece on its way to the client. */
import type { Principal } from "@sealift/service-kit/principal.ts";
import type { Findings } from "./call.ts";
import { addFindings, type InspectedText, type Inspector } from "./inspector.ts";
import { isTooDeep } from "./json-depth.ts";
import { textPlaces } from "./text-places.ts";

type Json = Record<string, unknown>;

/** What is known of an answer when it is over, or was cut. */
export interface AnswerFacts {
  servedModel: string | undefined;
  inputTokens: number | undefined;
  outputTokens: number | undefined;
  findings: Findings;
}

export function noFacts(): AnswerFacts {
  return { servedModel: undefined, inputTokens: undefined, outputTokens: undefined, findings: {} };
}

/** `code` is fit for a log. */
export class AnswerError extends Error {
  readonly code: "ANSWER_MALFORMED" | "ANSWER_BLOCKED" | "ANSWER_NOT_INSPECTED" | "ANSWER_TOO_LARGE";
  constructor(code: AnswerError["code"]) {
    super(code);
    this.name = "AnswerError";
    this.code = code;
  }
}

export interface AnswerContext {
  readonly principal: Principal;
  readonly inspector: Inspector;
  readonly facts: AnswerFacts;
}

/** A whole answer as JSON, with what has to be replaced replaced. @throws AnswerError */
export async function inspectAnswer(bytes: Buffer, context: AnswerContext): Promise<Buffer> {
  const answer = parseAnswer(bytes.toString("utf8"));
  noteFacts(answer, context.facts);
  const places = textPlaces(answer["choices"], KNOWN_NAMES);
  for (let from = 0; from < places.length; from += TEXTS_AT_ONCE) {
    const some = places.slice(from, from + TEXTS_AT_ONCE);
    const inspected = await inspect(context, some);
    inspected.forEach(({ text }, index) => {
      if (text === undefined) return;
      const replace = some[index]?.replace;
      if (!replace) throw new AnswerError("ANSWER_BLOCKED");
      replace(text);
    });
  }
  const { choices, usage } = answer;
  return Buffer.from(JSON.stringify({ ...frameOf(answer), choices, usage }));
}

/** What the service takes in one question. */
const TEXTS_AT_ONCE = 1_000;
const KNOWN_NAMES = new Set([
  ..."index message delta finish_reason role content refusal reasoning_content logprobs".split(" "),
  ..."tool_calls id type function name arguments".split(" "),
]);
const MODEL = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/;

/** @throws AnswerError */
function parseAnswer(text: string): Json {
  try {
    const parsed: unknown = JSON.parse(text);
    const isAnswer = isObject(parsed) && Array.isArray(parsed["choices"]) && parsed["choices"].every(isObject);
    if (isAnswer && !isTooDeep(parsed)) return parsed;
  } catch {
    // Same as any other thing that is no answer.
  }
  throw new AnswerError("ANSWER_MALFORMED");
}

/** What stands around the choices. A server may add more, and some add the prompt. */
function frameOf({ id, object, created, model, system_fingerprint }: Json): Json {
  return { id, object, created, model, system_fingerprint };
}

/** Of what the model says about itself only what has the right form. */
function noteFacts({ model, usage }: Json, facts: AnswerFacts): void {
  if (typeof model === "string" && MODEL.test(model)) facts.servedModel = model;
  if (!isObject(usage)) return;
  const count = (value: unknown): number | undefined => (Number.isSafeInteger(value) ? (value as number) : undefined);
  facts.inputTokens = count(usage["prompt_tokens"]);
  facts.outputTokens = count(usage["completion_tokens"]);
}

/** @throws AnswerError */
async function inspect(
  { principal, inspector, facts }: AnswerContext,
  texts: readonly { readonly text: string }[],
): Promise<readonly InspectedText[]> {
  const question = { principal, channel: "response", texts: texts.map(windowOf) } as const;
  const inspection = await inspector.inspect(question).catch(() => undefined);
  if (!inspection || inspection.texts.length !== texts.length) throw new AnswerError("ANSWER_NOT_INSPECTED");
  facts.findings = addFindings(facts.findings, inspection.findings);
  if (inspection.decision === "deny") throw new AnswerError("ANSWER_BLOCKED");
  return inspection.texts;
}

function windowOf(text: {
  readonly text: string;
  readonly more?: boolean;
  readonly before?: string;
  readonly running?: string;
}) {
  const { text: window, more, before, running } = text;
  return { text: window, ...(more && { more }), ...(before && { before }), ...(running && { running }) };
}

/** Text of one member of the deltas, as far as it was not released. */
interface Flow {
  pending: string;
  before: string;
  running: string | undefined;
}

/** How much of what was released helps to judge what comes. */
const BEFORE_CHARACTERS = 1024;
/** Members of a delta that are text: they are put together, inspected and taken apart anew. */
const TEXT_MEMBERS = ["content", "refusal", "reasoning_content"] as const;

/**
 * The events of a stream. Text is released as soon as the inspecting service says that what comes later
 * cannot change what it is; everything else is passed on where it stood.
 */
export class AnswerStream {
  readonly #context: AnswerContext;
  readonly #wantsUsage: boolean;
  /** By the member's path. */
  readonly #flows = new Map<string, Flow>();
  #frame: Json = {};

  constructor(context: AnswerContext, wantsUsage: boolean) {
    this.#context = context;
    this.#wantsUsage = wantsUsage;
  }

  /** Payloads as they came → payloads for the client. @throws AnswerError */
  async take(payloads: readonly string[]): Promise<string[]> {
    const out: string[] = [];
    for (const payload of payloads) {
      const event = parseAnswer(payload);
      noteFacts(event, this.#context.facts);
      const { choices, usage } = event;
      this.#frame = frameOf(event);
      const [choice] = choices as Json[];
      if (choice) out.push(...(await this.#takeChoice(choice)));
      if (usage !== undefined && usage !== null && this.#wantsUsage) {
        out.push(JSON.stringify({ ...this.#frame, choices: [], usage }));
      }
    }
    out.push(...(await this.#release(true)));
    return out;
  }

  /** What is left when the model has said everything. @throws AnswerError */
  end(): Promise<string[]> {
    return this.#release(false);
  }

  async #takeChoice({ delta, finish_reason: finish, index }: Json): Promise<string[]> {
    if (index !== 0 || !isObject(delta)) throw new AnswerError("ANSWER_MALFORMED");
    const { rest, texts } = splitDelta(delta);
    const out: string[] = [];
    if (Object.keys(rest).length > 0) {
      // Before the texts of the same event: a tool call is named before its arguments begin.
      out.push(this.#event(rest, null));
    }
    for (const [path, text] of texts) this.#flow(path).pending += text;
    if (finish !== undefined && finish !== null) {
      out.push(...(await this.#release(false)), this.#event({}, finish));
    }
    return out;
  }

  #flow(path: string): Flow {
    const kept = this.#flows.get(path);
    if (kept) return kept;
    if (this.#flows.size >= FLOWS_MAX) throw new AnswerError("ANSWER_MALFORMED");
    const flow = { pending: "", before: "", running: undefined };
    this.#flows.set(path, flow);
    return flow;
  }

  async #release(more: boolean): Promise<string[]> {
    const flows = [...this.#flows].filter(([, { pending, running }]) => pending !== "" || (!more && running));
    if (flows.length === 0) return [];
    const windows = flows.map(([, { pending, before, running }]) => ({
      text: pending,
      more,
      before,
      ...(running !== undefined && { running }),
    }));
    const inspected = await inspect(this.#context, windows);
    return flows.flatMap(([path, flow], index) => {
      const { text, consumed, running } = inspected[index] as InspectedText;
      const passed = flow.pending.slice(0, consumed);
      flow.pending = flow.pending.slice(consumed);
      flow.before = (flow.before + passed).slice(-BEFORE_CHARACTERS);
      flow.running = running;
      const released = text ?? passed;
      return released === "" ? [] : [this.#event(joinDelta(path, released), null)];
    });
  }

  #event(delta: Json, finish: unknown): string {
    return JSON.stringify({ ...this.#frame, choices: [{ index: 0, delta, finish_reason: finish }] });
  }
}

const TOOL_CALLS_MAX = 64;
const FLOWS_MAX = TEXT_MEMBERS.length + TOOL_CALLS_MAX;

/** Paths: `content`, `tool_calls.3`. @throws AnswerError */
function splitDelta(delta: Json): { readonly rest: Json; readonly texts: readonly (readonly [string, string])[] } {
  const rest: Json = {};
  const texts: [string, string][] = [];
  // Whatever else a model adds has not been inspected, and no client asked for it.
  if (delta["role"] === "assistant") rest["role"] = "assistant";
  for (const name of TEXT_MEMBERS) {
    const text = delta[name];
    if (typeof text === "string") texts.push([name, text]);
  }
  const calls = delta["tool_calls"] ?? [];
  if (!Array.isArray(calls)) throw new AnswerError("ANSWER_MALFORMED");
  const heads = calls.flatMap((call: unknown) => splitToolCall(call, texts));
  if (heads.length > 0) rest["tool_calls"] = heads;
  return { rest, texts };
}

/** The head of a call, if this is where it begins; its arguments go to `texts`. @throws AnswerError */
function splitToolCall(call: unknown, texts: [string, string][]): Json[] {
  const { index, id, type, function: called } = isObject(call) ? call : {};
  const { name, arguments: args } = isObject(called) ? called : {};
  const isWord = (value: unknown): boolean => typeof value === "string" && TOOL_WORD.test(value);
  if (!Number.isSafeInteger(index) || (index as number) < 0 || (index as number) >= TOOL_CALLS_MAX) {
    throw new AnswerError("ANSWER_MALFORMED");
  }
  if (typeof args === "string") texts.push([`tool_calls.${index}`, args]);
  if (id === undefined && name === undefined) return [];
  if (![id, name].every(isWord)) throw new AnswerError("ANSWER_MALFORMED");
  return [{ index, id, type: type === undefined ? undefined : "function", function: { name, arguments: "" } }];
}

const TOOL_WORD = /^[A-Za-z0-9_-]{1,64}$/;

function joinDelta(path: string, text: string): Json {
  const [name = "", index] = path.split(".");
  if (index === undefined) return { [name]: text };
  return { tool_calls: [{ index: Number(index), function: { arguments: text } }] };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
