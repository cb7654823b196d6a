/**
 * Asks the installed release what it offers and shows that: health, then its API for clients if it has one.
 * What it does not offer is told as not shown; what it offers and does not keep is a failure.
 */
import { plain } from "../../bundles/model/plain-text.ts";
import { type Answer, ask, type Front, type Question } from "./client.ts";
import { demoError } from "./error.ts";
import type { Story } from "./story.ts";

export interface Offer {
  readonly release: string;
  /** Undefined if there is no API for clients. */
  readonly model: string | undefined;
  /** The answer of GET /v1/usage, if there is an API. */
  readonly usageStatus: number | undefined;
}

export interface Asked {
  readonly offer: Offer;
  readonly proven: readonly string[];
  readonly notShown: readonly string[];
}

const HEALTH_MS = 10_000;
/** A model on a small machine thinks. */
const CHAT_MS = 120_000;
const SHOWN_CHARACTERS = 48;
const USAGE_MAX_LENGTH = 300;
const PROMPT = "Say hello to the people on the other side.";
/** A number that card schemes keep for tests; its check digit is right. */
const PROMPT_WITH_CARD = "Please charge my card 4111 1111 1111 1111 for it.";

export async function askRelease(story: Story, front: Front, key: string | undefined): Promise<Asked> {
  const question = asker(story, front);
  const health = await question({ path: "/healthz" }, HEALTH_MS);
  const release = String(health.headers["sealift-release"] ?? "");
  require(health.status === 200, `GET /healthz: status ${health.status}`);
  story.fact(`release ${release} answers through the front, in ${health.milliseconds} ms`);
  const nothing = (why: string): Asked => ({
    offer: { release, model: undefined, usageStatus: undefined },
    proven: [],
    notShown: [`a governed chat completion: ${why}`],
  });
  const models = await question({ path: "/v1/models", key }, HEALTH_MS);
  if (models.status === 404) {
    story.fact("it has no API for clients: nothing more is shown of it");
    return nothing("the release that was installed offers no API for clients");
  }
  if (key === undefined) return nothing("install showed no API key");
  require(models.status === 200, `GET /v1/models: status ${models.status}: ${models.text.slice(0, 300)}`);
  const model = firstModel(models);
  require(model !== undefined, "GET /v1/models: no model");
  story.fact(`with its key, this client may use the model ${model}`);
  const bare = await question({ path: "/v1/models" }, HEALTH_MS);
  require(bare.status === 401, `GET /v1/models without a key: got status ${bare.status}, want 401`);
  story.fact("without a key: 401");
  await showChat(story, question, key, model as string);
  await showRefusal(story, question, key, model as string);
  const usage = await question({ path: "/v1/usage", key }, HEALTH_MS);
  story.fact(
    usage.status === 200 ? `what was used: ${usageText(usage)}` : `${release} has no such thing (${usage.status})`,
  );
  return {
    offer: { release, model, usageStatus: usage.status },
    proven: [
      "a chat completion comes back streamed to who has a key; without one there is none",
      "a prompt with a payment card's number in it is refused",
    ],
    notShown: [],
  };
}

function usageText({ text }: Answer): string {
  return text.trim().slice(0, USAGE_MAX_LENGTH);
}

type Asker = (question: Question, withinMs: number) => Promise<Answer>;

function asker(story: Story, front: Front): Asker {
  return async (question, withinMs) => {
    const method = question.body === undefined ? "GET" : "POST";
    const note = question.key === undefined ? "" : ", with the key";
    story.explain(`${method} ${front.address}${question.path}${note}`);
    return ask(front, question, withinMs);
  };
}

async function showChat(story: Story, question: Asker, key: string, model: string): Promise<void> {
  const answer = await question({ path: "/v1/chat/completions", key, body: chat(model, PROMPT) }, CHAT_MS);
  require(answer.status === 200, `chat completion: status ${answer.status}: ${answer.text.slice(0, 300)}`);
  const events = answer.text.split("\n\n").filter((event) => event.startsWith("data: "));
  require(events.at(-1) === "data: [DONE]", "chat completion: the stream has no end");
  const said = events.slice(0, -1).map(contentOf).join("");
  story.fact(`streamed in ${events.length} events within ${answer.milliseconds} ms: ${shown(said)}`);
}

async function showRefusal(story: Story, question: Asker, key: string, model: string): Promise<void> {
  const answer = await question({ path: "/v1/chat/completions", key, body: chat(model, PROMPT_WITH_CARD) }, CHAT_MS);
  require(answer.status === 422, `a prompt with a card's number: got status ${answer.status}, want 422`);
  const { title } = JSON.parse(answer.text) as { readonly title?: unknown };
  story.fact(`a prompt with a (test) card's number in it: 422, ${plain(String(title ?? ""))}`);
}

export function chat(model: string, content: string): unknown {
  return { model, stream: true, max_tokens: 16, messages: [{ role: "user", content }] };
}

function contentOf(event: string): string {
  const { choices } = JSON.parse(event.slice("data: ".length)) as {
    readonly choices?: readonly { readonly delta?: { readonly content?: unknown } }[];
  };
  const content = choices?.[0]?.delta?.content;
  return typeof content === "string" ? content : "";
}

/** Random weights say anything at all. */
function shown(text: string): string {
  const short = [...text].slice(0, SHOWN_CHARACTERS).join("");
  return `${JSON.stringify(plain(short))}${short === text ? "" : "…"}`;
}

function firstModel({ text }: Answer): string | undefined {
  const { data } = JSON.parse(text) as { readonly data?: readonly { readonly id?: unknown }[] };
  const id = data?.[0]?.id;
  return typeof id === "string" ? id : undefined;
}

function require(holds: boolean, otherwise: string): void {
  if (!holds) throw demoError("DEMO_STEP_FAILED", otherwise);
}
