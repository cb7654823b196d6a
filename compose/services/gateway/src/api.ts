/** The API for clients: OpenAI's chat completions and models, as far as a request may reach the model. */
import type { IncomingMessage } from "node:http";
import { BodyError, readBody } from "@sealift/service-kit/body.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { type Problem, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import { GATEWAY_PROBLEMS } from "./problems.ts";
import { ClientGone, relay } from "./relay.ts";
import { type Upstream, UpstreamError } from "./upstream.ts";

const BODY_MAX_BYTES = 1024 * 1024;

export function apiRoutes(upstream: Upstream | undefined, log: Log): Route[] {
  const dispatch = async (exchange: Exchange, path: string): Promise<void> => {
    const { request, response, requestId } = exchange;
    if (!upstream) return sendProblem(response, GATEWAY_PROBLEMS.noModel, requestId);
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const method = request.method === "POST" ? "POST" : "GET";
    try {
      const body = method === "POST" ? await readBody(request, BODY_MAX_BYTES) : undefined;
      const answer = await upstream.send({ method, path, requestId, signal: gone.signal, ...(body && { body }) });
      response.writeHead(answer.statusCode ?? 502, answerHeaders(answer));
      response.flushHeaders();
      await relay(answer, response);
      response.end();
    } catch (cause) {
      log("warn", "call-failed", { requestId, code: errorCode(cause) });
      if (response.headersSent || cause instanceof ClientGone) response.destroy();
      else sendProblem(response, problemOf(cause), requestId);
    }
  };
  return [
    { method: "GET", path: "/v1/models", handle: (exchange) => dispatch(exchange, "/v1/models") },
    { method: "POST", path: "/v1/chat/completions", handle: (exchange) => dispatch(exchange, "/v1/chat/completions") },
  ];
}

function answerHeaders(answer: IncomingMessage): Record<string, string> {
  return { "content-type": answer.headers["content-type"] ?? "application/json", "cache-control": "no-store" };
}

function problemOf(cause: unknown): Problem {
  if (cause instanceof BodyError) return GATEWAY_PROBLEMS.bodyTooLarge;
  if (cause instanceof UpstreamError && cause.code === "UPSTREAM_SILENT") return GATEWAY_PROBLEMS.modelSilent;
  if (cause instanceof UpstreamError) return GATEWAY_PROBLEMS.noModel;
  throw cause;
}
