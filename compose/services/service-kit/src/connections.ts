/** The connections of a server: each one known from its first byte, so that its client can be named and it can be ended. */
import type { Server, Socket } from "node:net";
import { errorCode, type Log } from "./log.ts";
import { type ClientAddress, readProxyHeader } from "./proxy-protocol.ts";

const PROXY_HEADER_TIMEOUT_MS = 5_000;

export class Connections {
  readonly #open = new Set<Socket>();
  /** By the peer's address: a TLS socket does not tell which connection it is on. */
  readonly #clients = new Map<string, ClientAddress>();

  /** With `proxied`, `server` gets a connection only after its PROXY header. Call before `listen`. */
  constructor(server: Server, proxied: boolean, log: Log) {
    const handlers = server.listeners("connection") as ((socket: Socket) => void)[];
    server.removeAllListeners("connection");
    server.on("connection", (socket) => {
      this.#open.add(socket);
      socket.once("close", () => this.#open.delete(socket));
      const hand = (): void => {
        for (const handler of handlers) handler.call(server, socket);
      };
      if (proxied) void this.#readHeader(socket, log, hand);
      else hand();
    });
  }

  /** Whom a request's connection comes from; undefined if the front did not say or there is none. */
  client(socket: Socket): ClientAddress | undefined {
    return this.#clients.get(peer(socket));
  }

  destroyAll(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async #readHeader(socket: Socket, log: Log, hand: () => void): Promise<void> {
    const ignore = (): void => {};
    socket.on("error", ignore);
    try {
      const client = await readProxyHeader(socket, PROXY_HEADER_TIMEOUT_MS);
      if (socket.destroyed) return;
      if (client) this.#remember(socket, client);
      hand();
      socket.off("error", ignore);
    } catch (cause) {
      log("warn", "proxy-header-refused", { code: errorCode(cause) });
      socket.destroy();
    }
  }

  #remember(socket: Socket, client: ClientAddress): void {
    const key = peer(socket);
    this.#clients.set(key, client);
    socket.once("close", () => {
      // The same port may have come back before this one was seen to close.
      if (this.#clients.get(key) === client) this.#clients.delete(key);
    });
  }
}

function peer(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
