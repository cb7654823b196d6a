/**
 * Error answers as RFC 9457 says: `application/problem+json`, a type that never changes its meaning. The
 * member `error` says the same for clients of OpenAI's API, which look nowhere else.
 */
import type { ServerResponse } from "node:http";

export interface Problem {
  readonly status: number;
  /** The last part of the type's URI. */
  readonly name: string;
  readonly title: string;
  /** What is wrong with this request, for the client alone: never logged. */
  readonly detail?: string;
  /** The member of the body that it is about. */
  readonly param?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const PROBLEMS = {
  badRequest: { status: 400, name: "bad-request", title: "The request is not HTTP that this service reads" },
  notFound: { status: 404, name: "not-found", title: "There is nothing at this address" },
  methodNotAllowed: { status: 405, name: "method-not-allowed", title: "This address does not take this method" },
  requestLate: { status: 408, name: "request-late", title: "The request did not come to its end in time" },
  headersTooLarge: { status: 431, name: "headers-too-large", title: "The request has too many headers" },
  internal: { status: 500, name: "internal", title: "The service failed" },
  notReady: { status: 503, name: "not-ready", title: "The service cannot work at the moment" },
} as const satisfies Record<string, Problem>;

const TYPE_BASE = "https://sealift.dev/problems/";

export function problemBody(problem: Problem, requestId: string): string {
  const { status, name, title, detail } = problem;
  return JSON.stringify({
    type: `${TYPE_BASE}${name}`,
    title,
    status,
    detail,
    instance: requestId,
    error: errorOf(problem),
  });
}

/** What ends a stream of events that had begun: clients of OpenAI's API throw on it. */
export function streamedProblem(problem: Problem): string {
  return JSON.stringify({ error: errorOf(problem) });
}

function errorOf({ status, name, title, detail, param }: Problem) {
  const type = status < 500 ? "invalid_request_error" : "server_error";
  return { message: detail ?? title, type, param: param ?? null, code: name };
}

export function sendProblem(response: ServerResponse, problem: Problem, requestId: string): void {
  const body = problemBody(problem, requestId);
  response.writeHead(problem.status, {
    ...problem.headers,
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}
