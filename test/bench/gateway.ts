/**
 * The gateway with every gate and two durable records a request, in front of a model that answers at once,
 * against a raw pass-through of our own (gateway-process.ts) and against @portkey-ai/gateway bare: no key
 * checked, nothing inspected, nothing recorded. Beside them the gateway with log and detectors in its own process,
 * for what the boundaries between the services cost. Interleaved rounds; prints what it writes to
 * test/evidence/bench-gateway.json.
 *
 * The same for all: this machine, one process that takes requests, plain HTTP from the load (the front's
 * TLS costs each of them the same) and to the model, connections that stay, the same body, and one process
 * that makes the load and plays the model. The gateway's side has audit and pii besides, the real services,
 * each in its process, asked over mutual TLS. The database is played: a key is asked for once in five
 * seconds. All share the machine's cores, so what a request costs in processor time bounds what goes through;
 * it is written down by process. What is measured is a gateway that has been up for a while, as one on a site is:
 * each side, also those that this one is compared with, runs so long before that it is compiled.
 *
 * SEALIFT_PORTKEY names a directory of @portkey-ai/gateway 1.15.2 (`npm pack`, unpacked); without it that
 * comparison is reported as not made.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeApiKey } from "../../compose/services/gateway/src/database/api-key.ts";
import { testIdentities } from "../support/test-identities.ts";
import { principalKeyFile } from "../support/test-principals.ts";
import type { BenchSettings } from "./gateway-process.ts";
import { type LoadResult, readStreams, runLoad } from "./http-load.ts";

const ROUNDS = Number(process.env["SEALIFT_BENCH_ROUNDS"] ?? 5);
/** Of each side. A large program takes longer until it is compiled than a small one; after so many no figure falls. */
const WARM_UP_ROUNDS = 6;
const SECONDS = 3;
const CONNECTIONS = 32;
const STREAMS = 500;
/** How many times the requests a second of each the gateway should make, with a model that answers at once. */
const GOALS = { passThrough: 0.4, portkey: 3 };
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
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      if (body.includes('"stream":true')) {
        speak(response);
        return;
      }
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

/** Says fifty words in ten seconds. */
function speak(response: ServerResponse): void {
  const write = (delta: object, finish: string | null): void => {
    const choices = [{ index: 0, delta, finish_reason: finish }];
    response.write(
      `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", model: "small", choices })}\n\n`,
    );
  };
  response.writeHead(200, { "content-type": "text/event-stream" });
  let words = 0;
  const timer = setInterval(() => {
    words += 1;
    if (words <= 50) return write({ content: "word " }, null);
    clearInterval(timer);
    write({}, "stop");
    response.end("data: [DONE]\n\n");
  }, 200);
}

async function startServices(scratch: string, thinking: { ms: number }): Promise<BenchSettings> {
  const identities = testIdentities(scratch);
  const services = join(root, "compose/services");
  const common = { LISTEN_HOST: "127.0.0.1", LISTEN_PORT: "0", ADMIN_PORT: "0", RELEASE: "1.0.0" };
  const { privateKey } = generateKeyPairSync("ed25519");
  const checkpointKey = join(scratch, "checkpoint-key.pem");
  writeFileSync(checkpointKey, privateKey.export({ type: "pkcs8", format: "pem" }));
  mkdirSync(join(scratch, "log"));
  const logDirectory = join(scratch, "log-of-one-process");
  mkdirSync(logDirectory);
  const auditPrincipalKeyFile = principalKeyFile(scratch, "audit");
  const piiPrincipalKeyFile = principalKeyFile(scratch, "pii");
  const ofPeers = /"listening","port":(\d+),"tls":true/;
  const auditPort = await start(
    [join(services, "audit/src/main.ts")],
    {
      ...common,
      IDENTITY_FILE: identities.path("audit"),
      LOG_DIRECTORY: join(scratch, "log"),
      CHECKPOINT_KEY_FILE: checkpointKey,
      PRINCIPAL_KEY_FILE: auditPrincipalKeyFile,
    },
    ofPeers,
  );
  const piiPort = await start(
    [join(services, "pii/src/main.ts")],
    { ...common, IDENTITY_FILE: identities.path("pii"), PRINCIPAL_KEY_FILE: piiPrincipalKeyFile },
    ofPeers,
  );
  const pepperFile = join(scratch, "pepper");
  writeFileSync(pepperFile, PEPPER);
  const recordKeyFile = join(scratch, "record-key");
  writeFileSync(recordKeyFile, "0".repeat(64));
  const upstreamPort = await startModel(thinking);
  return {
    upstreamPort,
    auditPort,
    piiPort,
    identityFile: identities.path("gateway"),
    pepperFile,
    recordKeyFile,
    auditPrincipalKeyFile,
    piiPrincipalKeyFile,
    logDirectory,
  };
}

function chatRequest(headers: Record<string, string>, more: object = {}): Buffer {
  const words = "The quick brown fox jumps over the lazy dog. ";
  const messages = [
    { role: "system", content: "You answer briefly." },
    { role: "user", content: words.repeat(20) },
  ];
  const body = JSON.stringify({ model: "small", messages, max_tokens: 64, ...more });
  const lines = Object.entries({ host: "localhost", "content-type": "application/json", ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  return Buffer.from(
    `POST /v1/chat/completions HTTP/1.1\r\n${lines}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** MiB of memory that the process holds now. */
function residentMiB(child: ChildProcess | undefined): number {
  const status = readFileSync(`/proc/${child?.pid}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

/** Before the other loads: their garbage is not what is asked for. */
async function measureStreams({ port }: Side, key: string, gateway: ChildProcess | undefined) {
  const idleMiB = residentMiB(gateway);
  let peakMiB = idleMiB;
  const looking = setInterval(() => {
    peakMiB = Math.max(peakMiB, residentMiB(gateway));
  }, 100);
  const request = chatRequest({ authorization: `Bearer ${key}` }, { stream: true });
  const { firstP50Ms } = await readStreams(port, STREAMS, request);
  clearInterval(looking);
  return { streams: STREAMS, idleMiB, peakMiB, firstP50Ms: round(firstP50Ms) };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

const LOAD_AND_MODEL = "load and model";

type Processes = Readonly<Record<string, { readonly pid?: number | undefined } | undefined>>;

interface Side {
  readonly port: number;
  /** Processes whose time counts. */
  readonly processes: Processes;
  readonly request: Buffer;
}

/** Processor seconds that the process has used; /proc counts in hundredths. */
function processorSeconds(counted: Processes[string]): number {
  const stat = readFileSync(`/proc/${counted?.pid}/stat`, "utf8");
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return ((user ?? 0) + (system ?? 0)) / 100;
}

interface RoundResult extends LoadResult {
  /** Of each process, microseconds of processor a request: says something on a busy machine too. */
  readonly processorUs: Readonly<Record<string, number>>;
}

async function runRound({ port, request, processes: own }: Side): Promise<RoundResult> {
  const processes: Processes = { ...own, [LOAD_AND_MODEL]: process };
  const names = Object.keys(processes);
  const before = names.map((name) => processorSeconds(processes[name]));
  const load = await runLoad({ port, request, seconds: SECONDS, connections: CONNECTIONS });
  const used = names.map((name, index) => {
    const seconds = processorSeconds(processes[name]) - (before[index] ?? 0);
    return [name, (seconds / load.requests) * 1e6] as const;
  });
  return { ...load, processorUs: Object.fromEntries(used) };
}

async function compare(sides: Readonly<Record<string, Side>>, warmUpRounds: number) {
  for (let index = 0; index < warmUpRounds; index += 1) {
    for (const side of Object.values(sides)) await runRound(side);
  }
  const rounds: Record<string, RoundResult>[] = [];
  for (let index = 0; index < ROUNDS; index += 1) {
    const results: Record<string, RoundResult> = {};
    for (const [name, side] of Object.entries(sides)) results[name] = await runRound(side);
    rounds.push(results);
  }
  return Object.fromEntries(
    Object.keys(sides).map((name) => {
      const own = rounds.map((results) => results[name] as RoundResult);
      const ratio = ({ gateway }: Readonly<Record<string, RoundResult>>, index: number): number =>
        (gateway?.requestsPerSecond ?? Number.NaN) / (own[index]?.requestsPerSecond ?? Number.NaN);
      return [name, { ...summaryOf(own), gatewayIs: round(median(rounds.map(ratio))) }] as const;
    }),
  );
}

function summaryOf(rounds: readonly RoundResult[]) {
  const over = (value: (result: RoundResult) => number): number => round(median(rounds.map(value)));
  const totalUs = ({ processorUs }: RoundResult): number => Object.values(processorUs).reduce((sum, us) => sum + us, 0);
  const names = Object.keys(rounds[0]?.processorUs ?? {});
  return {
    requestsPerSecond: over(({ requestsPerSecond }) => requestsPerSecond),
    p50Ms: over(({ p50Ms }) => p50Ms),
    p99Ms: over(({ p99Ms }) => p99Ms),
    processorUs: Object.fromEntries(names.map((name) => [name, over((result) => result.processorUs[name] ?? 0)])),
    processorUsOfAll: over(totalUs),
    coresBusy: over((result) => (result.requestsPerSecond * totalUs(result)) / 1e6),
    // What the machine would do if no core ever waited.
    requestsPerSecondAtMost: over((result) => (availableParallelism() * 1e6) / totalUs(result)),
  };
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
  const [audit, pii] = children;
  const portkey = await startPortkey();
  const portkeyProcess = children[2];
  const gatewayPort = await startSide("gateway");
  const gateway = children.at(-1);
  const oneProcessPort = await startSide("one-process");
  const oneProcess = children.at(-1);
  const passThroughPort = await startSide("pass-through");
  const passThrough = children.at(-1);
  const host = `http://127.0.0.1:${settings.upstreamPort}/v1`;
  const forPortkey = { "x-portkey-provider": "openai", "x-portkey-custom-host": host, authorization: "Bearer x" };
  const sides: Record<string, Side> = {
    gateway: {
      port: gatewayPort,
      request: chatRequest({ authorization: `Bearer ${key}` }),
      processes: { gateway, audit, pii },
    },
    "all in one process": {
      port: oneProcessPort,
      request: chatRequest({ authorization: `Bearer ${key}` }),
      processes: { oneProcess },
    },
    "pass-through": {
      port: passThroughPort,
      request: chatRequest({ authorization: `Bearer ${key}` }),
      processes: { passThrough },
    },
    ...(typeof portkey === "number" && {
      "@portkey-ai/gateway": {
        port: portkey,
        request: chatRequest(forPortkey),
        processes: { portkey: portkeyProcess },
      },
    }),
  };
  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? "unknown",
    connections: CONNECTIONS,
    rounds: ROUNDS,
    loadBefore: loadavg().map(round),
    goals: { "pass-through": GOALS.passThrough, "@portkey-ai/gateway": GOALS.portkey },
    ...(typeof portkey === "string" && { "@portkey-ai/gateway": `not checked: ${portkey}` }),
    "open streams": await measureStreams(sides["gateway"] as Side, key, gateway),
    "model that answers at once": await compare(sides, WARM_UP_ROUNDS),
    "model that takes 50 ms": await (async () => {
      thinking.ms = 50;
      return compare(sides, 1);
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
