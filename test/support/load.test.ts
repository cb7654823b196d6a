import assert from "node:assert/strict";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { failedRequests, startLoad } from "./load.ts";
import { type KindReport, LoadGenerator, type LoadOptions } from "./load-generator.ts";

interface Context {
  after(work: () => void): void;
}

async function originOf(t: Context, server: Server | TcpServer): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function serverOf(answer: (response: ServerResponse, number: number) => void): Server {
  let number = 0;
  return createServer((_, response) => {
    number += 1;
    answer(response, number);
  });
}

function answerWell(response: ServerResponse): void {
  response.setHeader("content-type", "application/json").end('{"release":"1.0.0"}');
}

const REST = {
  request: { path: "/", includes: '"release"' },
  keptPerSecond: 100,
  newPerSecond: 0,
  release: { member: "release" },
} as const;

async function load(options: LoadOptions, milliseconds = 200) {
  const generator = new LoadGenerator(options);
  generator.start();
  await sleep(milliseconds);
  return generator.stop();
}

/** Every request is counted once, as completed or as one kind of failure. */
function assertBalanced({ sent, completed, failed }: KindReport): void {
  assert.equal(sent, completed + Object.values(failed).reduce((sum, count) => sum + count, 0));
}

test("a good server completes every request, of every kind, and its release is counted", async (t) => {
  const origin = await originOf(t, serverOf(answerWell));
  const stream = { request: { path: "/", endsWith: "}" }, everySeconds: 0.05 };
  const report = await load({ ...REST, origin, newPerSecond: 50, stream });
  assert.equal(failedRequests(report), 0, JSON.stringify(report.failures));
  const sent = Object.values(report.kinds).map((kind) => kind.sent);
  assert.ok(
    sent.every((count) => count >= 2),
    String(sent),
  );
  assert.equal(
    report.releases["1.0.0"]?.count,
    sent.reduce((sum, count) => sum + count, 0),
  );
});

test("kept connections are kept, and new ones are new", async (t) => {
  let connections = 0;
  const server = serverOf(answerWell).on("connection", () => {
    connections += 1;
  });
  const origin = await originOf(t, server);
  const kept = await load({ ...REST, origin });
  assert.ok(connections < kept.kinds.kept.sent, `${connections} connections`);
  connections = 0;
  const anew = await load({ ...REST, origin, keptPerSecond: 0, newPerSecond: 100 });
  assert.equal(connections, anew.kinds.new.sent);
});

test("a server that closes a kept connection at a request makes a reset", async (t) => {
  const server = serverOf((response, number) => {
    if (number === 5) response.socket?.resetAndDestroy();
    else answerWell(response);
  });
  const { kinds, failures } = await load({ ...REST, origin: await originOf(t, server) });
  assert.deepEqual(kinds.kept.failed, { reset: 1 });
  assert.match(failures[0]?.failure ?? "", /^reset: ECONNRESET$/);
  assertBalanced(kinds.kept);
});

test("a server that is not there makes refused ones", async (t) => {
  const server = serverOf(answerWell);
  const origin = await originOf(t, server);
  await new Promise((resolve) => server.close(resolve));
  const { kinds } = await load({ ...REST, origin, newPerSecond: 50 });
  assert.deepEqual(kinds.kept.failed, { refused: kinds.kept.sent });
  assert.deepEqual(kinds.new.failed, { refused: kinds.new.sent });
});

test("an answer that breaks off is cut, by its length, in its chunks, or before its last words", async (t) => {
  const stream = { request: { path: "/", endsWith: "[DONE]\n" }, everySeconds: 0.1 };
  for (const cut of ["length", "chunks", "words"] as const) {
    const server = serverOf((response) => {
      if (cut === "length") response.setHeader("content-length", 1000);
      response.write("data: 1\n");
      if (cut === "words") response.end();
      else setTimeout(() => response.socket?.destroy(), 20);
    });
    const report = await load({ ...REST, origin: await originOf(t, server), keptPerSecond: 0, stream });
    assert.deepEqual(report.kinds.stream.failed, { cut: report.kinds.stream.sent }, cut);
  }
});

test("another status, another body and no answer are told apart", async (t) => {
  const cases = {
    status: serverOf((response) => response.writeHead(503).end('{"release":"1.0.0"}')),
    body: serverOf((response) => response.end("sorry")),
    silent: createTcpServer((socket) => void socket.on("error", () => undefined)),
  };
  for (const [failure, server] of Object.entries(cases)) {
    const idleMs = failure === "silent" ? 50 : 10_000;
    const { kinds } = await load({ ...REST, origin: await originOf(t, server), idleMs });
    assert.deepEqual(kinds.kept.failed, { [failure]: kinds.kept.sent });
  }
});

test("a pause of the server shows in the slowest answer, and requests go on meanwhile", async (t) => {
  const server = serverOf((response, number) => {
    if (number === 2) setTimeout(() => answerWell(response), 150);
    else answerWell(response);
  });
  const { kinds } = await load({ ...REST, origin: await originOf(t, server) });
  assert.ok(kinds.kept.slowestMs >= 145, String(kinds.kept.slowestMs));
  // Far more than one that waits for each answer could have sent in the time.
  assert.ok(kinds.kept.sent > 10, String(kinds.kept.sent));
  assertBalanced(kinds.kept);
});

test("the process of its own keeps time while the test does not, and reports", async (t) => {
  let release = "1.0.0";
  const origin = await originOf(
    t,
    serverOf((response) => response.setHeader("x-release", release).end('{"release":0}')),
  );
  const running = await startLoad({ ...REST, origin, release: { header: "X-Release" } });
  await sleep(100);
  release = "1.1.0";
  await sleep(100);
  const report = await running.stop();
  assert.equal(failedRequests(report), 0, JSON.stringify(report.failures));
  const [before, now] = [report.releases["1.0.0"], report.releases["1.1.0"]];
  assert.ok(before && now && before.last <= now.first, JSON.stringify(report.releases));
});
