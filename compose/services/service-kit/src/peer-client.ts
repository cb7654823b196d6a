/** Asking another service of the appliance: JSON over mutual TLS, on few connections that stay. */
import { type Agent, request } from "node:https";
import { errorCode } from "./log.ts";
import { isStale, StaleConnection, withoutStale } from "./stale-connection.ts";

/** `code` is fit for a log. */
export class PeerError extends Error {
  readonly code: string;
  /** The answer's status, if there was one. */
  readonly status: number | undefined;
  constructor(code: string, status?: number) {
    super(code);
    this.name = "PeerError";
    this.code = code;
    this.status = status;
  }
}

export interface PeerOptions {
  /** From `Identity.agent`: it decides who is believed to answer. */
  readonly agent: Agent;
  readonly origin: URL;
  /** For a whole exchange. */
  readonly timeoutMs: number;
  readonly answerMaxBytes: number;
}

export interface Peer {
  /** A Buffer is JSON already. The answer's body, if its status is 200. May be asked twice, where a kept connection was closed. @throws PeerError */
  post(path: string, body: unknown, requestId: string): Promise<unknown>;
  close(): void;
}

export function openPeer({ agent, origin, timeoutMs, answerMaxBytes }: PeerOptions): Peer {
  const once = (path: string, body: Buffer, requestId: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = origin;
      const headers = { "content-type": "application/json", "content-length": body.length, "x-request-id": requestId };
      const sent = request({ agent, hostname, port, method: "POST", path, headers });
      const late = setTimeout(() => sent.destroy(new PeerError("PEER_LATE")), timeoutMs);
      sent.once("close", () => clearTimeout(late));
      sent.once("error", (cause) => {
        if (isStale(sent, cause)) reject(new StaleConnection());
        else reject(cause instanceof PeerError ? cause : new PeerError(errorCode(cause)));
      });
      sent.once("response", (answer) => {
        const chunks: Buffer[] = [];
        let length = 0;
        answer.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length <= answerMaxBytes) {
            chunks.push(chunk);
            return;
          }
          const tooLarge = new PeerError("PEER_ANSWER_TOO_LARGE");
          reject(tooLarge);
          sent.destroy(tooLarge);
        });
        answer.once("error", (cause) => reject(cause instanceof PeerError ? cause : new PeerError(errorCode(cause))));
        answer.once("end", () => {
          if (answer.statusCode !== 200) return reject(new PeerError("PEER_REFUSED", answer.statusCode));
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString("utf8")));
          } catch {
            reject(new PeerError("PEER_ANSWER_MALFORMED"));
          }
        });
      });
      sent.end(body);
    });
  return {
    post(path, body, requestId) {
      const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
      return withoutStale(() => once(path, bytes, requestId));
    },
    close: () => agent.destroy(),
  };
}
