import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startLoad } from "../../../installer/demo/load.ts";

const PART = { question: { path: "/healthz" }, clients: 2, pauseMs: 1 };

async function report(answer: RequestListener, forMs = 150) {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const load = startLoad({ address: `http://127.0.0.1:${port}`, authority: undefined }, [PART]);
  await sleep(forMs);
  const found = await load.stop();
  await new Promise((resolve) => server.close(resolve));
  return found;
}

test("whole answers are counted for the release that gave them", async () => {
  let count = 0;
  const { sent, lost, releases } = await report((_, response) => {
    count += 1;
    response.setHeader("sealift-release", count <= 3 ? "1.0.0" : "1.1.0");
    response.end("ok");
  });
  assert.equal(lost, 0);
  assert.equal(releases["1.0.0"], 3);
  assert.equal(releases["1.1.0"], sent - 3);
  assert.equal(sent, count);
});

test("an answer with another status is lost", async () => {
  const { sent, lost, reasons } = await report((_, response) => response.writeHead(503).end());
  assert.equal(lost, sent);
  assert.match(reasons[0] as string, /^\/healthz: status 503$/);
  assert.ok(reasons.length <= 10);
});

test("an answer that breaks off is lost", async () => {
  const { sent, lost } = await report((_, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half");
    setTimeout(() => response.destroy(), 5);
  });
  assert.ok(sent > 0);
  assert.equal(lost, sent);
});

test("a connection that nobody takes is lost", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const load = startLoad({ address: `http://127.0.0.1:${port}`, authority: undefined }, [PART]);
  await sleep(30);
  const { sent, lost } = await load.stop();
  assert.ok(sent > 0);
  assert.equal(lost, sent);
});
