import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { appendFile, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { checkpointRoute } from "../../../../compose/services/audit/src/checkpoint-route.ts";
import { DirectoryLock } from "../../../../compose/services/audit/src/directory-lock.ts";
import { EventLog } from "../../../../compose/services/audit/src/event-log.ts";
import { eventRoutes } from "../../../../compose/services/audit/src/event-routes.ts";
import { askForLog, openDoor } from "../../../../compose/services/audit/src/hand-over.ts";
import { readCheckpointKey, readSettings } from "../../../../compose/services/audit/src/settings.ts";
import { openAuditClient } from "../../../../compose/services/service-kit/src/audit-client.ts";
import { type Peer, PeerError } from "../../../../compose/services/service-kit/src/peer-client.ts";
import { PrincipalSigner, PrincipalVerifier } from "../../../../compose/services/service-kit/src/principal.ts";
import { startServer } from "../../../../compose/services/service-kit/src/server.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";
import { SpentPrincipals } from "../../../../compose/services/service-kit/src/spent-principals.ts";
import { scratch } from "../../../support/scratch.ts";
import { PRINCIPAL, principalKey, testSigner } from "../../../support/test-principals.ts";
import { openLog } from "./audit-directory.ts";
import { auditGround, peerOf, until } from "./audit-instance.ts";

/** Without a caller, so without a principal. */
const event = () => ({
  v: 1,
  id: randomUUID(),
  ts: new Date().toISOString(),
  service: "gateway",
  type: "request.refused.identity",
  requestId: "request-1",
});

const status = (wanted: number) => (cause: unknown) => cause instanceof PeerError && cause.status === wanted;

async function health(adminPort: number, path: string): Promise<number> {
  return (await fetch(`http://127.0.0.1:${adminPort}${path}`)).status;
}

test("events of the services that may append get their places, and everything else is refused", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const first = event();
  const answer = (await gateway.post("/v1/events", first, "r-1")) as { entries: { id: string; index: number }[] };
  assert.deepEqual(
    answer.entries.map(({ id, index }) => [id, index]),
    [[first.id, 0]],
  );
  const batch = (await gateway.post("/v1/events", [first, event(), event()], "r-2")) as typeof answer;
  assert.deepEqual(
    batch.entries.map(({ index }) => index),
    [0, 1, 2],
  );
  const refused: readonly (readonly [unknown, number])[] = [
    [{ ...event(), service: "pii" }, 400],
    [{ ...event(), prompt: "text" }, 400],
    [[], 400],
    [Array.from({ length: 257 }, event), 400],
    ["text", 400],
    [[event(), { ...event(), status: "no" }], 400],
    [{ ...first, status: 1 }, 409],
    [{ pad: "x".repeat(1024 * 1024) }, 413],
    [{ ...event(), v: 3 }, 422],
  ];
  for (const [body, wanted] of refused) {
    await assert.rejects(gateway.post("/v1/events", body, "r-3"), status(wanted), JSON.stringify(body).slice(0, 80));
  }
  for (const other of ["pii", "model", "postgres"]) {
    const peer = await peerOf(t, ground.identities, other, () => [audit.port]);
    await assert.rejects(
      peer.post("/v1/events", { ...event(), service: other }, "r-4"),
      (cause) => cause instanceof PeerError && cause.status === undefined,
      other,
    );
  }
  const turnedAway = ground.logged.filter(
    ([name, { code }]) => name === "tls-client-error" && code === "PEER_NOT_ALLOWED",
  );
  assert.equal(turnedAway.length, 3);
  assert.equal(await health(audit.adminPort, "/readyz"), 200);
  assert.equal(await health(audit.adminPort, "/canary"), 200);
  assert.equal(await health(audit.adminPort, "/v1/events"), 404, "nobody appends without a certificate");
  assert.ok(await audit.stop());
  assert.match(await readFile(join(ground.directory, "checkpoint"), "utf8"), /^site\.example\/audit\n3\n/);
});

test("the installer tells what is in the ledger and nothing else, and nobody else tells that", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const installer = await peerOf(t, ground.identities, "installer", () => [audit.port]);
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const told = {
    ...event(),
    service: "installer",
    type: "site.operation",
    operation: "upgrade",
    outcome: "committed",
    ledgerHead: "ab".repeat(32),
    ledgerLength: 7,
  };
  await installer.post("/v1/events", told, "r-1");
  for (const [peer, body, wanted] of [
    [installer, { ...told, type: "request.refused.identity" }, 400],
    [installer, { ...told, type: "request.allowed" }, 400],
    [installer, { ...told, ledgerHead: "upgrade to 1.1.0" }, 400],
    [gateway, { ...told, service: "gateway" }, 400],
    [gateway, told, 400],
    // It is about no caller.
    [installer, { ...told, id: randomUUID(), tenant: PRINCIPAL.tenant }, 403],
  ] as const) {
    assert.equal(await refusal(peer.post("/v1/events", body, "r-2")), wanted, JSON.stringify(body));
  }
});

test("the installer alone has a checkpoint made, which covers all that was acknowledged", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const installer = await peerOf(t, ground.identities, "installer", () => [audit.port]);
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const head = async (): Promise<string> =>
    (await readFile(join(ground.directory, "checkpoint"), "utf8")).split("\n")[1] ?? "";
  await gateway.post("/v1/events", [event(), event()], "r-1");
  assert.equal(await head(), "0");
  assert.equal(await refusal(gateway.post("/v1/checkpoint", {}, "r-2")), 403);
  assert.equal(await head(), "0");
  assert.deepEqual(await installer.post("/v1/checkpoint", {}, "r-3"), { size: 2 });
  assert.equal(await head(), "2");
  assert.deepEqual(await installer.post("/v1/checkpoint", {}, "r-4"), { size: 2 });
});

test("a checkpoint that cannot be written is told, and the service goes on", async (t) => {
  const logged: string[] = [];
  const route = checkpointRoute({
    auditLog: {
      checkpointSize: 7,
      checkpoint: () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" })),
    },
    log: (_level, name) => void logged.push(name),
    serviceOf: () => "installer",
  });
  const server = await startServer({ host: "127.0.0.1", port: 0, routes: [route], log: () => {}, drainTimeoutMs: 0 });
  t.after(() => server.stop());
  const { status } = await fetch(`http://127.0.0.1:${server.port}/v1/checkpoint`, { method: "POST", body: "{}" });
  assert.equal(status, 503);
  assert.deepEqual(logged, ["checkpoint-failed"]);
});

test("a log that continues another one begins with saying so, before anybody can append", async (t) => {
  const ground = await auditGround(t);
  const root = Buffer.alloc(32, 9).toString("base64");
  const predecessor = { schemaVersion: 1, epoch: 2, origin: "site.example/old", size: 41, root };
  await writeFile(join(ground.directory, "predecessor"), JSON.stringify(predecessor));
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const { entries } = (await gateway.post("/v1/events", event(), "r-1")) as { entries: { index: number }[] };
  assert.equal(entries[0]?.index, 1);
  assert.ok(ground.logged.some(([name]) => name === "log-epoch-begun"));
});

test("a log whose predecessor cannot be read is not begun", async (t) => {
  const ground = await auditGround(t);
  await writeFile(join(ground.directory, "predecessor"), "{}");
  const audit = await ground.start();
  await until(() => audit.role === "failed");
  assert.equal(audit.port, undefined);
});

/** The status of a refusal; undefined if there was none. */
async function refusal(post: Promise<unknown>): Promise<number | undefined> {
  return post.then(
    () => undefined,
    (cause) => (cause as PeerError).status,
  );
}

test("an event with a caller needs that caller's principal, for this event and no other", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const { requestId, tenant, actor, role } = PRINCIPAL;
  const about = () => ({ ...event(), type: "request.allowed", requestId, tenant, actor, role });
  const signed = (given: { readonly id: string }, now: () => number = Date.now) => ({
    ...given,
    principal: testSigner("audit", now).sign(PRINCIPAL, given.id),
  });
  const forAudit = new PrincipalSigner("pii", principalKey("audit"));
  const audience = about();
  const refused: readonly (readonly [string, number, unknown])[] = [
    ["principal-missing", 403, about()],
    // By its type it needs no caller, and names one nevertheless.
    ["principal-missing", 403, { ...event(), tenant }],
    ["principal-missing", 403, { ...event(), role }],
    ["principal-missing", 403, { ...event(), type: "request.refused.rate" }],
    ["principal-malformed", 403, { ...about(), principal: "canary-token" }],
    ["principal-malformed", 403, { ...about(), principal: null }],
    ["principal-forged", 403, { ...audience, principal: testSigner("pii").sign(PRINCIPAL, audience.id) }],
    ["principal-audience", 403, { ...audience, principal: forAudit.sign(PRINCIPAL, audience.id) }],
    ["principal-expired", 401, signed(about(), () => Date.now() - 21_000)],
    ["principal-expired", 401, signed(about(), () => Date.now() + 6_000)],
    ["principal-replayed", 403, { ...signed(about()), id: randomUUID() }],
    ["principal-request", 403, { ...signed(about()), requestId: "another" }],
    ["principal-tenant", 403, { ...signed(about()), tenant: "another" }],
    ["principal-tenant", 403, signed(event())],
    ["principal-actor", 403, { ...signed(about()), actor: "another" }],
    ["principal-actor", 403, { ...signed(about()), role: "admin" }],
    ["principal-actor", 403, [signed(about()), { ...signed(about()), role: "admin" }]],
  ];
  for (const [code, wanted, body] of refused) {
    assert.equal(await refusal(gateway.post("/v1/events", body, "r-1")), wanted, code);
  }
  const logged = ground.logged.filter(([name]) => name === "principal-refused").map(([, fields]) => fields);
  assert.deepEqual(
    logged.map(({ code }) => code),
    refused.map(([code]) => code),
  );
  assert.deepEqual(Object.keys(logged[0] ?? {}), ["requestId", "code"]);
  assert.equal(audit.role, "writer");
  const { entries } = (await gateway.post("/v1/events", signed(about()), "r-3")) as { entries: { index: number }[] };
  assert.equal(entries[0]?.index, 0, "nothing that was refused is in the log");
});

test("the same event is a duplicate, with the same principal and with a new one; another one is none", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const gateway = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const { requestId, tenant, actor, role } = PRINCIPAL;
  const given = { ...event(), type: "request.allowed", requestId, tenant, actor, role };
  const sign = () => testSigner("audit").sign(PRINCIPAL, given.id);
  const first = { ...given, principal: sign() };
  const answers = [
    await gateway.post("/v1/events", first, "r-1"),
    await gateway.post("/v1/events", first, "r-1"),
    await gateway.post("/v1/events", { ...given, principal: sign() }, "r-1"),
  ];
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  await assert.rejects(gateway.post("/v1/events", [first, first, { ...first, status: 1 }], "r-1"), status(409));
  // Another instance, which reads the log: the event is known, though its principal is from before the start.
  await audit.stop();
  const next = await ground.start();
  await until(() => next.role === "writer");
  const again = await peerOf(t, ground.identities, "gateway", () => [next.port]);
  assert.deepEqual(await again.post("/v1/events", first, "r-1"), answers[0]);
  // Not so one that nobody knows.
  const unknown = { ...given, id: randomUUID() };
  const early = testSigner("audit", () => Date.now() - 4_000).sign(PRINCIPAL, unknown.id);
  assert.equal(await refusal(again.post("/v1/events", { ...unknown, principal: early }, "r-2")), 401);
});

test("a principal whose event the log does not know any more is a replay", async (t) => {
  const log = await openLog(await scratch(t));
  t.after(async () => void (await log.close()));
  const events = await EventLog.open(log, 1);
  const routes = eventRoutes({
    events,
    verifier: new PrincipalVerifier("audit", [principalKey("audit")]),
    spent: new SpentPrincipals(),
    log: () => {},
    serviceOf: () => "gateway",
  });
  const server = await startServer({ host: "127.0.0.1", port: 0, routes, log: () => {}, drainTimeoutMs: 0 });
  t.after(async () => void (await server.stop()));
  const { requestId, tenant, actor, role } = PRINCIPAL;
  const signed = () => {
    const given = { ...event(), type: "request.allowed", requestId, tenant, actor, role };
    return { ...given, principal: testSigner("audit").sign(PRINCIPAL, given.id) };
  };
  const post = async (body: unknown): Promise<string> => {
    const url = `http://127.0.0.1:${server.port}/v1/events`;
    const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) });
    const { error, entries } = (await answer.json()) as { error?: { code: string }; entries?: { index: number }[] };
    return error?.code ?? `at ${entries?.[0]?.index}`;
  };
  const first = signed();
  assert.deepEqual(
    [await post(first), await post(first), await post(signed()), await post(first)],
    ["at 0", "at 0", "at 1", "principal-replayed"],
  );
});

test("an append is answered only when it is on stable storage, and a full batch of the client is one request", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const peer = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const batches: number[] = [];
  const counting: Pick<Peer, "post"> = {
    post: (path, body, requestId) => {
      batches.push((JSON.parse(String(body)) as unknown[]).length);
      return peer.post(path, body, requestId);
    },
  };
  const client = openAuditClient({ peer: counting, service: "gateway" });
  const receipts = await Promise.all(
    Array.from({ length: 500 }, (_, i) =>
      client.append({ type: "request.refused.identity", requestId: `r-${i}`, tenant: undefined }),
    ),
  );
  assert.equal(new Set(receipts.map(({ index }) => index)).size, 500);
  assert.deepEqual(batches, [256, 244]);
});

test("one bad event does not take the others of its batch with it", async (t) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const peer = await peerOf(t, ground.identities, "gateway", () => [audit.port]);
  const client = openAuditClient({ peer, service: "gateway" });
  const appends = Array.from({ length: 20 }, (_, i) =>
    client.append({ type: "request.refused.identity", requestId: `r-${i}`, ...(i === 13 && { prompt: "text" }) }),
  );
  const settled = await Promise.allSettled(appends);
  assert.deepEqual(
    settled.flatMap(({ status }, i) => (status === "rejected" ? [i] : [])),
    [13],
  );
});

test("a new instance takes the log over while appends wait, and none is lost or doubled", async (t) => {
  const ground = await auditGround(t);
  const old = await ground.start();
  await until(() => old.role === "writer");
  const running = [old];
  const peer = await peerOf(t, ground.identities, "gateway", () => running.map(({ port }) => port));
  const client = openAuditClient({ peer, service: "gateway" });
  const indices: number[] = [];
  let isOver = false;
  let last = performance.now();
  let gap = 0;
  const writer = async (number: number): Promise<void> => {
    for (let i = 0; !isOver; i += 1) {
      const { index } = await client.append({ type: "request.refused.identity", requestId: `r-${number}-${i}` });
      gap = Math.max(gap, performance.now() - last);
      last = performance.now();
      indices.push(index);
    }
  };
  const writers = Array.from({ length: 16 }, (_, i) => writer(i));
  await until(() => indices.length > 200);
  const next = await ground.start();
  running.push(next);
  await until(() => next.role === "writer" && old.role === "retired");
  assert.equal(old.port, undefined);
  assert.equal(await health(old.adminPort, "/readyz"), 503);
  assert.equal(await health(next.adminPort, "/readyz"), 200);
  const taken = indices.length;
  await until(() => indices.length > taken + 200);
  isOver = true;
  await Promise.all(writers);
  t.diagnostic(`longest time without an acknowledged append: ${gap.toFixed(0)} ms`);
  assert.ok(gap < 2_000);
  assert.deepEqual(
    indices.sort((a, b) => a - b),
    Array.from({ length: indices.length }, (_, i) => i),
  );
});

test("an instance whose successor does not serve takes the log again", async (t) => {
  const ground = await auditGround(t);
  const old = await ground.start();
  await until(() => old.role === "writer");
  const { size } = await openAuditClient({
    peer: await peerOf(t, ground.identities, "gateway", () => [old.port]),
    service: "gateway",
  })
    .append({ type: "request.refused.identity", requestId: "r-1" })
    .then(({ index }) => ({ size: index + 1 }));
  const other = await ground.start({ origin: "another.example/log" });
  await until(() => other.role === "failed");
  await until(() => old.role === "writer");
  assert.equal(await health(other.adminPort, "/readyz"), 503);
  assert.equal(await health(other.adminPort, "/healthz"), 200);
  const peer = await peerOf(t, ground.identities, "gateway", () => [old.port]);
  const { index } = await openAuditClient({ peer, service: "gateway" }).append({
    type: "request.refused.identity",
    requestId: "r-2",
  });
  assert.equal(index, size);
  // One that dies between the two words.
  const asked = await askForLog(ground.directory, new AbortController().signal);
  assert.ok(asked && old.role === "standby");
  asked.giveUp();
  await until(() => old.role === "writer");
});

test("an instance that stops lets one that waits have the log", async (t) => {
  const ground = await auditGround(t);
  const lock = DirectoryLock.tryTake(ground.directory);
  const waiting = await ground.start();
  assert.equal(waiting.role, "standby");
  assert.equal(await health(waiting.adminPort, "/readyz"), 503);
  assert.equal(await health(waiting.adminPort, "/healthz"), 200);
  lock?.release();
  await until(() => waiting.role === "writer");
  assert.ok(await waiting.stop());
  const next = await ground.start();
  await until(() => next.role === "writer");
});

test("a standby that is told to stop while it waits for an answer stops", async (t) => {
  const ground = await auditGround(t);
  const lock = DirectoryLock.tryTake(ground.directory);
  const door = await openDoor(ground.directory);
  const waiting = await ground.start();
  await door.successor;
  assert.ok(await waiting.stop());
  door.close();
  lock?.release();
});

test("what is not a successor does not get an answer, and a second one neither", async (t) => {
  const directory = await scratch(t);
  const door = await openDoor(directory);
  const ended = (text: string) =>
    new Promise<string>((resolve) => {
      let heard = "";
      const socket = connect(join(directory, "hand-over"), () => socket.write(text));
      socket.on("data", (chunk) => (heard += chunk));
      socket.on("close", () => resolve(heard));
    });
  assert.equal(await ended("GET / HTTP/1.1\r\n\r\n"), "");
  const asking = askForLog(directory, new AbortController().signal);
  const successor = await door.successor;
  assert.equal(await ended("hand over\n"), "");
  const released = successor.released();
  (await asking)?.taken();
  assert.equal(await released, true);
  door.close();
  assert.equal(await askForLog(directory, new AbortController().signal), undefined);
});

test("a log that was changed is not opened, and the log says why", async (t) => {
  const ground = await auditGround(t);
  const log = await openLog(ground.directory);
  await log.append([Buffer.from("entry")]);
  await log.close();
  await truncate(join(ground.directory, "tile/0/000.p/1"), 3);
  const audit = await ground.start();
  await until(() => audit.role === "failed");
  assert.equal(await health(audit.adminPort, "/readyz"), 503);
  assert.deepEqual(
    ground.logged.filter(([name]) => name === "log-not-opened").map(([, { reason }]) => reason),
    ["Error: level 0 ends in a broken tile"],
  );
  assert.ok(DirectoryLock.tryTake(ground.directory), "the lock is free");
});

test("a log that cannot be opened for another reason is tried again", async (t) => {
  const ground = await auditGround(t);
  const segments = join(ground.directory, "segments");
  await writeFile(segments, "in the way");
  const audit = await ground.start();
  await until(() => ground.logged.some(([name]) => name === "log-not-opened"));
  assert.equal(audit.role, "standby");
  assert.equal(await health(audit.adminPort, "/readyz"), 503);
  await rm(segments);
  await until(() => audit.role === "writer");
});

test("settings that are wrong are told at once, and no key in them", async (t) => {
  assert.throws(
    () => readSettings({}),
    (cause) =>
      cause instanceof SettingsError && /IDENTITY_FILE.*LOG_DIRECTORY.*CHECKPOINT_KEY_FILE/.test(cause.message),
  );
  const { environment, start } = await auditGround(t);
  await assert.rejects(start({ directory: "/nonexistent" }), SettingsError);
  assert.throws(() => readSettings({ ...environment, LOG_ORIGIN: "a name" }), SettingsError);
  const file = join(await scratch(t), "key");
  for (const content of ["", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"]) {
    await writeFile(file, content);
    await assert.rejects(
      readCheckpointKey(file),
      (cause) => cause instanceof SettingsError && !cause.message.includes("SECRET"),
    );
  }
  await appendFile(file, "");
  await assert.rejects(readCheckpointKey(`${file}-none`), SettingsError);
});
