/**
 * The one way out of the gateway: the model's address from the settings and nothing else. No header of a
 * client goes there, and no redirection is followed.
 */
import { Agent, type IncomingMessage, type OutgoingHttpHeaders, request } from "node:http";
import { errorCode } from "@sealift/service-kit/log.ts";
import { isStale, StaleConnection, withoutStale } from "@sealift/service-kit/stale-connection.ts";

export interface UpstreamCall {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly requestId: string;
  /** JSON. */
  readonly body?: Buffer;
  /** Ends the call, wherever it is. */
  readonly signal: AbortSignal;
}

export interface Upstream {
  /** Resolves when the answer's headers are there. @throws UpstreamError */
  send(call: UpstreamCall): Promise<IncomingMessage>;
  close(): void;
}

/** `code` is fit for a log. */
export class UpstreamError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.name = "UpstreamError";
    this.code = code;
  }
}

/** As many as requests are let in (open-api.ts): none waits for a connection. */
const SOCKETS_MAX = 512;
const CONNECT_TIMEOUT_MS = 5_000;

export interface UpstreamOptions {
  readonly origin: URL;
  /** The longest silence: until the answer begins, and between two pieces of it. */
  readonly silenceMs: number;
}

export function openUpstream({ origin, silenceMs }: UpstreamOptions): Upstream {
  const agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX, scheduling: "lifo", timeout: silenceMs });
  const once = (call: UpstreamCall): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers: OutgoingHttpHeaders = { accept: "*/*", "x-request-id": call.requestId };
      if (call.body) {
        headers["content-type"] = "application/json";
        headers["content-length"] = call.body.length;
      }
      const { hostname, port } = origin;
      const { method, path, signal } = call;
      if (signal.aborted) return reject(new UpstreamError("UPSTREAM_STOPPED"));
      const sent = request({ agent, hostname, port, method, path, headers });
      // Not given to the request: Node would watch its every end for it, which costs a fifth of a request.
      const stop = (): void => void sent.destroy(new UpstreamError("UPSTREAM_STOPPED"));
      signal.addEventListener("abort", stop);
      let connecting: NodeJS.Timeout | undefined;
      sent.once("socket", (socket) => {
        if (!socket.connecting) return;
        connecting = setTimeout(() => sent.destroy(new UpstreamError("UPSTREAM_CONNECT_TIMEOUT")), CONNECT_TIMEOUT_MS);
        socket.once("connect", () => clearTimeout(connecting));
      });
      // Of the agent's timeout.
      sent.once("timeout", () => sent.destroy(new UpstreamError("UPSTREAM_SILENT")));
      sent.once("response", resolve);
      sent.once("error", (cause) => {
        if (isStale(sent, cause) && !signal.aborted) reject(new StaleConnection());
        else reject(cause instanceof UpstreamError ? cause : new UpstreamError(errorCode(cause)));
      });
      sent.once("close", () => {
        clearTimeout(connecting);
        signal.removeEventListener("abort", stop);
      });
      sent.end(call.body);
    });
  return {
    send: (call) => withoutStale(() => once(call)),
    close: () => agent.destroy(),
  };
}
