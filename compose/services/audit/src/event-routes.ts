/**
 * What services append with, over mutual TLS.
 *
 * POST /v1/events: one event, or an array of 1 to 256, at most 1 MiB. 200 `{"entries": [{"id", "index",
 * "leafHash"}]}` in their order, once all are on stable storage; leafHash is RFC 6962's, in base64. An event
 * that is known by its id is answered with the place that it has.
 *
 * Beside its members each event has `principal`, a token for this event and no other, which is not kept:
 * service-kit/src/principal.ts; those of CALLERLESS_TYPES have none. The same event may be sent again, with the
 * same token or a new one: as long as the log knows its id it is the duplicate that it is. A token that was
 * used for an event whose id the log does not know any more is a replay.
 *
 * Problems: 400 event-malformed, 401 principal-expired, 403 principal-…, 409 event-id-taken, 413 body-too-large,
 * 422 event-version, 503 principal-busy, and 503 audit-unavailable with Retry-After, of which the header
 * `audit-refusal` says whether the disk is full, too much waits, a write failed, or another instance has the
 * log; after any of them the same events may be sent again.
 *
 * GET /v1/versions: `{"current": 1, "accepts": [1, 2]}`, the versions of events.
 */
import type { IncomingMessage } from "node:http";
import { BodyError, readBody } from "@sealift/service-kit/body.ts";
import type { Log } from "@sealift/service-kit/log.ts";
import { PrincipalRefused, type PrincipalVerifier } from "@sealift/service-kit/principal.ts";
import { type Problem, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import type { SpentPrincipals } from "@sealift/service-kit/spent-principals.ts";
import { AppendRefused } from "./audit-log.ts";
import { checkEvent, EVENT_VERSION, EVENT_VERSIONS, EventRefused } from "./event.ts";
import { EventIdTaken, type EventLog } from "./event-log.ts";
import { checkCaller } from "./event-principal.ts";

const BODY_MAX_BYTES = 1024 * 1024;
const BATCH_MAX = 256;

const PROBLEMS = {
  malformed: { status: 400, name: "event-malformed", title: "An event is not what its version says" },
  idTaken: { status: 409, name: "event-id-taken", title: "Another event has this id" },
  tooLarge: { status: 413, name: "body-too-large", title: "The body has more bytes than are read" },
  version: { status: 422, name: "event-version", title: "Events of this version are not taken" },
  unavailable: { status: 503, name: "audit-unavailable", title: "Events cannot be made durable at the moment" },
} as const satisfies Record<string, Problem>;

export interface EventMeans {
  readonly events: EventLog;
  readonly verifier: PrincipalVerifier;
  readonly spent: SpentPrincipals;
  readonly log: Log;
  /** Who is at the other end of a request's connection. */
  readonly serviceOf: (request: IncomingMessage) => string | undefined;
}

export function eventRoutes(means: EventMeans): Route[] {
  return [
    {
      method: "POST",
      path: "/v1/events",
      quiet: true,
      handle: async (exchange) => {
        try {
          await append(exchange, means);
        } catch (cause) {
          if (cause instanceof PrincipalRefused) {
            means.log("warn", "principal-refused", { requestId: exchange.requestId, code: cause.code });
          }
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

async function append(
  { request, response }: Exchange,
  { events, verifier, spent, serviceOf }: EventMeans,
): Promise<void> {
  const service = serviceOf(request) ?? "";
  const body = parse(await readBody(request, BODY_MAX_BYTES));
  const given = Array.isArray(body) ? body : [body];
  if (given.length === 0 || given.length > BATCH_MAX) throw new EventRefused(`want 1 to ${BATCH_MAX} events`);
  const asked = given.map(withoutPrincipal);
  const checked = asked.map(({ event }) => checkEvent(event, service));
  const principals = asked
    .map(({ event, principal }) => checkCaller(event as Json, principal, service, verifier))
    .filter((principal) => principal !== undefined);
  for (const principal of principals) if (!events.knows(principal.id)) spent.requireUnspent(principal);
  const appended = await events.append(checked);
  // Not before: what was not acknowledged is sent again.
  for (const principal of principals) spent.spend(principal);
  const entries = appended.map(({ index, leafHash }, i) => ({
    id: checked[i]?.id,
    index,
    leafHash: leafHash.toString("base64"),
  }));
  sendJson(response, 200, { entries });
}

type Json = Readonly<Record<string, unknown>>;

function withoutPrincipal(given: unknown): { readonly event: unknown; readonly principal?: unknown } {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return { event: given };
  const { principal, ...event } = given as Json;
  return { event, principal };
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
  if (cause instanceof PrincipalRefused) return cause.problem;
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
