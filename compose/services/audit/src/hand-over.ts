/**
 * How a new audit service gets the log from the one that has it, over a socket in the log's directory:
 * whoever can connect could as well write there. The new one says `hand over`; the old one stops taking
 * appends, puts everything under a checkpoint, releases the lock and says `released`; the new one takes
 * the lock and says `taken` once it serves. The socket means nothing to safety: only who holds the lock
 * writes. It makes the change quick, and tells the old one whether somebody really came.
 */
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";

const SOCKET = "hand-over";
/** How long the old one may take to release the log, and the new one to serve it. */
const STEP_TIMEOUT_MS = 30_000;

/** Who asked for the log. */
export interface Successor {
  /** Tells it that the lock is free. Resolves to whether it took the log and serves. */
  released(): Promise<boolean>;
}

export interface Door {
  readonly successor: Promise<Successor>;
  /** Nobody else can ask any more. */
  close(): void;
}

/** Waits for a new service. Only for who holds the lock: what lies at the socket's place is removed. */
export async function openDoor(directory: string): Promise<Door> {
  const path = join(directory, SOCKET);
  await rm(path, { force: true });
  const { promise, resolve } = Promise.withResolvers<Successor>();
  let isAsked = false;
  const server = createServer(async (socket) => {
    socket.on("error", () => {});
    if (!(await hears(socket, "hand over")) || isAsked) {
      socket.destroy();
      return;
    }
    isAsked = true;
    resolve({
      released: async () => {
        say(socket, "released");
        const taken = await hears(socket, "taken");
        socket.destroy();
        return taken;
      },
    });
  });
  server.listen(path);
  await once(server, "listening");
  return { successor: promise, close: () => void server.close() };
}

/** Who had the log before. */
export interface Predecessor {
  /** Tells it that the log is served. Without it, or when this process ends, it takes the log again. */
  taken(): void;
  giveUp(): void;
}

/** Asks who has the log for it. Resolves when it was released; to undefined if nobody answers. */
export async function askForLog(directory: string, signal: AbortSignal): Promise<Predecessor | undefined> {
  const socket = connect({ path: join(directory, SOCKET), signal });
  socket.on("error", () => {});
  say(socket, "hand over");
  if (!(await hears(socket, "released"))) {
    socket.destroy();
    return undefined;
  }
  return { taken: () => void socket.end("taken\n"), giveUp: () => void socket.destroy() };
}

function say(socket: Socket, word: string): void {
  if (!socket.destroyed) socket.write(`${word}\n`);
}

/** Whether the next thing that the other end says is `word`. False also if it says nothing, or ends. */
function hears(socket: Socket, word: string): Promise<boolean> {
  if (socket.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    let text = "";
    const settle = (heard: boolean): void => {
      clearTimeout(late);
      socket.off("data", read);
      socket.off("close", ended);
      resolve(heard);
    };
    const read = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (text === `${word}\n`) settle(true);
      else if (!`${word}\n`.startsWith(text)) settle(false);
    };
    const ended = (): void => settle(false);
    const late = setTimeout(ended, STEP_TIMEOUT_MS);
    socket.on("data", read);
    socket.on("close", ended);
  });
}
