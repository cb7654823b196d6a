/**
 * The other side may close a kept connection just as a request goes out on it. Nothing of it was answered,
 * and nothing tells whether it was read: only for requests that may be made twice.
 */
import type { ClientRequest } from "node:http";
import { errorCode } from "./log.ts";

export class StaleConnection extends Error {}

/** Whether `cause`, which ended `sent` before an answer, is that. */
export function isStale(sent: ClientRequest, cause: unknown): boolean {
  return sent.reusedSocket && ["ECONNRESET", "EPIPE"].includes(errorCode(cause));
}

/** Makes `attempt` again while it rejects with a StaleConnection: a fresh connection is never one. */
export async function withoutStale<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await attempt();
    } catch (cause) {
      if (!(cause instanceof StaleConnection)) throw cause;
    }
  }
}
