import assert from "node:assert/strict";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import test, { type TestContext } from "node:test";
import { openPeer, type Peer } from "../../../../compose/services/service-kit/src/peer-client.ts";
import { scratch } from "../../../support/scratch.ts";
import { textOf } from "../../../support/service-client.ts";
import { testIdentities } from "../../../support/test-identities.ts";

interface Ground {
  readonly peer: Peer;
  readonly requests: IncomingMessage[];
}

/** A peer that `handle` plays, asked by the gateway. */
async function ground(t: TestContext, handle: RequestListener, as = "gateway"): Promise<Ground> {
  const identities = testIdentities(await scratch(t));
  const options = (await identities.open("audit")).serverOptions(["gateway"]);
  const requests: IncomingMessage[] = [];
  const server = createServer(options, (request, response) => {
    requests.push(request);
    handle(request, response);
  });
  options.guard(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const peer = openPeer({
    agent: (await identities.open(as)).agent("audit", { keepAlive: true, maxSockets: 1 }),
    origin: new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}`),
    timeoutMs: 200,
    answerMaxBytes: 1_000,
  });
  t.after(() => {
    peer.close();
    server.closeAllConnections();
    server.close();
  });
  return { peer, requests };
}

function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status).end(JSON.stringify(value));
}

test("asks in JSON under the request's id, and gives the answer back", async (t) => {
  const { peer, requests } = await ground(t, async (request, response) =>
    json(response, { got: await textOf(request) }),
  );
  assert.deepEqual(await peer.post("/v1/x", { a: "ä" }, "r-1"), { got: '{"a":"ä"}' });
  assert.deepEqual(await peer.post("/v1/x", Buffer.from('{"b":1}'), "r-1"), { got: '{"b":1}' });
  const [{ method, url, headers } = {} as IncomingMessage] = requests;
  assert.deepEqual(
    [method, url, headers["x-request-id"], headers["content-type"]],
    ["POST", "/v1/x", "r-1", "application/json"],
  );
});

test("names what went wrong by a code and a status, and by no words", async (t) => {
  const cases: readonly (readonly [string, RequestListener, number | undefined])[] = [
    ["PEER_REFUSED", (_, response) => json(response, { title: "secret" }, 422), 422],
    ["PEER_ANSWER_MALFORMED", (_, response) => void response.end("{"), undefined],
    ["PEER_ANSWER_TOO_LARGE", (_, response) => void response.end("x".repeat(2_000)), undefined],
    ["PEER_LATE", () => {}, undefined],
    ["PEER_LATE", (_, response) => void response.write("{"), undefined],
    ["ECONNRESET", (request) => void request.socket.destroy(), undefined],
  ];
  for (const [code, handle, status] of cases) {
    const { peer } = await ground(t, handle);
    await assert.rejects(peer.post("/", {}, "r"), (error: Error & { code: string; status: unknown }) => {
      assert.deepEqual([error.code, error.status, error.message.includes("secret")], [code, status, false], code);
      return true;
    });
  }
});

test("asks once more on a fresh connection where a kept one was closed just then", async (t) => {
  const { peer, requests } = await ground(t, (request, response) => {
    if (requests.length === 2) request.socket.destroy();
    else json(response, { request: requests.length });
  });
  await peer.post("/", {}, "r");
  assert.deepEqual(await peer.post("/", {}, "r"), { request: 3 });
  assert.equal(requests.length, 3);
});

test("is nobody to a peer that does not expect it", async (t) => {
  const { peer, requests } = await ground(t, (_, response) => json(response, {}), "pii");
  await assert.rejects(peer.post("/", {}, "r"));
  assert.equal(requests.length, 0);
});
