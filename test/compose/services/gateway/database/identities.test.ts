import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import {
  type ApiKeyProof,
  makeApiKey,
  proveApiKey,
} from "../../../../../compose/services/gateway/src/database/api-key.ts";
import type { Login } from "../../../../../compose/services/gateway/src/database/database.ts";
import { openIdentities } from "../../../../../compose/services/gateway/src/database/identities.ts";

const PEPPER = "0123456789abcdef".repeat(4);

const loginUntil = (expiresAt: number): Login => ({
  ...{ tenantId: "t", tenantName: "t", principalId: "p", principalName: "p", role: "r", models: [] },
  ...{ keyId: "k", capabilities: [], token: "token", expiresAt: new Date(expiresAt) },
});

/** A database that counts how often it is asked. */
function counting(answer: (proof: ApiKeyProof) => Promise<Login | undefined>) {
  const asked: string[] = [];
  return {
    asked,
    login: (proof: ApiKeyProof) => {
      asked.push(proof.prefix);
      return answer(proof);
    },
  };
}

test("keys differ, tell their prefix, and are kept as a hash of what is presented", () => {
  const [one, two] = [makeApiKey(PEPPER), makeApiKey(PEPPER)];
  assert.match(one.key, /^slk_[a-z2-7]{12}_[A-Za-z0-9_-]{43}$/);
  assert.notEqual(one.key, two.key);
  assert.ok(one.key.startsWith(`slk_${one.prefix}_`));
  const proof = proveApiKey(one.key, PEPPER) ?? assert.fail();
  assert.equal(proof.prefix, one.prefix);
  assert.deepEqual(createHash("sha256").update(proof.presented).digest(), one.hash);
  assert.notDeepEqual(proveApiKey(one.key, `${PEPPER}0`)?.presented, proof.presented);
});

test("a text that is no key is told without the database", async () => {
  const database = counting(async () => assert.fail());
  const identities = openIdentities(database, { pepper: PEPPER });
  const { key } = makeApiKey(PEPPER);
  for (const text of ["", "sk-abc", key.slice(0, -1), `${key}a`, ` ${key}`, `${key}\n`, key.toUpperCase(), "slk_'_"]) {
    assert.equal(await identities.identify(text), undefined, text);
  }
  assert.deepEqual(database.asked, []);
});

test("an answer counts for a few seconds, for a good key and for a bad one", async () => {
  let now = 0;
  const login = loginUntil(Date.now() + 900_000);
  const good = makeApiKey(PEPPER);
  const bad = makeApiKey(PEPPER);
  const database = counting(async ({ prefix }) => (prefix === good.prefix ? login : undefined));
  const identities = openIdentities(database, { pepper: PEPPER, keepMs: 5_000, now: () => now });
  const all = await Promise.all([1, 2, 3].map(() => identities.identify(good.key)));
  assert.deepEqual(all, [login, login, login]);
  assert.equal(await identities.identify(bad.key), undefined);
  assert.equal(await identities.identify(bad.key), undefined);
  assert.deepEqual(database.asked, [good.prefix, bad.prefix], "each asked once, also when asked at the same time");
  now = 4_999;
  await identities.identify(good.key);
  assert.equal(database.asked.length, 2);
  now = 5_000;
  await identities.identify(good.key);
  assert.equal(database.asked.length, 3);
});

test("a failure and a login that is about to end are not remembered", async () => {
  const { key } = makeApiKey(PEPPER);
  let answer: () => Promise<Login | undefined> = () => Promise.reject(new Error("away"));
  const database = counting(() => answer());
  const identities = openIdentities(database, { pepper: PEPPER, now: () => 0 });
  await assert.rejects(identities.identify(key), /away/);
  await assert.rejects(identities.identify(key), /away/);
  assert.equal(database.asked.length, 2);
  answer = async () => loginUntil(Date.now() + 59_000);
  await identities.identify(key);
  await identities.identify(key);
  assert.equal(database.asked.length, 4);
});

test("remembers a bounded number of keys", async () => {
  const database = counting(async () => undefined);
  const identities = openIdentities(database, { pepper: PEPPER, now: () => 0 });
  const first = makeApiKey(PEPPER).key;
  await identities.identify(first);
  for (let count = 0; count < 10_000; count += 1) await identities.identify(makeApiKey(PEPPER).key);
  assert.equal(database.asked.length, 10_001);
  await identities.identify(first);
  assert.equal(database.asked.length, 10_002, "the oldest was forgotten");
});
