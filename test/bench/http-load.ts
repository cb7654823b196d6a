/** As many requests as a server answers, over connections that stay open, at little cost to this process. */
import { connect, type Socket } from "node:net";
import { performance } from "node:perf_hooks";

export interface Load {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** One whole HTTP request. */
  readonly request: Buffer;
}

export interface LoadResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Rejects at the first answer that is not 200 or has no content-length, and when a connection ends. */
export async function runLoad({ port, connections, seconds, request }: Load): Promise<LoadResult> {
  const latencies: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(Array.from({ length: connections }, () => drive(port, request, end, latencies)));
  const elapsed = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor((latencies.length - 1) * share)] ?? Number.NaN;
  return { requests: latencies.length, requestsPerSecond: latencies.length / elapsed, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function drive(port: number, request: Buffer, end: number, latencies: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let received = "";
    let sentAt = 0;
    const send = (): void => {
      sentAt = performance.now();
      socket.write(request);
    };
    socket.setEncoding("latin1");
    socket.on("connect", send);
    socket.on("data", (piece: string) => {
      received += piece;
      const headEnd = received.indexOf("\r\n\r\n");
      if (headEnd === -1) return;
      const length = /\r\ncontent-length: (\d+)/i.exec(received)?.[1];
      if (!received.startsWith("HTTP/1.1 200") || length === undefined) {
        socket.destroy(new Error(`unexpected answer: ${received.slice(0, 300)}`));
      } else if (received.length >= headEnd + 4 + Number(length)) {
        received = "";
        const now = performance.now();
        latencies.push(now - sentAt);
        if (now < end) send();
        else socket.destroy();
      }
    });
    socket.on("error", reject);
    socket.on("close", () => (performance.now() >= end ? resolve() : reject(new Error("a connection ended"))));
  });
}

/** Opens so many streams at once and reads each to its end. Rejects at the first that ends without `[DONE]`. */
export async function readStreams(
  port: number,
  count: number,
  request: Buffer,
): Promise<{ readonly firstP50Ms: number }> {
  const firsts = await Promise.all(Array.from({ length: count }, () => readStream(port, request)));
  firsts.sort((a, b) => a - b);
  return { firstP50Ms: firsts[Math.floor(count / 2)] ?? Number.NaN };
}

/** Milliseconds to the first byte. */
function readStream(port: number, request: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const start = performance.now();
    let first = 0;
    let tail = "";
    socket.setEncoding("latin1");
    socket.on("connect", () => socket.write(request));
    socket.on("data", (piece: string) => {
      first ||= performance.now() - start;
      tail = (tail + piece).slice(-200);
      if (!tail.includes("data: [DONE]")) return;
      resolve(first);
      socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`a stream ended before its end: ${tail}`)));
  });
}
