import assert from "node:assert/strict";
import test from "node:test";
import { openAuditClient } from "../../../../compose/services/service-kit/src/audit-client.ts";
import { PeerError } from "../../../../compose/services/service-kit/src/peer-client.ts";
import { PrincipalVerifier } from "../../../../compose/services/service-kit/src/principal.ts";
import { PRINCIPAL, principalKey, testSigner } from "../../../support/test-principals.ts";

interface Sent {
  readonly id: string;
  readonly ts: string;
  readonly service: string;
}

/** A peer that answers as `answers` says, the last one again and again; what it was sent, by request. */
function scripted(answers: readonly ((events: readonly Sent[]) => unknown)[]) {
  const requests: (readonly Sent[])[] = [];
  const post = async (_: string, body: unknown): Promise<unknown> => {
    const events = JSON.parse(String(body)) as readonly Sent[];
    requests.push(events);
    return answers[Math.min(requests.length, answers.length) - 1]?.(events);
  };
  return { requests, peer: { post } };
}

const accept = (events: readonly Sent[]) => ({
  entries: events.map(({ id }, index) => ({ id, index, leafHash: "h" })),
});
const fail = (code: string, status?: number) => (): never => {
  throw new PeerError(code, status);
};
const event = { type: "request.allowed", requestId: "r-1" };

test("an event that was not answered is sent again with the same id and time", async () => {
  const { requests, peer } = scripted([fail("ECONNREFUSED"), fail("PEER_REFUSED", 503), accept]);
  const receipt = await openAuditClient({ peer, service: "gateway" }).append(event);
  assert.equal(requests.length, 3);
  assert.deepEqual(requests[2], requests[0]);
  assert.deepEqual(receipt, { id: requests[0]?.[0]?.id, index: 0, leafHash: "h" });
  assert.equal(requests[0]?.[0]?.service, "gateway");
});

test("an event about somebody carries that one's principal, signed anew each time it is sent", async () => {
  const { requests, peer } = scripted([fail("PEER_REFUSED", 503), fail("PEER_REFUSED", 401), accept]);
  let now = 1_000_000_000_000;
  const signer = testSigner("audit", () => (now += 1_000));
  const client = openAuditClient({ peer, service: "gateway", signer });
  await client.append({ ...event, requestId: PRINCIPAL.requestId }, PRINCIPAL);
  const sent = requests.map(([one]) => one as Sent & { readonly principal: string });
  const times = sent.map(({ id, principal }) => {
    const verified = new PrincipalVerifier("audit", [principalKey("audit")], () => now).verify(principal, "gateway");
    assert.deepEqual(verified, { ...PRINCIPAL, id, issuedAt: verified.issuedAt });
    return verified.issuedAt;
  });
  assert.deepEqual(times, [1_000_000_001_000, 1_000_000_002_000, 1_000_000_003_000]);
  const [first, ...others] = sent.map(({ principal: _, ...rest }) => rest);
  for (const other of others) assert.deepEqual(other, first);
  await client.append(event);
  assert.ok(!("principal" in (requests.at(-1)?.[0] ?? {})));
});

test("an answer about other events, or none, is no answer", async () => {
  const wrong = [
    () => undefined,
    () => ({ entries: [] }),
    () => ({ entries: [{ id: "another", index: 0, leafHash: "h" }] }),
    ([sent]: readonly Sent[]) => ({ entries: [{ id: sent?.id, index: "0", leafHash: "h" }] }),
    accept,
  ];
  const { requests, peer } = scripted(wrong);
  await openAuditClient({ peer, service: "gateway" }).append(event);
  assert.equal(requests.length, wrong.length);
});

test("an event that nobody takes fails in time, and one that is refused for good at once", async () => {
  const silent = scripted([fail("ECONNREFUSED")]);
  const started = performance.now();
  await assert.rejects(openAuditClient({ peer: silent.peer, service: "gateway", holdMs: 120 }).append(event), {
    code: "ECONNREFUSED",
  });
  assert.ok(performance.now() - started < 2_000);
  assert.ok(silent.requests.length >= 2);
  const refusing = scripted([fail("PEER_REFUSED", 400)]);
  await assert.rejects(openAuditClient({ peer: refusing.peer, service: "gateway" }).append(event), { status: 400 });
  assert.equal(refusing.requests.length, 1);
});

test("whoever appends once more gives the event its id", async () => {
  const { requests, peer } = scripted([accept]);
  const id = "00000000-0000-4000-8000-000000000000";
  await openAuditClient({ peer, service: "gateway" }).append({ ...event, id, ts: "2026-11-21T07:00:00.000Z" });
  assert.deepEqual([requests[0]?.[0]?.id, requests[0]?.[0]?.ts], [id, "2026-11-21T07:00:00.000Z"]);
});

test("nobody appends in another service's name", async () => {
  const { requests, peer } = scripted([accept]);
  await openAuditClient({ peer, service: "gateway" }).append({ ...event, service: "pii", v: 7 });
  assert.equal(requests[0]?.[0]?.service, "gateway");
});

test("a batch is at most 256 events and half a megabyte", async () => {
  const { requests, peer } = scripted([accept]);
  const client = openAuditClient({ peer, service: "gateway" });
  const large = "x".repeat(100_000);
  await Promise.all([
    ...Array.from({ length: 600 }, () => client.append(event)),
    ...Array.from({ length: 12 }, () => client.append({ ...event, large })),
  ]);
  assert.equal(Math.max(...requests.map(({ length }) => length)), 256);
  assert.ok(requests.every((events) => JSON.stringify(events).length < 600_000));
  assert.equal(
    requests.reduce((sum, { length }) => sum + length, 0),
    612,
  );
});
