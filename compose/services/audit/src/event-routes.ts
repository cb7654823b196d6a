/**
 * What services append with, over mutual TLS.
 *
 * POST /v1/events: one event, or an array of 1 to 256, at most 1 MiB. 200 `{"entries": [{"id", "index",
 * "leafHash"}]}` in their order, once all are on stable storage; leafHash is RFC 6962's, in base64. An event
 * that is known by its id is answered with the place that it has. Problems: 400 event-malformed, 409
 * event-id-taken, 413 body-too-large, 422 event-version, and 503 audit-unavailable with Retry-After, of
 * which the header `audit-refusal` says whether the disk is full, too much waits, a write failed, or
 * another instance has the log; after any of them the same events may be sent again.
 *
 * GET /v1/versions: `{"current": 1, "accepts": [1, 2]}`, the versions of events.
 */
import type { IncomingMessage } from "node:http";
import { BodyError, readBody } from "@sealift/service-kit/body.ts";
import { type Problem, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import { AppendRefused } from "./audit-log.ts";
import { checkEvent, EVENT_VERSION, EVENT_VERSIONS, EventRefused } from "./event.ts";
import { EventIdTaken, type EventLog } from "./event-log.ts";

const BODY_MAX_BYTES = 1024 * 1024;
const BATCH_MAX = 256;

const PROBLEMS = {
  malformed: { status: 400, name: "event-malformed", title: "An event is not what its version says" },
  idTaken: { status: 409, name: "event-id-taken", title: "Another event has this id" },
  tooLarge: { status: 413, name: "body-too-large", title: "The body has more bytes than are read" },
  version: { status: 422, name: "event-version", title: "Events of this version are not taken" },
  unavailable: { status: 503, name: "audit-unavailable", title: "Events cannot be made durable at the moment" },
} as const satisfies Record<string, Problem>;

/** `serviceOf` names who is at the other end of a request's connection. */
export function eventRoutes(events: EventLog, serviceOf: (request: IncomingMessage) => string | undefined): Route[] {
  return [
    {
      method: "POST",
      path: "/v1/events",
      quiet: true,
      handle: async (exchange) => {
        try {
          await append(exchange, events, serviceOf(exchange.request) ?? "");
        } catch (cause) {
          const problem = problemOf(cause);
          if (!problem) throw cause;
          sendProblem(exchange.response, problem, exchange.requestId);
        }
      },
    },
    {
      method: "GET",
      path: "/v1/versions",
      quiet: true,
      handle: ({ response }) => sendJson(response, 200, { current: EVENT_VERSION, accepts: EVENT_VERSIONS }),
    },
  ];
}

async function append({ request, response }: Exchange, events: EventLog, service: string): Promise<void> {
  const body = parse(await readBody(request, BODY_MAX_BYTES));
  const given = Array.isArray(body) ? body : [body];
  if (given.length === 0 || given.length > BATCH_MAX) throw new EventRefused(`want 1 to ${BATCH_MAX} events`);
  const checked = given.map((event) => checkEvent(event, service));
  const appended = await events.append(checked);
  const entries = appended.map(({ index, leafHash }, i) => ({
    id: checked[i]?.id,
    index,
    leafHash: leafHash.toString("base64"),
  }));
  sendJson(response, 200, { entries });
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new EventRefused("the body is not JSON");
  }
}

function problemOf(cause: unknown): Problem | undefined {
  if (cause instanceof EventRefused) {
    return { ...(cause.isVersion ? PROBLEMS.version : PROBLEMS.malformed), detail: cause.message };
  }
  if (cause instanceof EventIdTaken) return PROBLEMS.idTaken;
  if (cause instanceof BodyError && cause.code === "BODY_TOO_LARGE") {
    return { ...PROBLEMS.tooLarge, headers: { connection: "close" } };
  }
  if (cause instanceof AppendRefused) {
    const headers = { "retry-after": "1", "audit-refusal": cause.reason };
    // The next request must be able to reach the instance that has the log now.
    return {
      ...PROBLEMS.unavailable,
      headers: cause.reason === "closed" ? { ...headers, connection: "close" } : headers,
    };
  }
  return undefined;
}
