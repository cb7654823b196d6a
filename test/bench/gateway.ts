/**
 * The gateway with every gate and two durable records a request, in front of a model that answers at once,
 * against a raw pass-through of our own (gateway-process.ts) and, where it is at hand, against @portkey-ai/gateway. Audit and pii
 * are the real services, each in its process, on this machine; both sides have one process for requests.
 * Interleaved rounds. Prints a table and writes test/evidence/bench-gateway.json.
 *
 * SEALIFT_PORTKEY names a directory of @portkey-ai/gateway 1.15.2 (`npm pack`, unpacked); without it that
 * comparison is reported as not made.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeApiKey } from "../../compose/services/gateway/src/database/api-key.ts";
import { testIdentities } from "../support/test-identities.ts";
import type { BenchSettings } from "./gateway-process.ts";
import { type LoadResult, runLoad } from "./http-load.ts";

const ROUNDS = Number(process.env["SEALIFT_BENCH_ROUNDS"] ?? 5);
const SECONDS = 3;
const CONNECTIONS = 32;
const PEPPER = "pepper";
const root = fileURLToPath(new URL("../../", import.meta.url));

const children: ChildProcess[] = [];

/** Resolves to what `find` sees in the first lines that the process writes. */
async function start(args: readonly string[], env: Record<string, string>, find: RegExp): Promise<number> {
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  let text = "";
  for await (const piece of child.stdout) {
    text += piece;
    const port = find.exec(text)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return Number(port);
  }
  throw new Error(`${args.join(" ")}: ended\n${text}`);
}

/** Answers like a model that takes so long. */
async function startModel(thinking: { ms: number }): Promise<number> {
  const answer = Buffer.from(
    JSON.stringify({
      id: "chatcmpl-1",
      object: "chat.completion",
      created: 1,
      model: "small",
      choices: [{ index: 0, message: { role: "assistant", content: "word ".repeat(40) }, finish_reason: "stop" }],
      usage: { prompt_tokens: 200, completion_tokens: 40, total_tokens: 240 },
    }),
  );
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      const send = (): void => {
        response.writeHead(200, { "content-type": "application/json", "content-length": answer.length });
        response.end(answer);
      };
      if (thinking.ms === 0) send();
      else setTimeout(send, thinking.ms);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

async function startServices(scratch: string, thinking: { ms: number }): Promise<BenchSettings> {
  const identities = testIdentities(scratch);
  const services = join(root, "compose/services");
  const common = { LISTEN_HOST: "127.0.0.1", LISTEN_PORT: "0", ADMIN_PORT: "0", RELEASE: "1.0.0" };
  const { privateKey } = generateKeyPairSync("ed25519");
  const checkpointKey = join(scratch, "checkpoint-key.pem");
  writeFileSync(checkpointKey, privateKey.export({ type: "pkcs8", format: "pem" }));
  mkdirSync(join(scratch, "log"));
  const ofPeers = /"listening","port":(\d+),"tls":true/;
  const auditPort = await start(
    [join(services, "audit/src/main.ts")],
    {
      ...common,
      IDENTITY_FILE: identities.path("audit"),
      LOG_DIRECTORY: join(scratch, "log"),
      CHECKPOINT_KEY_FILE: checkpointKey,
    },
    ofPeers,
  );
  const piiPort = await start(
    [join(services, "pii/src/main.ts")],
    { ...common, IDENTITY_FILE: identities.path("pii") },
    ofPeers,
  );
  const pepperFile = join(scratch, "pepper");
  writeFileSync(pepperFile, PEPPER);
  const recordKeyFile = join(scratch, "record-key");
  writeFileSync(recordKeyFile, "0".repeat(64));
  const upstreamPort = await startModel(thinking);
  return { upstreamPort, auditPort, piiPort, identityFile: identities.path("gateway"), pepperFile, recordKeyFile };
}

function chatRequest(headers: Record<string, string>): Buffer {
  const words = "The quick brown fox jumps over the lazy dog. ";
  const messages = [
    { role: "system", content: "You answer briefly." },
    { role: "user", content: words.repeat(20) },
  ];
  const body = JSON.stringify({ model: "small", messages, max_tokens: 64 });
  const lines = Object.entries({ host: "localhost", "content-type": "application/json", ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  return Buffer.from(
    `POST /v1/chat/completions HTTP/1.1\r\n${lines}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

interface Side {
  readonly port: number;
  readonly request: Buffer;
}

async function compare(sides: Readonly<Record<string, Side>>) {
  const load = ({ port, request }: Side, seconds: number): Promise<LoadResult> =>
    runLoad({ port, request, seconds, connections: CONNECTIONS });
  for (const side of Object.values(sides)) await load(side, SECONDS);
  const rounds: Record<string, LoadResult>[] = [];
  for (let index = 0; index < ROUNDS; index += 1) {
    const results: Record<string, LoadResult> = {};
    for (const [name, side] of Object.entries(sides)) results[name] = await load(side, SECONDS);
    rounds.push(results);
  }
  const of = (name: string, member: keyof LoadResult): number =>
    round(median(rounds.map((item) => item[name]?.[member] ?? 0)));
  const ratio = (name: string): number =>
    round(
      median(rounds.map((item) => (item["gateway"]?.requestsPerSecond ?? 0) / (item[name]?.requestsPerSecond ?? 1))),
    );
  return Object.fromEntries(
    Object.keys(sides).map((name) => [
      name,
      {
        requestsPerSecond: of(name, "requestsPerSecond"),
        p50Ms: of(name, "p50Ms"),
        p99Ms: of(name, "p99Ms"),
        gatewayIs: ratio(name),
      },
    ]),
  );
}

async function startPortkey(): Promise<number | string> {
  const directory = process.env["SEALIFT_PORTKEY"];
  if (directory === undefined) return "SEALIFT_PORTKEY does not name a directory of @portkey-ai/gateway 1.15.2";
  const main = join(directory, "build/start-server.js");
  if (!existsSync(main)) return `${main} is not there`;
  const port = 20_000 + (process.pid % 20_000);
  const child = spawn(process.execPath, [main, `--port=${port}`, "--headless"], { stdio: "ignore", env: {} });
  children.push(child);
  for (let tries = 0; tries < 100; tries += 1) {
    const isUp = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (isUp) return port;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return "@portkey-ai/gateway did not start";
}

const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-"));
try {
  const thinking = { ms: 0 };
  const settings = await startServices(scratch, thinking);
  const program = join(import.meta.dirname, "gateway-process.ts");
  const startSide = (role: string): Promise<number> => start([program, role, JSON.stringify(settings)], {}, /^(\d+)\n/);
  const { key } = makeApiKey(PEPPER);
  const portkey = await startPortkey();
  const upstream = `http://127.0.0.1:${settings.upstreamPort}/v1`;
  const sides: Record<string, Side> = {
    gateway: { port: await startSide("gateway"), request: chatRequest({ authorization: `Bearer ${key}` }) },
    "pass-through": { port: await startSide("pass-through"), request: chatRequest({}) },
    ...(typeof portkey === "number" && {
      "@portkey-ai/gateway": {
        port: portkey,
        request: chatRequest({
          "x-portkey-provider": "openai",
          "x-portkey-custom-host": upstream,
          authorization: "Bearer x",
        }),
      },
    }),
  };
  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? "unknown",
    connections: CONNECTIONS,
    rounds: ROUNDS,
    ...(typeof portkey === "string" && { "@portkey-ai/gateway": `not checked: ${portkey}` }),
    "model that answers at once": await compare(sides),
    "model that takes 50 ms": await (async () => {
      thinking.ms = 50;
      return compare(sides);
    })(),
  };
  mkdirSync(join(root, "test/evidence"), { recursive: true });
  writeFileSync(join(root, "test/evidence/bench-gateway.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  console.log(JSON.stringify(evidence, null, 2));
} finally {
  for (const child of children) child.kill();
  await Promise.all(
    children
      .filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
      .map((child) => once(child, "exit")),
  );
  rmSync(scratch, { recursive: true, force: true });
}
process.exit();
