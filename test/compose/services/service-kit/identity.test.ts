import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, createServer, get, type RequestOptions, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import {
  type ConnectionOptions,
  connect,
  createServer as createTlsServer,
  type TLSSocket,
  type Server as TlsServer,
} from "node:tls";
import { Identity, internalName, peerService } from "../../../../compose/services/service-kit/src/identity.ts";
import { createLog } from "../../../../compose/services/service-kit/src/log.ts";
import { startServer } from "../../../../compose/services/service-kit/src/server.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../../support/scratch.ts";
import {
  certificatesOf,
  type Forgery,
  forgedClient,
  forgeLeaf,
  testIdentities,
} from "../../../support/test-identities.ts";

const HOST = "127.0.0.1";
const DAY_MS = 24 * 60 * 60_000;

interface Served {
  readonly port: number;
  /** The client service of each request that reached the handler. */
  readonly peers: (string | undefined)[];
  /** The code of each connection that was refused. */
  readonly refusals: string[];
  /** Fingerprints of the leaves that the server was shown. */
  readonly leaves: Set<string>;
}

async function listen(t: TestContext, server: TlsServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  t.after(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** An HTTPS server of `identity` for `clients`, which answers each request with the client's name. */
async function serve(t: TestContext, identity: Identity, clients: readonly string[]): Promise<Served> {
  const served = { peers: [] as (string | undefined)[], refusals: [] as string[], leaves: new Set<string>() };
  const options = identity.serverOptions(clients);
  const server: Server = createServer(options, (request, response) => {
    const socket = request.socket as TLSSocket;
    served.peers.push(peerService(socket));
    served.leaves.add(socket.getPeerX509Certificate()?.fingerprint256 ?? "none");
    response.end(peerService(socket));
  });
  options.guard(server);
  server.on("tlsClientError", (error, socket) =>
    served.refusals.push(String(socket.authorizationError ?? codeOf(error))),
  );
  t.after(() => server.closeAllConnections());
  return { ...served, port: await listen(t, server) };
}

/** Node has no code of its own for some of OpenSSL's verdicts. */
function codeOf(error: NodeJS.ErrnoException): string {
  return error.code === undefined || error.code === "UNSPECIFIED" ? error.message : error.code;
}

/** The body of an answer, or the code of what went wrong. The server's leaf goes to `shown`. */
function ask(port: number, options: RequestOptions & ConnectionOptions, shown?: Set<string>): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ host: HOST, port, path: "/", ...options }, (response) => {
      shown?.add((response.socket as TLSSocket).getPeerX509Certificate()?.fingerprint256 ?? "none");
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve(body));
      response.on("error", (error) => resolve(codeOf(error)));
    });
    request.on("error", (error) => resolve(codeOf(error)));
  });
}

test("a service reaches another that allows it, and is known there by its name", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const [gateway, audit] = [await open("gateway"), await open("audit")];
  const served = await serve(t, audit, ["pii", "gateway"]);
  assert.equal(await ask(served.port, { agent: gateway.agent("audit") }), "gateway");
  assert.deepEqual(served.refusals, []);
});

test("a service that is not allowed, or none at all, does not get one byte to the handler", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const [pii, audit] = [await open("pii"), await open("audit")];
  const served = await serve(t, audit, ["gateway"]);
  assert.equal(await ask(served.port, { agent: pii.agent("audit") }), "ECONNRESET");
  const nobody = { agent: false, rejectUnauthorized: false, servername: internalName("audit") } as const;
  assert.equal(await ask(served.port, nobody), "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
  assert.deepEqual(served.peers, []);
  assert.deepEqual(served.refusals, ["PEER_NOT_ALLOWED", "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE"]);
});

test("a server that nobody guards, another service's name, no name and TLS 1.2 are refused", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const [gateway, audit] = [await open("gateway"), await open("audit")];
  const refusals: string[] = [];
  const unguarded = createServer(audit.serverOptions(["gateway"]), (_, response) =>
    response.end("a request came through"),
  );
  unguarded.on("tlsClientError", (error) => refusals.push(codeOf(error)));
  await ask(await listen(t, unguarded), { agent: gateway.agent("audit") });
  assert.deepEqual(refusals, ["SERVER_NOT_GUARDED"]);

  const served = await serve(t, audit, ["gateway"]);
  const { secureContext, ...options } = gateway.clientOptions("audit");
  await ask(served.port, { agent: gateway.agent("pii") });
  await ask(served.port, { ...options, agent: new Agent({ secureContext }), servername: "" });
  await ask(served.port, {
    agent: false,
    rejectUnauthorized: false,
    servername: internalName("audit"),
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.2",
  });
  assert.deepEqual(served.refusals, [
    "PEER_WANTS_ANOTHER",
    "ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM",
    "ERR_SSL_UNSUPPORTED_PROTOCOL",
  ]);
  assert.deepEqual(served.peers, []);
});

/** What the holder of pii's identity could try, in order to be the gateway or to be anybody longer than a day. */
const FORGERIES: readonly (readonly [string, Forgery, string])[] = [
  ["the gateway's name", { names: [internalName("gateway")] }, "permitted subtree violation"],
  [
    "its own and the gateway's name",
    { names: [internalName("pii"), internalName("gateway")] },
    "permitted subtree violation",
  ],
  ["the gateway as common name only", { subject: internalName("gateway"), names: [] }, "permitted subtree violation"],
  ["the gateway as common name beside its own", { subject: internalName("gateway") }, "permitted subtree violation"],
  ["a wildcard", { names: ["*.sealift.internal"] }, "permitted subtree violation"],
  ["an address", { names: [HOST] }, "excluded subtree violation"],
  ["an IPv6 address", { names: ["::1"] }, "excluded subtree violation"],
  [
    "a day that is over",
    { notBefore: new Date(Date.now() - 2 * DAY_MS), notAfter: new Date(Date.now() - DAY_MS) },
    "CERT_HAS_EXPIRED",
  ],
  [
    "a day to come",
    { notBefore: new Date(Date.now() + DAY_MS), notAfter: new Date(Date.now() + 2 * DAY_MS) },
    "CERT_NOT_YET_VALID",
  ],
];

for (const [what, forgery, code] of FORGERIES) {
  test(`a leaf of pii with ${what} is refused as a client and as a server`, async (t) => {
    const { open, path } = testIdentities(await scratch(t));
    const [audit, gateway] = [await open("audit"), await open("gateway")];
    const pem = readFileSync(path("pii"), "latin1");
    // pii is allowed: what refuses is OpenSSL.
    const served = await serve(t, audit, ["gateway", "pii"]);
    await ask(served.port, { agent: false, ...forgedClient(pem, "pii", forgery, "audit") });
    assert.deepEqual([served.peers, served.refusals], [[], [code.includes(" ") ? "UNSPECIFIED" : code]]);

    const { key, chain } = forgeLeaf(pem, "pii", forgery);
    const impostor = createServer({ key, cert: chain }, (_, response) => response.end("a request came through"));
    const port = await listen(t, impostor);
    for (const service of ["gateway", "pii"]) {
      assert.equal(await ask(port, { agent: gateway.agent(service) }), code);
    }
  });
}

test("an identity of another site is refused by both ends", async (t) => {
  const [here, there] = [testIdentities(await scratch(t)), testIdentities(await scratch(t))];
  const served = await serve(t, await here.open("audit"), ["gateway"]);
  const foreign = await there.open("gateway");
  assert.equal(await ask(served.port, { agent: foreign.agent("audit") }), "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  const { secureContext } = foreign.clientOptions("audit");
  const credulous = {
    agent: new Agent({ secureContext, rejectUnauthorized: false }),
    servername: internalName("audit"),
  };
  assert.equal(await ask(served.port, credulous), "ECONNRESET");
  assert.equal(served.refusals.at(-1), "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  assert.deepEqual(served.peers, []);
});

test("a guarded server whose TLS lets everybody in still wants a certificate that OpenSSL accepted", async (t) => {
  const [here, there] = [testIdentities(await scratch(t)), testIdentities(await scratch(t))];
  const options = { ...(await here.open("audit")).serverOptions(["gateway"]), rejectUnauthorized: false };
  const server = createServer(options, (_, response) => response.end("a request came through"));
  const refusals: string[] = [];
  server.on("tlsClientError", (error) => refusals.push(codeOf(error)));
  options.guard(server);
  const { secureContext } = (await there.open("gateway")).clientOptions("audit");
  const agent = new Agent({ secureContext, rejectUnauthorized: false });
  await ask(await listen(t, server), { agent, servername: internalName("audit") });
  assert.deepEqual(refusals, ["PEER_NOT_ALLOWED"]);
});

test("a client does not take another service for the one that it wants, however that is called", async (t) => {
  const { open, path } = testIdentities(await scratch(t));
  const gateway = await open("gateway");
  const { key, chain } = forgeLeaf(readFileSync(path("pii"), "latin1"), "pii", {
    // What OpenSSL allows below the authority of pii.
    names: [internalName("pii"), `audit.${internalName("pii")}`],
  });
  const port = await listen(
    t,
    createServer({ key, cert: chain }, (_, response) => response.end("a request came through")),
  );
  assert.equal(await ask(port, { agent: gateway.agent("audit") }), "PEER_NOT_ALLOWED");
  assert.equal(await ask(port, { agent: gateway.agent("pii") }), "PEER_NOT_ALLOWED", "a leaf names one service");
});

test("a connection is never resumed, because that would skip the certificate", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const [gateway, audit] = [await open("gateway"), await open("audit")];
  const options = audit.serverOptions(["gateway"]);
  const reused: boolean[] = [];
  const server = createTlsServer(options, (socket) => {
    reused.push(socket.isSessionReused());
    socket.end("hello");
  });
  options.guard(server);
  const port = await listen(t, server);
  const first = await sessionOf(port, gateway.clientOptions("audit"));
  await sessionOf(port, { ...gateway.clientOptions("audit"), session: first });
  assert.deepEqual(reused, [false, false]);
});

/** The last session ticket of a connection that ran until the server ended it. */
function sessionOf(port: number, options: ConnectionOptions): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let session: Buffer | undefined;
    const socket = connect({ ...options, host: HOST, port });
    socket.on("session", (given: Buffer) => {
      session = given;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(session));
    socket.resume();
  });
}

test("leaves are renewed under load, and no request is lost", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const renewAfterMs = 25;
  const [gateway, audit] = [await open("gateway", { renewAfterMs }), await open("audit", { renewAfterMs })];
  const served = await serve(t, audit, ["gateway"]);
  const shown = new Set<string>();
  const agent = gateway.agent("audit");
  const lasting = gateway.agent("audit", { keepAlive: true, maxSockets: 1 });
  const deadline = performance.now() + 20_000;
  const isEnough = (): boolean => Math.min(served.leaves.size, shown.size) > 10 || performance.now() > deadline;
  const answers: string[] = [];
  const load = async (by: Agent): Promise<void> => {
    while (!isEnough()) answers.push(await ask(served.port, { agent: by }, shown));
  };
  t.after(() => lasting.destroy());
  await Promise.all([load(agent), load(agent), load(agent), load(lasting)]);
  assert.deepEqual(new Set(answers), new Set(["gateway"]));
  assert.deepEqual(served.refusals, []);
  assert.ok(served.leaves.size > 10, `the client showed ${served.leaves.size} leaves`);
  assert.ok(shown.size > 10, `the server showed ${shown.size} leaves`);
});

test("through an upgrade two colours with one identity and a base that is replaced renew, each for itself", async (t) => {
  const { open } = testIdentities(await scratch(t));
  const renewAfterMs = 25;
  const colour = async (): Promise<Agent> => (await open("gateway", { renewAfterMs })).agent("audit");
  const old = await colour();
  const base = await serve(t, await open("audit", { renewAfterMs }), ["gateway"]);
  // The next release's colour opens the same file while the old one is at work, and the base is replaced last.
  const answers: string[] = [];
  const load = async (by: Agent, { port }: Served, leaves: number): Promise<void> => {
    for (const shown = new Set<string>(); shown.size < leaves; ) answers.push(await ask(port, { agent: by }, shown));
  };
  await load(old, base, 3);
  const next = await colour();
  await Promise.all([load(old, base, 4), load(next, base, 4)]);
  const replaced = await serve(t, await open("audit", { renewAfterMs }), ["gateway"]);
  await Promise.all([load(next, base, 2), load(next, replaced, 4)]);
  assert.deepEqual(new Set(answers), new Set(["gateway"]));
  assert.deepEqual([...base.refusals, ...replaced.refusals], []);
  assert.ok(base.leaves.size >= 6 && replaced.leaves.size >= 3, `${base.leaves.size}, ${replaced.leaves.size}`);
});

test("a leaf is kept for half of its life, and made anew when the clock has left it", async (t) => {
  let now = Date.parse("2026-11-21T08:00:00Z");
  const { open } = testIdentities(await scratch(t));
  const identity = await open("gateway", { now: () => now });
  const first = identity.context();
  now += DAY_MS / 2 - 1;
  assert.equal(identity.context(), first);
  now += 1;
  const second = identity.context();
  assert.notEqual(second, first);
  now += 10 * 365 * DAY_MS;
  const third = identity.context();
  assert.notEqual(third, second);
  now -= 20 * 365 * DAY_MS;
  assert.notEqual(identity.context(), third);
});

/** A certificate whose public key's curve is none. */
function withoutKeyKind(pem: string): string {
  const { raw } = new X509Certificate(pem);
  const at = raw.indexOf(Buffer.from("2a8648ce3d030107", "hex"));
  assert.ok(at > 0);
  raw[at + 7] = 0x7f;
  return `-----BEGIN CERTIFICATE-----\n${raw.toString("base64")}\n-----END CERTIFICATE-----\n`;
}

test("an identity file that does not fit is refused before the service starts", async (t) => {
  const directory = await scratch(t);
  const { path } = testIdentities(directory);
  const other = testIdentities(await scratch(t));
  const pem = readFileSync(path("gateway"), "latin1");
  const key = pem.slice(0, pem.indexOf("-----BEGIN CERTIFICATE"));
  const [authority = "", root = ""] = certificatesOf(pem);
  const [foreignRoot = ""] = other.root.certificates;
  const foreignKey = readFileSync(other.path("gateway"), "latin1").slice(0, key.length);
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["empty", "", /want PEM/],
    ["text", "hello", /want PEM/],
    ["no key", authority + root, /want PEM/],
    ["a damaged certificate", `${key}${authority.replace(/\n.{8}/, "\nAAAAAAAA")}${root}`, /want PEM/],
    ["a certificate of a key of no known kind", key + authority + withoutKeyKind(root), /want PEM/],
    ["no certificate", key, /want the authority's certificate and a root's/],
    ["no root", key + authority, /want the authority's certificate and a root's/],
    ["another key", foreignKey + authority + root, /the key is not the one of the first certificate/],
    ["another site's root", key + authority + foreignRoot, /none of its roots signed it/],
    ["another service's", readFileSync(path("pii"), "latin1"), /it is another service's/],
    ["too long", pem + " ".repeat(65_536), /at most 65536 bytes/],
  ];
  for (const [what, text, want] of cases) {
    const file = join(directory, "bad.pem");
    writeFileSync(file, text);
    await assert.rejects(Identity.open(file, "gateway"), (cause) => {
      assert.ok(cause instanceof SettingsError, what);
      assert.match(cause.message, want, what);
      assert.doesNotMatch(cause.message, /[A-Za-z0-9+/]{40}/, what);
      return true;
    });
  }
  await assert.rejects(Identity.open(join(directory, "none.pem"), "gateway"), { code: "ENOENT" });
});

test("the services' server takes an identity's options and guards itself", async (t) => {
  const { open, path } = testIdentities(await scratch(t));
  const [gateway, pii, audit] = [await open("gateway"), await open("pii"), await open("audit")];
  const lines: string[] = [];
  const server = await startServer({
    host: HOST,
    port: 0,
    drainTimeoutMs: 1_000,
    log: createLog("audit", (line) => lines.push(line)),
    tls: audit.serverOptions(["gateway"]),
    routes: [{ method: "GET", path: "/", handle: ({ response }) => void response.end("ok") }],
  });
  t.after(() => server.stop());
  assert.equal(await ask(server.port, { agent: gateway.agent("audit") }), "ok");
  assert.equal(await ask(server.port, { agent: pii.agent("audit") }), "ECONNRESET");
  assert.ok(
    lines.some((line) => line.includes('"code":"PEER_NOT_ALLOWED"')),
    lines.join(""),
  );
  const expired = { notBefore: new Date(0), notAfter: new Date(Date.now() - DAY_MS) };
  const forged = forgedClient(readFileSync(path("gateway"), "latin1"), "gateway", expired, "audit");
  await ask(server.port, { agent: false, ...forged });
  assert.ok(
    lines.some((line) => line.includes('"certificate":"CERT_HAS_EXPIRED"')),
    lines.join(""),
  );
});
