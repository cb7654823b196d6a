/** Asking another service of the appliance: JSON over mutual TLS, on few connections that stay. */
import { type Agent, request } from "node:https";
import { errorCode } from "./log.ts";

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
  /** The answer's body, if its status is 200. @throws PeerError */
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
        const stale = sent.reusedSocket && errorCode(cause) === "ECONNRESET";
        if (stale) return reject(new StaleConnection());
        reject(cause instanceof PeerError ? cause : new PeerError(errorCode(cause)));
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
    async post(path, body, requestId) {
      const bytes = Buffer.from(JSON.stringify(body));
      for (;;) {
        try {
          return await once(path, bytes, requestId);
        } catch (cause) {
          // The peer closed a kept connection just as we wrote to it; a fresh one cannot be stale.
          if (!(cause instanceof StaleConnection)) throw cause;
        }
      }
    },
    close: () => agent.destroy(),
  };
}

class StaleConnection extends Error {}
