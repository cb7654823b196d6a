/**
 * An HTTP server that can be stopped without losing a request.
 *
 * Stopping: no new connection is taken; each answer says `Connection: close`; requests under way end. An
 * idle connection is left open until its client sends once more or the deadline comes, because a client
 * may have sent already when we would close it, and would lose that request.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, Server as NetServer } from "node:net";
import { errorCode, type Log } from "./log.ts";
import { PROBLEMS, problemBody, sendProblem } from "./problem.ts";

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
}

export type Handler = (exchange: Exchange) => void | Promise<void>;

export interface Route {
  readonly method: "GET" | "POST";
  readonly path: string;
  /** Left out of the log when it succeeds: probes would drown everything else. */
  readonly quiet?: boolean;
  readonly handle: Handler;
}

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly routes: readonly Route[];
  readonly log: Log;
  /** How long `stop` waits for connections to end, in milliseconds. */
  readonly drainTimeoutMs: number;
}

export interface RunningServer {
  readonly port: number;
  /** Resolves to whether every connection ended by itself. */
  stop(): Promise<boolean>;
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Longer than clients keep an idle connection, so that it is they who close it. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
const HEADER_MAX_BYTES = 16 * 1024;
const CONNECTIONS_MAX = 4096;

/** Listens; port 0 takes any free port. Rejects if the address cannot be had. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { log } = options;
  const state = { stopping: false };
  const server = createServer({ maxHeaderSize: HEADER_MAX_BYTES }, (request, response) => {
    void answer(request, response, options, state);
  });
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;
  server.maxConnections = CONNECTIONS_MAX;
  server.on("clientError", (cause, socket) => {
    log("warn", "client-error", { code: errorCode(cause) });
    if (!socket.writable) return;
    const body = problemBody(PROBLEMS.badRequest, randomUUID());
    socket.end(
      "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n" +
        `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (cause) => log("error", "server-error", { code: errorCode(cause) }));
  const { port } = server.address() as AddressInfo;
  log("info", "listening", { port });
  return { port, stop: () => stop(server, state, options) };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { routes, log }: ServerOptions,
  state: { readonly stopping: boolean },
): Promise<void> {
  const started = performance.now();
  const given = request.headers["x-request-id"];
  const requestId = typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
  response.setHeader("x-request-id", requestId);
  if (state.stopping) response.shouldKeepAlive = false;
  const path = (request.url ?? "").split("?", 1)[0];
  const here = routes.filter((route) => route.path === path);
  const route = here.find(({ method }) => method === request.method || (method === "GET" && request.method === "HEAD"));
  response.once("close", () => {
    const failed = !response.writableFinished || response.statusCode >= 400;
    if (route?.quiet === true && !failed) return;
    log(response.statusCode >= 500 ? "error" : "info", "request", {
      requestId,
      // The route's own name: an address may hold what somebody wrote.
      route: route?.path ?? "none",
      method: route?.method ?? "other",
      status: response.statusCode,
      complete: response.writableFinished,
      durationMs: Math.round(performance.now() - started),
    });
  });
  try {
    if (route) {
      await route.handle({ request, response, requestId });
    } else if (here.length > 0) {
      const headers = { allow: here.map(({ method }) => (method === "GET" ? "GET, HEAD" : method)).join(", ") };
      sendProblem(response, { ...PROBLEMS.methodNotAllowed, headers }, requestId);
    } else {
      sendProblem(response, PROBLEMS.notFound, requestId);
    }
  } catch (cause) {
    log("error", "handler-failed", { requestId, code: errorCode(cause) });
    if (response.headersSent) response.destroy();
    else sendProblem(response, PROBLEMS.internal, requestId);
  }
}

async function stop(
  server: Server,
  state: { stopping: boolean },
  { log, drainTimeoutMs }: ServerOptions,
): Promise<boolean> {
  state.stopping = true;
  let cut = false;
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(() => {
      cut = true;
      server.closeAllConnections();
    }, drainTimeoutMs);
    // Not http's close(), which also closes idle connections; see above.
    NetServer.prototype.close.call(server, () => {
      clearTimeout(deadline);
      resolve();
    });
  });
  // Now http's own timers; there is no connection left to close.
  server.close();
  log(cut ? "warn" : "info", "stopped", { cut });
  return !cut;
}
