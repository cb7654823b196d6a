import { BodyError } from "@sealift/service-kit/body.ts";
import type { Problem } from "@sealift/service-kit/problem.ts";
import { type Call, known } from "../call.ts";
import { readChatRequest } from "../chat-request.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { Gate } from "./gate.ts";

export const REQUEST: Gate = {
  id: "GW-06",
  name: "request",
  promise:
    "A body is read up to a size, strictly, and what the model gets is written anew from that reading: no member that we do not know, no address that something would fetch.",
  owner: "operators: `bodyMaxBytes`, `messagesMax`, `tokensMax`",
  assumes: "the model reads the request as OpenAI's API describes it",
  rows: ["X-07", "X-10", "X-14", "RT-17"],
  problems: [
    GATEWAY_PROBLEMS.bodyTooLarge,
    GATEWAY_PROBLEMS.bodyCut,
    GATEWAY_PROBLEMS.notJson,
    GATEWAY_PROBLEMS.form,
    GATEWAY_PROBLEMS.busy,
  ],
  test: "test/compose/services/gateway/chat-request.test.ts",
  async check(call, { limits }) {
    if (call.operation !== "chat") return undefined;
    const bytes = await bodyOf(call, limits.bodyMaxBytes);
    if (!Buffer.isBuffer(bytes)) return bytes;
    const chat = readChatRequest(bytes, limits);
    if ("status" in chat) return chat;
    call.chat = chat;
    return undefined;
  },
};

async function bodyOf(call: Call, maxBytes: number): Promise<Buffer | Problem> {
  const length = call.bodyLength ?? maxBytes;
  if (length > maxBytes) return GATEWAY_PROBLEMS.bodyTooLarge;
  // Twice: the bytes, and what is made of them.
  if (!known(call.place).reserve(2 * length)) return GATEWAY_PROBLEMS.busy;
  try {
    return await call.readBody(maxBytes);
  } catch (cause) {
    if (!(cause instanceof BodyError)) throw cause;
    return cause.code === "BODY_CUT" ? GATEWAY_PROBLEMS.bodyCut : GATEWAY_PROBLEMS.bodyTooLarge;
  }
}
