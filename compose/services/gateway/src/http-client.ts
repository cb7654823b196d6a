import type { ServerResponse } from "node:http";
import { type Problem, sendProblem } from "@sealift/service-kit/problem.ts";
import { type Client, ClientGone } from "./client.ts";

/** How long a client may take nothing at all. */
const STALL_MS = 60_000;

/** The client at the other end of `response`. Never more in memory than the socket holds and one piece. */
export function httpClient(response: ServerResponse, requestId: string, stallMs = STALL_MS): Client {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  let sentBytes = 0;
  return {
    gone: gone.signal,
    get status() {
      return response.headersSent ? response.statusCode : 0;
    },
    get sentBytes() {
      return sentBytes;
    },
    refuse: (problem: Problem) => {
      if (!response.destroyed) sendProblem(response, problem, requestId);
    },
    send(status, json) {
      response.writeHead(status, {
        "content-type": "application/json",
        "content-length": json.length,
        "cache-control": "no-store",
      });
      sentBytes += json.length;
      response.end(json);
    },
    begin() {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store" });
      response.flushHeaders();
    },
    write(piece) {
      if (response.destroyed) throw new ClientGone();
      sentBytes += Buffer.byteLength(piece);
      return response.write(piece) ? undefined : drained(response, stallMs);
    },
    end: () => void response.end(),
  };
}

function drained(response: ServerResponse, stallMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const stalled = setTimeout(() => response.destroy(), stallMs);
    const settle = (): void => {
      clearTimeout(stalled);
      response.off("drain", settle);
      response.off("close", settle);
      if (response.destroyed) reject(new ClientGone());
      else resolve();
    };
    response.on("drain", settle);
    response.on("close", settle);
  });
}
