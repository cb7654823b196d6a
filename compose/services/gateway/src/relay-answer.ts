/** The model's answer on its way to the client. */
import type { IncomingMessage } from "node:http";
import type { Problem } from "@sealift/service-kit/problem.ts";
import { type Call, known } from "./call.ts";
import { type AnswerContext, AnswerError, AnswerStream, inspectAnswer } from "./chat-answer.ts";
import type { Client } from "./client.ts";
import { eventPayloads } from "./events.ts";
import { GATEWAY_PROBLEMS } from "./problems.ts";

/** The model answered with another status than 200. */
export class ModelRefusal extends Error {
  readonly code = "MODEL_REFUSED";
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.name);
    this.name = "ModelRefusal";
    this.problem = problem;
  }
}

/** What the inspecting service takes, with some room for what it needs around the texts. */
const ANSWER_MAX_BYTES = 1536 * 1024;
const REFUSAL_MAX_BYTES = 64 * 1024;
const MESSAGE_MAX_CHARACTERS = 500;

/** Relays a chat's answer whole or as a stream. @throws ModelRefusal, AnswerError, StreamError, ClientGone, or what reading throws */
export async function relayChat(
  call: Call,
  client: Client,
  answer: IncomingMessage,
  context: AnswerContext,
): Promise<void> {
  if (answer.statusCode !== 200) throw new ModelRefusal(await refusalOf(answer, call));
  const { stream, wantsUsage } = known(call.chat);
  const type = stream ? "text/event-stream" : "application/json";
  if (!answer.headers["content-type"]?.startsWith(type)) {
    answer.destroy();
    throw new AnswerError("ANSWER_MALFORMED");
  }
  if (!stream) return client.send(200, await inspectAnswer(await collect(answer, ANSWER_MAX_BYTES, call), context));
  await relayStream(answer, client, new AnswerStream(context, wantsUsage));
}

/** The models that the client may use, of those that there are. @throws ModelRefusal, AnswerError, or what reading throws */
export async function relayModels(call: Call, client: Client, answer: IncomingMessage): Promise<void> {
  if (answer.statusCode !== 200) throw new ModelRefusal(await refusalOf(answer, call));
  const allowed = new Set<unknown>(known(call.login).models);
  const { data } = parse(await collect(answer, ANSWER_MAX_BYTES, call));
  if (!Array.isArray(data)) throw new AnswerError("ANSWER_MALFORMED");
  const models = data.flatMap((model: { readonly id?: unknown; readonly created?: unknown } | null) => {
    if (!allowed.has(model?.id)) return [];
    const created = Number.isSafeInteger(model?.created) ? model?.created : 0;
    return [{ id: model?.id, object: "model", created, owned_by: "appliance" }];
  });
  client.send(200, Buffer.from(JSON.stringify({ object: "list", data: models })));
}

async function relayStream(answer: IncomingMessage, client: Client, stream: AnswerStream): Promise<void> {
  let begun = false;
  const write = async (payloads: readonly string[]): Promise<void> => {
    if (payloads.length === 0) return;
    if (!begun) client.begin();
    begun = true;
    await client.write(payloads.map((payload) => `data: ${payload}\n\n`).join(""));
  };
  // Not destroyed when its end was read: its connection is good for another request.
  const chunks = answer.iterator({ destroyOnReturn: false });
  try {
    for await (const payloads of eventPayloads(chunks)) await write(await stream.take(payloads));
    await write(await stream.end());
    await write(["[DONE]"]);
    client.end();
    answer.resume();
  } catch (cause) {
    answer.destroy();
    throw cause;
  }
}

function collect(answer: IncomingMessage, maxBytes: number, call: Call): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    answer.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes || !known(call.place).reserve(2 * chunk.length)) {
        answer.destroy(new AnswerError("ANSWER_TOO_LARGE"));
      } else {
        chunks.push(chunk);
      }
    });
    answer.once("end", () => resolve(Buffer.concat(chunks)));
    answer.once("error", reject);
    const refuseCut = (): void => {
      if (!answer.readableEnded) reject(new AnswerError("ANSWER_MALFORMED"));
    };
    answer.once("close", refuseCut);
    // It may have been cut while its record was awaited.
    if (answer.destroyed) refuseCut();
  });
}

function parse(bytes: Buffer): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof parsed === "object" && parsed !== null) return parsed as Record<string, unknown>;
  } catch {
    // Same as any other thing that is no answer.
  }
  throw new AnswerError("ANSWER_MALFORMED");
}

async function refusalOf(answer: IncomingMessage, call: Call): Promise<Problem> {
  const { statusCode: status = 0 } = answer;
  const words = await collect(answer, REFUSAL_MAX_BYTES, call)
    .then(messageOf)
    .catch(() => undefined);
  // While llama.cpp loads its model it says 503.
  if (status === 429 || status === 503) return GATEWAY_PROBLEMS.noModel;
  if (status < 400 || status > 499) return GATEWAY_PROBLEMS.modelFailed;
  return { ...GATEWAY_PROBLEMS.modelRefused, ...(words !== undefined && { detail: words }) };
}

/** What the model says is wrong, for the client whose words it may repeat. */
function messageOf(bytes: Buffer): string | undefined {
  const { error } = parse(bytes);
  const message = typeof error === "object" && error !== null && "message" in error ? error.message : undefined;
  return typeof message === "string" ? message.slice(0, MESSAGE_MAX_CHARACTERS) : undefined;
}
