import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { connect } from "node:net";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, getCiphers, type TLSSocket } from "node:tls";
import { readBody } from "../../../../compose/services/service-kit/src/body.ts";
import { createLog, errorCode } from "../../../../compose/services/service-kit/src/log.ts";
import {
  type Route,
  type RunningServer,
  type ServerOptions,
  startServer,
} from "../../../../compose/services/service-kit/src/server.ts";
import { ask, askAsFront, connectAsFront, textOf } from "../../../support/service-client.ts";
import { issueTestCertificate } from "../../../support/test-certificate.ts";

const LINES: string[] = [];
const log = createLog("test", (line) => LINES.push(line));

const PLAIN: Route[] = [
  { method: "GET", path: "/ok", quiet: true, handle: ({ response }) => void response.end("ok") },
  {
    method: "GET",
    path: "/whence",
    handle: ({ response, client }) => void response.end(client ? `${client.address} ${client.port}` : "unknown"),
  },
];

async function serve(t: TestContext, changes: Partial<ServerOptions> = {}): Promise<RunningServer> {
  LINES.length = 0;
  const server = await startServer({ host: "127.0.0.1", port: 0, routes: PLAIN, log, drainTimeoutMs: 100, ...changes });
  t.after(async () => {
    await server.stop().catch(() => {});
  });
  return server;
}

async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(text);
  return textOf(socket);
}

test("answers what it does not know with a problem document and writes down nothing of it", async (t) => {
  const { port } = await serve(t, { headers: { "x-release": "1.2.3" } });
  const answer = await ask(port, "/secret-path", { headers: { "x-request-id": "my-id.1", cookie: "secret-cookie" } });
  assert.equal(answer.status, 404);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.headers["x-request-id"], "my-id.1");
  assert.equal(answer.headers["x-release"], "1.2.3");
  const problem = JSON.parse(answer.body);
  assert.equal(problem.type, "https://sealift.dev/problems/not-found");
  assert.deepEqual([problem.status, problem.instance, problem.error.code], [404, "my-id.1", "not-found"]);
  const wrong = await ask(port, "/ok", { method: "DELETE" });
  assert.deepEqual([wrong.status, wrong.headers["allow"]], [405, "GET, HEAD"]);
  assert.equal((await ask(port, "/ok?secret=1", { method: "HEAD" })).status, 200);
  assert.equal(LINES.filter((line) => line.includes('"request"')).length, 2, "and says nothing of a quiet success");
  assert.ok(!LINES.some((line) => line.includes("secret")), LINES.join(""));
  for (const line of LINES) assert.equal(typeof JSON.parse(line).time, "string");
});

test("makes its own request id where the given one is odd", async (t) => {
  const { port } = await serve(t);
  for (const id of ["a b", "x".repeat(65), ""]) {
    const answer = await ask(port, "/ok", { headers: { "x-request-id": id } });
    assert.match(String(answer.headers["x-request-id"]), /^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  }
});

test("answers bytes that are no HTTP with a problem document and its own headers", async (t) => {
  const { port } = await serve(t, { headers: { "x-release": "1.2.3" } });
  const text = await exchange(port, "GET\r\n\r\n");
  assert.match(text, /^HTTP\/1\.1 400 [\s\S]*x-release: 1\.2\.3[\s\S]*problem\+json[\s\S]*bad-request/);
});

test("refuses what two readers could read in two ways", async (t) => {
  const { port } = await serve(t);
  const smuggling = {
    "two lengths": "Content-Length: 0\r\nContent-Length: 1\r\n",
    "a length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "an odd encoding": "Transfer-Encoding: chunked, identity\r\n",
    "a name with a space": "Content-Length : 0\r\n",
    "a folded line": "X-A: b\r\n c\r\n",
    "a bare line feed": "X-A: b\nContent-Length: 0\r\n",
    "a second host": "Host: b\r\n",
    "a second key": "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
  };
  for (const [name, lines] of Object.entries(smuggling)) {
    const text = await exchange(port, `GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`);
    assert.match(text, /^HTTP\/1\.1 400 /, name);
  }
  assert.match(await exchange(port, "GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n"), /^HTTP\/1\.1 400 /, "no host");
});

test("refuses more headers than it reads, in number and in bytes", async (t) => {
  const { port } = await serve(t);
  const many = Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`x-${index}`, "1"]));
  assert.equal((await ask(port, "/ok", { headers: many })).status, 431);
  const text = await exchange(port, `GET /ok HTTP/1.1\r\nHost: a\r\nX-A: ${"x".repeat(20_000)}\r\n\r\n`);
  assert.match(text, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/);
});

test("takes a client's address from the front, and a connection from the front alone", async (t) => {
  const { port } = await serve(t, { proxied: true });
  assert.equal((await askAsFront(port, "/whence", { address: "198.51.100.9" })).body, "198.51.100.9 40000");
  assert.equal(await exchange(port, "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"), "");
  assert.ok(LINES.some((line) => line.includes("PROXY_HEADER_MALFORMED")));
  assert.ok(!LINES.some((line) => line.includes("198.51.100.9")), "an address is personal data");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => connectAsFront(port, { address: "198.51.100.10" });
  for (let round = 0; round < 3; round += 1) {
    assert.equal((await ask(port, "/whence", { agent })).body, "198.51.100.10 40000", "each request of a connection");
  }
  agent.destroy();
});

test("speaks TLS behind the PROXY header, takes a renewed certificate, and no TLS 1.1", async (t) => {
  const first = issueTestCertificate();
  const { port, useCertificate } = await serve(t, { proxied: true, tls: { cert: first.cert, key: first.key } });
  assert.equal((await askAsFront(port, "/whence", { ca: first.authority })).body, "192.0.2.7 40000");
  const second = issueTestCertificate();
  useCertificate({ cert: second.cert, key: second.key });
  await assert.rejects(askAsFront(port, "/ok", { ca: first.authority }));
  assert.equal((await askAsFront(port, "/ok", { ca: second.authority })).body, "ok");
  const old = connectAsFront(port, { ca: second.authority, tls: { minVersion: "TLSv1.1", maxVersion: "TLSv1.1" } });
  await assert.rejects(once(old, "secureConnect"));
  const weak = connectAsFront(port, { ca: second.authority, tls: { maxVersion: "TLSv1.2", ciphers: "AES128-SHA" } });
  await assert.rejects(once(weak, "secureConnect"));
});

test("speaks exactly the suites that SECURITY.md names, with a certificate of EC and of RSA, and less if told", async (t) => {
  const page = readFileSync(new URL("../../../../SECURITY.md", import.meta.url), "utf8");
  const named = [...(page.match(/^- \*\*Clients speak[\s\S]*?(?=^- )/m)?.[0] ?? "").matchAll(/`([A-Z0-9_-]+)`/g)];
  const documented = named.map(([, suite]) => String(suite)).sort();
  assert.equal(documented.length, 9);
  const certificates = [issueTestCertificate(), issueTestCertificate("rsa")];
  const offer = async (port: number, suite: string): Promise<string | undefined> => {
    const isNew = suite.startsWith("TLS_");
    const range = isNew ? { minVersion: "TLSv1.3" } : { minVersion: "TLSv1", maxVersion: "TLSv1.2" };
    const ciphers = isNew ? suite : `${suite}:@SECLEVEL=0`;
    const socket = connectAsFront(port, {
      ca: "",
      tls: { ...range, ciphers, rejectUnauthorized: false } as ConnectionOptions,
    }) as TLSSocket;
    const spoken = await once(socket, "secureConnect").then(
      () => socket.getCipher().name,
      () => undefined,
    );
    socket.destroy();
    return spoken;
  };
  for (const minVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const accepted = new Set<string>();
    for (const { cert, key } of certificates) {
      const { port } = await serve(t, { proxied: true, tls: { cert, key, minVersion } });
      for (const suite of getCiphers().map((name) => name.toUpperCase())) {
        const spoken = await offer(port, suite).catch(() => undefined);
        if (spoken !== undefined) accepted.add(spoken);
      }
    }
    const wanted = documented.filter((suite) => minVersion === "TLSv1.2" || suite.startsWith("TLS_"));
    assert.deepEqual([...accepted].sort(), wanted);
  }
});

test("ends a connection whose request does not come to its end", async (t) => {
  const timeouts = { headersMs: 100, requestMs: 200, lookEveryMs: 20 };
  const post: Route = {
    method: "POST",
    path: "/post",
    handle: async ({ request, response }) => {
      response.end(String((await readBody(request, 100).catch(() => [])).length));
    },
  };
  const { port } = await serve(t, { timeouts, routes: [...PLAIN, post] });
  const head = "POST /post HTTP/1.1\r\nHost: a\r\n";
  for (const text of ["", "GET /ok HTT", "GET /ok HTTP/1.1\r\nHost: a\r\n", `${head}Content-Length: 5\r\n\r\nab`]) {
    const started = performance.now();
    const answer = await exchange(port, text);
    assert.ok(performance.now() - started < 2_000, text);
    // An answer that waits for the body is under way: that one is only cut.
    assert.ok(text.includes("POST") ? answer === "" : answer.startsWith("HTTP/1.1 408 "), answer);
  }
  assert.match(await exchange(port, `${head}Connection: close\r\nContent-Length: 2\r\n\r\nab`), /\r\n2$/);
});

test("does not go on reading a body that was refused for its size", async (t) => {
  const post: Route = {
    method: "POST",
    path: "/post",
    handle: async ({ request, response }) => {
      const length = await readBody(request, 1_000).then(String, errorCode);
      response.end(length);
    },
  };
  const { port } = await serve(t, { routes: [post], timeouts: { headersMs: 300, requestMs: 300, lookEveryMs: 20 } });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  let sent = 0;
  let answer = "";
  socket.on("data", (piece) => {
    answer += piece;
  });
  socket.write("POST /post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const chunk = `3e8\r\n${"x".repeat(1_000)}\r\n`;
  const more = setInterval(() => {
    if (socket.writable) sent += socket.write(chunk) ? 1 : 0;
  }, 5);
  await once(socket, "close");
  clearInterval(more);
  assert.match(answer, /BODY_TOO_LARGE/);
  assert.ok(sent > 2, "the answer came while the client was sending");
});

function slowServer(drainTimeoutMs: number, routes: readonly Route[]): Promise<RunningServer> {
  return startServer({ host: "127.0.0.1", port: 0, routes, log, drainTimeoutMs });
}

test("never puts an error into the midst of an answer", async (t) => {
  const stream: Route = {
    method: "GET",
    path: "/stream",
    handle: async ({ response }) => {
      response.write("first");
      await sleep(100);
      response.end("last");
    },
  };
  const { port } = await serve(t, { routes: [stream] });
  const text = await exchange(port, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n");
  assert.ok(!text.includes("400"), text);
});

test("tells a request that was under way when the server was asked to stop that it was the last", async (t) => {
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const route: Route = {
    method: "GET",
    path: "/slow",
    handle: async ({ response }) => {
      begin();
      await sleep(50);
      response.end("done");
    },
  };
  const server = await serve(t, { routes: [route], drainTimeoutMs: 5_000 });
  const agent = new Agent({ keepAlive: true });
  const asked = ask(server.port, "/slow", { agent });
  await begun;
  const stopped = server.stop();
  assert.equal((await asked).headers["connection"], "close");
  assert.equal(await stopped, true);
  agent.destroy();
});

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
