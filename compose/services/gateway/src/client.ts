/** The one who gets an answer: a client of the listener, or the canary. */
import type { Problem } from "@sealift/service-kit/problem.ts";

export interface Client {
  /** Fires when the client went away before its answer ended. */
  readonly gone: AbortSignal;
  refuse(problem: Problem): void;
  /** A whole answer. */
  send(status: number, json: Buffer): void;
  /** Begins a stream of events. */
  begin(): void;
  /** The status of the answer that was begun; 0 before. */
  readonly status: number;
  readonly sentBytes: number;
  /** Waits where the client is slower than the model. @throws ClientGone */
  write(piece: string): Promise<void> | undefined;
  end(): void;
}

/** The client went away, or took nothing for too long. */
export class ClientGone extends Error {
  readonly code = "CLIENT_GONE";
  constructor() {
    super("client gone");
    this.name = "ClientGone";
  }
}
