/**
 * An HTTP server that can be stopped without losing a request.
 *
 * Stopping: no new connection is taken; each answer says `Connection: close`; requests under way end. An
 * idle connection is left open until its client sends once more or the deadline comes, because a client
 * may have sent already when we would close it, and would lose that request.
 */
import { randomUUID } from "node:crypto";
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { type AddressInfo, Server as NetServer } from "node:net";
import type { SecureContextOptions, TLSSocket, TlsOptions } from "node:tls";
import { Connections } from "./connections.ts";
import type { PeerTls } from "./identity.ts";
import { createListener, isTls, type Listener, serverTls, type Timeouts } from "./listener.ts";
import { errorCode, type Log } from "./log.ts";
import { PROBLEMS, type Problem, problemBody, sendProblem } from "./problem.ts";
import type { ClientAddress } from "./proxy-protocol.ts";
import { headersProblem } from "./request-headers.ts";

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** Where the request comes from, if the front told it. Personal data: never into a log as it is. */
  readonly client: ClientAddress | undefined;
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
  /** Whether each connection begins with a PROXY protocol header; one without it is refused. */
  readonly proxied?: boolean;
  /** Plain HTTP without it. At least TLS 1.2; with an identity's options only for the services that it allows. */
  readonly tls?: TlsOptions | PeerTls;
  /** Added to every answer, also to one to bytes that are no HTTP. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Others than those in listener.ts, for tests. */
  readonly timeouts?: Partial<Timeouts>;
}

export interface RunningServer {
  readonly port: number;
  /** TLS only: for new connections; the old ones stay as they are. Throws if OpenSSL refuses it. */
  useCertificate(context: SecureContextOptions): void;
  /** Resolves to whether every connection ended by itself. */
  stop(): Promise<boolean>;
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** What an answer needs to know of the server at its moment. */
interface Moment {
  readonly stopping: boolean;
  readonly client: ClientAddress | undefined;
}

/** Listens; port 0 takes any free port. Rejects if the address cannot be had or the certificate is bad. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { log, proxied = false } = options;
  let stopping = false;
  const underWay = new Set<ServerResponse>();
  const server = createListener(
    options.tls,
    (request, response) => {
      underWay.add(response);
      response.once("close", () => underWay.delete(response));
      void answer(request, response, options, { stopping, client: connections.client(request.socket) });
    },
    options.timeouts,
  );
  const connections = new Connections(server, proxied, log);
  server.on("clientError", (cause, socket) => {
    log("warn", "client-error", { code: errorCode(cause) });
    // In the midst of an answer another one would look like a part of it.
    const answering = [...underWay].some(({ req }) => req.socket === socket);
    if (answering || !socket.writable) socket.destroy();
    else socket.end(answerWithoutRequest(problemOf(cause), options.headers ?? {}));
  });
  server.on("tlsClientError", (cause: Error, { authorizationError }: TLSSocket) => {
    // Without it, a refused certificate is only a connection that was reset.
    const certificate = authorizationError ? String(authorizationError) : undefined;
    log("warn", "tls-client-error", { code: errorCode(cause), certificate });
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
  log("info", "listening", { port, tls: options.tls !== undefined, proxied });
  return {
    port,
    useCertificate: (context) => {
      if (isTls(server)) server.setSecureContext({ ...serverTls(options.tls ?? {}), ...context });
    },
    stop: () => {
      stopping = true;
      // Those that come later are told when they come.
      for (const response of underWay) if (!response.headersSent) response.shouldKeepAlive = false;
      return stop(server, connections, options);
    },
  };
}

/** Why Node's parser gave a request up. */
function problemOf(cause: Error): Problem {
  const code = errorCode(cause);
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return PROBLEMS.requestLate;
  return code === "HPE_HEADER_OVERFLOW" ? PROBLEMS.headersTooLarge : PROBLEMS.badRequest;
}

function answerWithoutRequest(problem: Problem, headers: Readonly<Record<string, string>>): string {
  const body = problemBody(problem, randomUUID());
  const lines = Object.entries({
    ...headers,
    "content-type": "application/problem+json",
    connection: "close",
    "content-length": Buffer.byteLength(body),
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join("")}\r\n${body}`;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { routes, log, headers }: ServerOptions,
  { stopping, client }: Moment,
): Promise<void> {
  const started = performance.now();
  const given = request.headers["x-request-id"];
  const requestId = typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
  for (const name in headers) response.setHeader(name, headers[name] ?? "");
  response.setHeader("x-request-id", requestId);
  if (stopping) response.shouldKeepAlive = false;
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
  const problem = headersProblem(request.rawHeaders);
  try {
    if (problem) {
      sendProblem(response, problem, requestId);
    } else if (route) {
      await route.handle({ request, response, requestId, client });
    } else if (here.length > 0) {
      const allow = { allow: here.map(({ method }) => (method === "GET" ? "GET, HEAD" : method)).join(", ") };
      sendProblem(response, { ...PROBLEMS.methodNotAllowed, headers: allow }, requestId);
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
  server: Listener,
  connections: Connections,
  { log, drainTimeoutMs }: ServerOptions,
): Promise<boolean> {
  let cut = false;
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(() => {
      cut = true;
      connections.destroyAll();
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
