/**
 * front-figures.ts ROOTFS SWITCH-DIRECTORY TASK: runs the front's image before two gateways under load and
 * prints figures as JSON. Meant for a network namespace of its own, as root: it listens on fixed addresses.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Agent, createServer as createHttpServer, get, type Server } from "node:http";
import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse } from "yaml";
import { eventually, PROJECT, type Started, startImage } from "./image-process.ts";

export interface SwitchFigures {
  readonly switches: number;
  readonly signals: number;
  readonly answers: Readonly<Record<string, number>>;
  readonly streams: number;
  readonly failed: readonly string[];
  readonly slowestMs: number;
}
export interface AbsenceFigures {
  readonly monitorStatus: number;
  readonly before: unknown;
  /** A client's connection while there is no gateway: milliseconds until the front closes it. */
  readonly closedAfterMs: number;
  readonly appearedAfterMs: number;
  /** Requests sent each 50 ms while the gateway was away for `awayMs`. */
  readonly whileAway: { readonly awayMs: number; readonly answered: number; readonly failed: readonly string[] };
  /** Whether the front still served after a reload that found no, and then a strange, switch file. */
  readonly afterLostFile: boolean;
  readonly afterStrangeFile: "closed" | "answered";
  readonly afterRepair: string;
}

export interface SilenceFigures {
  readonly reloadMs: number;
}

type Colour = "blue" | "green";
const FRONT = { host: "127.0.0.1", port: 8080 };
const ADDRESSES: Readonly<Record<Colour, string>> = { blue: "127.1.0.1", green: "127.1.0.2" };
const PROXY_SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const STREAM_TICKS = 30;
const TICK_MS = 100;

const names = new Map<string, string>();
const failed: string[] = [];
let signals = 0;

/** Whether the name server says nothing for a name that it does not have, as on a host without a network. */
let isSilent = false;

/** Answers A for the names it has; AAAA of those is empty, as with Docker, and others do not exist. */
async function serveNames(): Promise<void> {
  const socket = createSocket("udp4");
  socket.on("message", (query, peer) => {
    let at = 12;
    const labels: string[] = [];
    while (query[at] !== 0) {
      const length = query[at] as number;
      labels.push(query.toString("latin1", at + 1, at + 1 + length));
      at += length + 1;
    }
    const type = query.readUInt16BE(at + 1);
    const address = names.get(labels.join("."));
    if (address === undefined && isSilent) return;
    const header = Buffer.from(query.subarray(0, 12));
    const isAnswered = address !== undefined && type === 1;
    header.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2);
    header.writeUInt16BE(isAnswered ? 1 : 0, 6);
    header.writeUInt32BE(0, 8);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...(address ?? "").split(".").map(Number)]);
    const question = query.subarray(12, at + 5);
    socket.send(Buffer.concat([header, question, ...(isAnswered ? [record] : [])]), peer.port, peer.address);
  });
  socket.bind(53, "127.0.0.11");
  await once(socket, "listening");
}

interface Gateway {
  /** As the real one drains: `Connection: close` on every answer from now on. */
  isDraining: boolean;
  stop(): Promise<void>;
}

/** Refuses connections without a PROXY v2 header. */
async function startGateway(colour: Colour): Promise<Gateway> {
  const gateway: Gateway = { isDraining: false, stop };
  const http = createHttpServer({ keepAliveTimeout: 600_000 }, async (request, response) => {
    if (gateway.isDraining) response.setHeader("connection", "close");
    if (request.url !== "/stream") return void response.end(colour);
    for (let tick = 0; tick < STREAM_TICKS; tick += 1) {
      response.write("x");
      await sleep(TICK_MS);
    }
    response.end();
  });
  const sockets = new Set<Socket>();
  const clients = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    let received = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 16) return;
      const end = 16 + received.readUInt16BE(14);
      if (received.length < end) return;
      socket.off("data", onData).pause();
      if (!received.subarray(0, 12).equals(PROXY_SIGNATURE)) return void socket.destroy();
      if (received.length > end) socket.unshift(received.subarray(end));
      http.emit("connection", socket);
      socket.resume();
    };
    socket.on("data", onData);
  });
  const health = createHttpServer((_, response) => response.end("{}"));
  await listen(clients, ADDRESSES[colour], 8443);
  await listen(health, ADDRESSES[colour], 8081);
  async function stop(): Promise<void> {
    for (const server of [clients, health]) server.close();
    health.closeAllConnections();
    for (const socket of sockets) socket.destroy();
    await Promise.all([clients, health].map((server) => server.listening && once(server, "close")));
  }
  return gateway;
}

async function listen(server: Server | ReturnType<typeof createServer>, host: string, port: number): Promise<void> {
  server.listen(port, host);
  await once(server, "listening");
}

async function ask(path: string, options: { agent?: Agent | false; port?: number } = {}): Promise<[number, string]> {
  const request = get({ ...FRONT, path, agent: false, timeout: 15_000, ...options });
  request.on("timeout", () => request.destroy(new Error("timeout")));
  const [response] = await once(request, "response");
  let body = "";
  for await (const chunk of response) body += chunk;
  return [response.statusCode, body];
}

function writeSwitch(directory: string, text: string): void {
  writeFileSync(join(directory, "new"), text, { mode: 0o644 });
  renameSync(join(directory, "new"), join(directory, "active.map"));
}

async function active(): Promise<{ active: string; up: Record<string, number> }> {
  return JSON.parse((await ask("/switch", { port: 8404 }))[1]);
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await isSo().catch(() => false))) {
    if (performance.now() - start > 15_000) throw new Error(`${what}: not within 15 s`);
    await sleep(50);
  }
  return performance.now() - start;
}

/**
 * As the installer switches. A signal that comes while HAProxy still ends a reload is lost (3.0.11, seen
 * under load), so it is sent again every `patienceMs` until the front has read the file.
 */
async function switchTo(front: Started, directory: string, colour: string, patienceMs = 3_000): Promise<number> {
  writeSwitch(directory, `active ${colour}\n`);
  let signalled = Number.NEGATIVE_INFINITY;
  return until(`the front reads ${colour}`, async () => {
    if (performance.now() - signalled > patienceMs) {
      signalled = performance.now();
      signals += 1;
      await front.signal("SIGUSR2");
    }
    return (await active()).active === colour;
  });
}

/** Starts `work` again and again until stopped, at a fixed rate whatever the answers take. */
function repeatedly(intervalMs: number, work: () => Promise<void>): () => Promise<void> {
  const running = new Set<Promise<void>>();
  const timer = setInterval(() => {
    const one: Promise<void> = work().finally(() => running.delete(one));
    running.add(one);
  }, intervalMs);
  return async () => {
    clearInterval(timer);
    await Promise.all(running);
  };
}

async function measureSwitches(front: Started, directory: string): Promise<SwitchFigures> {
  const gateways = { blue: await startGateway("blue"), green: await startGateway("green") };
  for (const colour of ["blue", "green"] as const) names.set(`gateway-${colour}`, ADDRESSES[colour]);
  await until("both gateways up", async () => {
    const { up } = await active();
    return up["blue"] === 1 && up["green"] === 1;
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const answers: Record<string, number> = {};
  let slowestMs = 0;
  let streams = 0;
  const request = async (kind: string, options: { agent: Agent | false }): Promise<void> => {
    const start = performance.now();
    try {
      const [status, body] = await ask("/", options);
      if (status !== 200) throw new Error(`status ${status}`);
      answers[`${kind} ${body}`] = (answers[`${kind} ${body}`] ?? 0) + 1;
    } catch (cause) {
      failed.push(`${kind}: ${cause}`);
    }
    slowestMs = Math.max(slowestMs, performance.now() - start);
  };
  const stops = [
    repeatedly(10, () => request("kept", { agent })),
    repeatedly(10, () => request("new", { agent: false })),
    repeatedly(500, async () => {
      try {
        const [, body] = await ask("/stream");
        if (body.length !== STREAM_TICKS) throw new Error(`got ${body.length} ticks`);
        streams += 1;
      } catch (cause) {
        failed.push(`stream: ${cause}`);
      }
    }),
  ];
  const switches = 10;
  for (let i = 0; i < switches; i += 1) {
    const [to, from]: [Colour, Colour] = i % 2 === 0 ? ["green", "blue"] : ["blue", "green"];
    await sleep(700);
    gateways[to].isDraining = false;
    await switchTo(front, directory, to);
    gateways[from].isDraining = true;
  }
  await sleep(500);
  await Promise.all(stops.map((stop) => stop()));
  agent.destroy();
  for (const gateway of Object.values(gateways)) await gateway.stop();
  return { switches, signals, answers, streams, failed, slowestMs };
}

/** How long a reload takes while nobody answers for the other colour's name. */
async function measureSilence(front: Started, directory: string): Promise<SilenceFigures> {
  const blue = await startGateway("blue");
  names.set("gateway-blue", ADDRESSES.blue);
  await until("blue is served", async () => (await ask("/"))[1] === "blue");
  isSilent = true;
  const reloadMs = await switchTo(front, directory, "green", 15_000);
  await blue.stop();
  return { reloadMs };
}

/** Milliseconds until the front closes a new connection on which nothing is said. */
async function timeToClose(): Promise<number> {
  const start = performance.now();
  const socket = createConnection(FRONT);
  socket.on("error", () => {}).resume();
  await Promise.race([once(socket, "close"), sleep(20_000)]);
  socket.destroy();
  return performance.now() - start;
}

async function measureAbsence(front: Started, directory: string): Promise<AbsenceFigures> {
  const [monitorStatus] = await ask("/healthz", { port: 8404 });
  const before = await active();
  const closedAfterMs = await timeToClose();
  let blue = await startGateway("blue");
  names.set("gateway-blue", ADDRESSES.blue);
  const isServed = async (): Promise<boolean> => (await ask("/"))[1] === "blue";
  const appearedAfterMs = await until("blue is served", isServed);
  await sleep(1_500);

  let answered = 0;
  const stopAsking = repeatedly(50, async () => {
    try {
      if ((await ask("/"))[1] === "blue") answered += 1;
    } catch (cause) {
      failed.push(String(cause));
    }
  });
  await sleep(200);
  await blue.stop();
  // What was under way when its gateway went cannot be saved.
  failed.splice(0);
  const awayMs = 4_000;
  await sleep(awayMs);
  blue = await startGateway("blue");
  await sleep(2_000);
  await stopAsking();
  const whileAway = { awayMs, answered, failed: [...failed] };

  renameSync(join(directory, "active.map"), join(directory, "lost"));
  await front.signal("SIGUSR2");
  await sleep(1_500);
  const afterLostFile = await isServed().catch(() => false);
  await switchTo(front, directory, "red");
  const afterStrangeFile = (await isServed().catch(() => false)) ? "answered" : "closed";
  await switchTo(front, directory, "blue");
  const afterRepair = (await ask("/"))[1];
  await blue.stop();
  return {
    monitorStatus,
    before,
    closedAfterMs,
    appearedAfterMs,
    whileAway,
    afterLostFile,
    afterStrangeFile,
    afterRepair,
  };
}

const TASKS: Readonly<Record<string, (front: Started, directory: string) => Promise<object>>> = {
  switches: measureSwitches,
  absence: measureAbsence,
  silence: measureSilence,
};
const [rootfs = "", directory = "", task = ""] = process.argv.slice(2);
const { services } = parse(await readFile(join(PROJECT, "compose/compose.yaml"), "utf8")) as {
  readonly services: { readonly front: { readonly environment: Readonly<Record<string, string>> } };
};
await serveNames();
writeSwitch(directory, "active blue\n");
const image = { config: { config: { User: "10090" } } };
const front = startImage({ image, rootfs } as never, {
  writable: `etc/haproxy/switch=${directory}`,
  env: services.front.environment,
  command: ["/usr/sbin/haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"],
});
try {
  await eventually("the front", front, async () => ask("/healthz", { port: 8404 }));
  process.stdout.write(`${JSON.stringify(await TASKS[task]?.(front, directory))}\n`);
} catch (cause) {
  process.stderr.write(`${front.output().slice(-3_000)}\n${cause instanceof Error ? cause.stack : cause}\n`);
  process.exitCode = 1;
} finally {
  await front.stop("SIGKILL");
}
process.exit();
