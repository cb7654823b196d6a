/** The API for clients: OpenAI's chat completions and models, and what the client's tenant used of them. */
import { readBody } from "@sealift/service-kit/body.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import { Call, type Operation } from "./call.ts";
import { GATES } from "./gates/controls.ts";
import { httpClient } from "./http-client.ts";
import { sourceHmac } from "./records.ts";
import { type ServeMeans, serve } from "./serve.ts";

export function apiRoutes(means: ServeMeans): Route[] {
  const handle =
    (operation: Operation) =>
    async (exchange: Exchange): Promise<void> => {
      await serve(callOf(exchange, operation, means), httpClient(exchange.response, exchange.requestId), GATES, means);
    };
  return [
    { method: "GET", path: "/v1/models", handle: handle("models") },
    { method: "POST", path: "/v1/chat/completions", handle: handle("chat") },
    ...(means.usage ? [{ method: "GET", path: "/v1/usage", handle: handle("usage") } as const] : []),
  ];
}

function callOf({ request, requestId, client }: Exchange, operation: Operation, { context }: ServeMeans): Call {
  const length = request.headers["content-length"];
  return new Call({
    requestId,
    operation,
    authorization: request.headers.authorization,
    source: client && sourceHmac(client.address, context.recordKey),
    bodyLength: length === undefined ? undefined : Number(length),
    readBody: (maxBytes) => readBody(request, maxBytes),
  });
}
