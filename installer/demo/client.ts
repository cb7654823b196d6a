/** A client of the appliance, as any of its users is one: through the front, over its own connection. */
import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";

export interface Front {
  /** As `sealift status` says it, e.g. `https://127.0.0.1:8443`. */
  readonly address: string;
  /** PEM of the authority that vouches for the server's certificate; without it nobody does. */
  readonly authority: string | undefined;
}

export interface Question {
  readonly path: string;
  readonly key?: string | undefined;
  /** Sent as JSON with POST. */
  readonly body?: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Pieces in which the body came. */
  readonly pieces: number;
  readonly milliseconds: number;
}

const ANSWER_MAX_LENGTH = 4 * 1024 * 1024;

/** Rejects if there is no whole answer in time, or if the server is not the one that the authority vouches for. */
export function ask({ address, authority }: Front, question: Question, withinMs: number): Promise<Answer> {
  const { path, key, body } = question;
  const url = new URL(path, address);
  const options: RequestOptions = {
    method: body === undefined ? "GET" : "POST",
    agent: false,
    headers: {
      connection: "close",
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...(body !== undefined && { "content-type": "application/json" }),
    },
  };
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const trust = authority === undefined ? { rejectUnauthorized: false } : { ca: authority };
    const asking = url.protocol === "https:" ? httpsRequest(url, { ...options, ...trust }) : httpRequest(url, options);
    const timer = setTimeout(() => asking.destroy(new Error(`no answer within ${withinMs} ms`)), withinMs);
    const fail = (cause: Error): void => {
      clearTimeout(timer);
      reject(cause);
    };
    asking.once("error", fail);
    asking.once("response", (response) => {
      let text = "";
      let pieces = 0;
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        pieces += 1;
        if (text.length > ANSWER_MAX_LENGTH) asking.destroy(new Error("a longer answer than anybody asked for"));
      });
      response.once("error", fail);
      // A connection that breaks in the middle ends too; then this is false.
      response.once("close", () => {
        if (!response.complete) return fail(new Error("the answer was cut off"));
        clearTimeout(timer);
        const milliseconds = Math.round(performance.now() - started);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, pieces, milliseconds });
      });
    });
    asking.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
