import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startGateway } from "../../../compose/services/gateway/src/gateway.ts";
import { type GatewaySettings, readSettings } from "../../../compose/services/gateway/src/settings.ts";
import { createLog } from "../../../compose/services/service-kit/src/log.ts";
import { type Route, type RunningServer, startServer } from "../../../compose/services/service-kit/src/server.ts";
import { readSecret, SettingsError } from "../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../support/scratch.ts";

const LINES: string[] = [];
const log = createLog("test", (line) => LINES.push(line));

async function gateway(t: TestContext, changes: Partial<GatewaySettings> = {}): Promise<RunningServer> {
  LINES.length = 0;
  const settings = { host: "127.0.0.1", port: 0, release: "1.2.3", drainTimeoutMs: 1_000, ...changes };
  const server = await startGateway(settings, log);
  t.after(async () => {
    await server.stop().catch(() => {});
  });
  return server;
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

async function ask(port: number, path: string, options: object = {}): Promise<Answer> {
  const sent = request({ host: "127.0.0.1", port, path, agent: false, ...options });
  sent.end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, headers: response.headers, body };
}

test("tells that it lives, and which release it is", async (t) => {
  const { port } = await gateway(t);
  const answer = await ask(port, "/healthz?x=1");
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.body), { status: "ok", release: "1.2.3" });
  assert.equal((await ask(port, "/healthz", { method: "HEAD" })).status, 200);
  assert.equal((await ask(port, "/readyz")).status, 200, "ready without a database");
});

test("answers everything else with a problem document and writes down nothing of it", async (t) => {
  const { port } = await gateway(t);
  const answer = await ask(port, "/secret-path", { headers: { "x-request-id": "my-id.1", cookie: "secret-cookie" } });
  assert.equal(answer.status, 404);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.headers["x-request-id"], "my-id.1");
  const problem = JSON.parse(answer.body);
  assert.equal(problem.type, "https://sealift.dev/problems/not-found");
  assert.deepEqual([problem.status, problem.requestId], [404, "my-id.1"]);
  const wrong = await ask(port, "/healthz", { method: "DELETE" });
  assert.deepEqual([wrong.status, wrong.headers["allow"]], [405, "GET, HEAD"]);
  assert.equal(LINES.filter((line) => line.includes('"request"')).length, 2);
  assert.ok(!LINES.some((line) => line.includes("secret")), LINES.join(""));
  for (const line of LINES) assert.equal(typeof JSON.parse(line).time, "string");
});

test("makes its own request id where the given one is odd", async (t) => {
  const { port } = await gateway(t);
  for (const id of ["a b", "x".repeat(65), ""]) {
    const answer = await ask(port, "/healthz", { headers: { "x-request-id": id } });
    assert.match(String(answer.headers["x-request-id"]), /^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  }
});

test("answers bytes that are no HTTP with a problem document", async (t) => {
  const { port } = await gateway(t);
  const socket = connect(port, "127.0.0.1");
  socket.end("GET\r\n\r\n");
  let text = "";
  for await (const chunk of socket) text += chunk;
  assert.match(text, /^HTTP\/1\.1 400 [\s\S]*problem\+json[\s\S]*bad-request/);
});

test("is not ready without its database, says so within the time limit, and asks it once a second", async (t) => {
  let connections = 0;
  // Takes connections and says nothing: the worst database.
  const silent = createServer((socket) => {
    connections += 1;
    socket.on("error", () => {});
    t.after(() => void socket.destroy());
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => void silent.close());
  const passwordFile = join(await scratch(t), "password");
  await writeFile(passwordFile, "secret-password\n");
  const address = silent.address() as { port: number };
  const database = { host: "127.0.0.1", port: address.port, name: "d", user: "u", passwordFile };
  const { port } = await gateway(t, { database });
  const started = performance.now();
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask(port, "/readyz")));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([503]));
  assert.equal(JSON.parse(answers[0]?.body ?? "").type, "https://sealift.dev/problems/not-ready");
  assert.equal((await ask(port, "/readyz")).status, 503);
  assert.ok(performance.now() - started < 6_000);
  assert.equal(connections, 1);
  assert.equal((await ask(port, "/healthz")).status, 200, "it lives all the same");
  assert.ok(!LINES.some((line) => line.includes("secret-password")));
});

function slowServer(drainTimeoutMs: number, routes: readonly Route[]): Promise<RunningServer> {
  return startServer({ host: "127.0.0.1", port: 0, routes, log, drainTimeoutMs });
}

test("ends requests under way, refuses new connections and asks kept ones to close while it stops", async () => {
  let release = (): void => {};
  const routes: Route[] = [
    {
      method: "GET",
      path: "/slow",
      handle: async ({ response }) => {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        response.end("done");
      },
    },
    { method: "GET", path: "/fast", handle: ({ response }) => void response.end("fast") },
  ];
  const server = await slowServer(10_000, routes);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const kept = await ask(server.port, "/fast", { agent });
  assert.equal(kept.headers["connection"], "keep-alive");
  const slow = ask(server.port, "/slow");
  await sleep(50);
  const stopped = server.stop();
  // The idle connection is still there, and what comes over it is answered.
  const last = await ask(server.port, "/fast", { agent });
  assert.deepEqual([last.body, last.headers["connection"]], ["fast", "close"]);
  await assert.rejects(ask(server.port, "/fast"), { code: "ECONNREFUSED" });
  release();
  const answer = await slow;
  assert.deepEqual([answer.status, answer.body], [200, "done"]);
  assert.equal(await stopped, true);
  agent.destroy();
});

test("cuts off what is left at the deadline, and says so", async () => {
  const routes: Route[] = [{ method: "GET", path: "/never", handle: () => new Promise<void>(() => {}) }];
  const server = await slowServer(100, routes);
  const never = assert.rejects(ask(server.port, "/never"), { code: "ECONNRESET" });
  await sleep(50);
  assert.equal(await server.stop(), false);
  await never;
});

test("answers 500 where a handler fails, without its words", async () => {
  LINES.length = 0;
  const routes: Route[] = [
    {
      method: "GET",
      path: "/broken",
      handle: () => {
        throw new Error("secret-message");
      },
    },
  ];
  const server = await slowServer(100, routes);
  const answer = await ask(server.port, "/broken");
  assert.deepEqual([answer.status, JSON.parse(answer.body).type], [500, "https://sealift.dev/problems/internal"]);
  assert.ok(!answer.body.includes("secret") && !LINES.some((line) => line.includes("secret")));
  await server.stop();
});

test("reads its settings, and names everything that is wrong with them at once", () => {
  const settings = readSettings({ RELEASE: "1.0.0", LISTEN_PORT: "81" });
  assert.deepEqual([settings.port, settings.release, settings.database], [81, "1.0.0", undefined]);
  const wrong = { LISTEN_PORT: "http", DRAIN_TIMEOUT_MS: "-1", DATABASE_HOST: "postgres" };
  assert.throws(
    () => readSettings(wrong),
    (error: Error) => {
      const named = ["RELEASE", "LISTEN_PORT", "DRAIN_TIMEOUT_MS", "DATABASE_NAME", "DATABASE_PASSWORD_FILE"];
      for (const name of named) assert.ok(error.message.includes(name), name);
      return error instanceof SettingsError;
    },
  );
});

test("reads a secret of one line, and refuses an empty one or two", async (t) => {
  const path = join(await scratch(t), "secret");
  for (const [content, secret] of [
    ["abc\n", "abc"],
    ["abc", "abc"],
    [" a b ", " a b "],
  ] as const) {
    await writeFile(path, content);
    assert.equal(await readSecret(path), secret);
  }
  for (const content of ["", "\n", "a\nb\n", "x".repeat(5000)]) {
    await writeFile(path, content);
    await assert.rejects(readSecret(path), SettingsError);
  }
});

const MAIN = join(import.meta.dirname, "../../../compose/services/gateway/src/main.ts");

test("starts as a process, ends with 0 after SIGTERM, and with 78 where its settings are wrong", async () => {
  const env = { RELEASE: "1.0.0", LISTEN_HOST: "127.0.0.1", LISTEN_PORT: "0" };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "pipe", "inherit"] });
  let port = 0;
  for await (const chunk of child.stdout) {
    const started = /"listening","port":(\d+)/.exec(String(chunk));
    if (!started) continue;
    port = Number(started[1]);
    break;
  }
  // Leaving the loop closed the pipe: whoever reads the log may go away, and the service stays.
  assert.ok(port > 0);
  child.kill("SIGTERM");
  const [status] = await once(child, "exit");
  assert.equal(status, 0);
  const wrong = spawn(process.execPath, [MAIN], { env: {}, stdio: "ignore" });
  assert.deepEqual((await once(wrong, "exit"))[0], 78);
});
