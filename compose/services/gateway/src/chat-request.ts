/**
 * What a client asks of a model, read strictly. The model gets this reading and never the client's bytes, so
 * that no gate sees another request than the model does: one of two members of the same name, a number
 * beyond a double, a member that only the model knows.
 */
import type { Problem } from "@sealift/service-kit/problem.ts";
import { isTooDeep } from "./json-depth.ts";
import { GATEWAY_PROBLEMS } from "./problems.ts";
import { type TextPlace, textPlaces } from "./text-places.ts";

export interface ChatLimits {
  readonly messagesMax: number;
  /** The longest answer, in tokens: asked for by default, and the most that may be asked for. */
  readonly tokensMax: number;
}

export interface ChatRequest {
  readonly model: string;
  readonly stream: boolean;
  /** Whether the client asked for the counts at the end of a stream. The model is always asked. */
  readonly wantsUsage: boolean;
  readonly messages: number;
  /** Every string that goes to the model, its name apart; replacing one changes `body`. */
  readonly texts: readonly TextPlace[];
  /** JSON for the model. */
  body(): Buffer;
}

type Json = Record<string, unknown>;

/** Members that go to the model as they are, with what they must be. */
const PASSED: Readonly<Record<string, (value: unknown) => boolean>> = {
  model: (value) => typeof value === "string" && MODEL.test(value),
  messages: Array.isArray,
  stream: isBoolean,
  stream_options: isObject,
  max_tokens: isCount,
  max_completion_tokens: isCount,
  temperature: isNumber(0, 2),
  top_p: isNumber(0, 1),
  presence_penalty: isNumber(-2, 2),
  frequency_penalty: isNumber(-2, 2),
  seed: Number.isSafeInteger,
  stop: (value) => typeof value === "string" || isStrings(value, 4),
  n: (value) => value === 1,
  response_format: isObject,
  tools: Array.isArray,
  tool_choice: (value) => typeof value === "string" || isObject(value),
  parallel_tool_calls: isBoolean,
  reasoning_effort: (value) => typeof value === "string" && /^[a-z]{1,16}$/.test(value),
};
/** Members of OpenAI's API that say something to its operator only. They end here. */
const DROPPED = new Set(["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"]);
const ROLES = new Set(["system", "developer", "user", "assistant", "tool"]);
const MESSAGE_MEMBERS = new Set(["role", "content", "name", "tool_calls", "tool_call_id", "refusal"]);
const KNOWN_NAMES = new Set([
  ...Object.keys(PASSED),
  ...MESSAGE_MEMBERS,
  "type",
  "text",
  "function",
  "arguments",
  "id",
]);
const MODEL = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/;
const TEXTS_MAX = 4_000;

/** A problem's `detail` names members, which are the client's own words: for the answer only. */
export function readChatRequest(bytes: Buffer, limits: ChatLimits): ChatRequest | Problem {
  const parsed = parseObject(bytes);
  if (!parsed) return GATEWAY_PROBLEMS.notJson;
  const wrong = wrongMember(parsed) ?? wrongMessages(parsed["messages"], limits.messagesMax);
  if (wrong !== undefined) return malformed(wrong);
  const tokens = parsed["max_completion_tokens"] ?? parsed["max_tokens"] ?? limits.tokensMax;
  if ((tokens as number) > limits.tokensMax) {
    return malformed({ param: "max_tokens", detail: `an answer has at most ${limits.tokensMax} tokens` });
  }
  const stream = parsed["stream"] === true;
  const { max_tokens: _, max_completion_tokens: __, stream_options: options, ...rest } = parsed;
  const forModel: Json = { ...rest, max_tokens: tokens, ...(stream && { stream_options: { include_usage: true } }) };
  for (const name of Object.keys(forModel)) if (DROPPED.has(name) || forModel[name] === null) delete forModel[name];
  const model = parsed["model"] as string;
  const { model: ___, ...inspected } = forModel;
  const texts = textPlaces(inspected, KNOWN_NAMES);
  if (texts.length > TEXTS_MAX) return malformed({ detail: `want at most ${TEXTS_MAX} texts in all` });
  return {
    model,
    stream,
    wantsUsage: isObject(options) && options["include_usage"] === true,
    messages: (parsed["messages"] as unknown[]).length,
    texts,
    body: () => Buffer.from(JSON.stringify({ model, ...inspected })),
  };
}

interface Wrong {
  readonly param?: string;
  readonly detail: string;
}

function malformed({ param, detail }: Wrong): Problem {
  return { ...GATEWAY_PROBLEMS.form, detail, ...(param !== undefined && { param }) };
}

function parseObject(bytes: Buffer): Json | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  return isObject(parsed) && !isTooDeep(parsed) ? parsed : undefined;
}

function wrongMember(parsed: Json): Wrong | undefined {
  for (const [name, value] of Object.entries(parsed)) {
    if (DROPPED.has(name) || value === null) continue;
    const check = Object.hasOwn(PASSED, name) ? PASSED[name] : undefined;
    if (!check) return { param: name.slice(0, 64), detail: "this member is not taken" };
    if (!check(value)) return { param: name, detail: "this value is not taken" };
  }
  for (const name of ["model", "messages"]) {
    if (parsed[name] === undefined || parsed[name] === null) return { param: name, detail: "this member is missing" };
  }
  return undefined;
}

function wrongMessages(value: unknown, max: number): Wrong | undefined {
  const messages = value as unknown[];
  const param = "messages";
  if (messages.length === 0 || messages.length > max) return { param, detail: `want 1 to ${max} messages` };
  const wrong = messages.findIndex((message) => !isMessage(message));
  if (wrong === -1) return undefined;
  return {
    param: `messages[${wrong}]`,
    detail: "want a role and text: nothing is fetched, and no picture or file is read",
  };
}

function isMessage(value: unknown): boolean {
  if (!isObject(value) || !ROLES.has(value["role"] as string)) return false;
  if (!Object.keys(value).every((name) => MESSAGE_MEMBERS.has(name))) return false;
  const content = value["content"] ?? "";
  return typeof content === "string" || (Array.isArray(content) && content.every(isTextPart));
}

/** Other parts are an address that the model would fetch, or bytes that cannot be inspected. */
function isTextPart(part: unknown): boolean {
  return (
    isObject(part) && part["type"] === "text" && typeof part["text"] === "string" && Object.keys(part).length === 2
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isNumber(min: number, max: number): (value: unknown) => boolean {
  return (value) => typeof value === "number" && value >= min && value <= max;
}

function isStrings(value: unknown, max: number): boolean {
  return Array.isArray(value) && value.length <= max && value.every((item) => typeof item === "string");
}
