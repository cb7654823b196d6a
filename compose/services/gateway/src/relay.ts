/** An answer on its way to a client, piece by piece: never more in memory than the two sockets hold. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Readable } from "node:stream";

/** How long a client may take nothing at all. */
const CLIENT_STALL_MS = 60_000;

/** The client went away, or took nothing for too long. */
export class ClientGone extends Error {
  constructor() {
    super("client gone");
    this.name = "ClientGone";
  }
}

/**
 * Writes every piece of `source` and waits wherever the client is slower. Does not end the response.
 * @throws ClientGone, or what `source` throws
 */
export async function relay(source: AsyncIterable<Uint8Array> | Readable, response: ServerResponse): Promise<void> {
  for await (const piece of source) {
    if (response.destroyed) throw new ClientGone();
    if (!response.write(piece)) await drained(response);
  }
  if (response.destroyed) throw new ClientGone();
}

async function drained(response: ServerResponse): Promise<void> {
  const waiting = new AbortController();
  const stalled = setTimeout(() => waiting.abort(), CLIENT_STALL_MS);
  const gone = (): void => waiting.abort();
  response.once("close", gone);
  try {
    await once(response, "drain", { signal: waiting.signal });
  } catch {
    response.destroy();
    throw new ClientGone();
  } finally {
    clearTimeout(stalled);
    response.off("close", gone);
  }
}
