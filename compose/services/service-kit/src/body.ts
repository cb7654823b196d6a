/** Reading a request's body without trusting its size. */
import type { IncomingMessage } from "node:http";

/** `code` is fit for a log. */
export class BodyError extends Error {
  readonly code: "BODY_TOO_LARGE" | "BODY_CUT";
  constructor(code: BodyError["code"]) {
    super(code);
    this.name = "BodyError";
    this.code = code;
  }
}

/**
 * The whole body, at most `maxBytes`. What comes behind that is not kept; the server's time limit for a
 * request ends a client that goes on sending.
 * @throws BodyError
 */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) {
      reject(new BodyError("BODY_TOO_LARGE"));
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes) {
        chunks.length = 0;
        reject(new BodyError("BODY_TOO_LARGE"));
      } else {
        chunks.push(chunk);
      }
    });
    request.on("end", () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    request.on("close", () => {
      // An error that nobody sees would cost its stack all the same.
      if (!request.readableEnded) reject(new BodyError("BODY_CUT"));
    });
  });
}
