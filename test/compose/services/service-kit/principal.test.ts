import assert from "node:assert/strict";
import { createHmac, createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import {
  PRINCIPAL_GOOD_MS,
  type PrincipalFault,
  PrincipalSigner,
  PrincipalVerifier,
  readPrincipalKeys,
  requireSame,
  type VerifiedPrincipal,
} from "../../../../compose/services/service-kit/src/principal.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";
import { SpentPrincipals } from "../../../../compose/services/service-kit/src/spent-principals.ts";
import { scratch } from "../../../support/scratch.ts";
import { PRINCIPAL } from "../../../support/test-principals.ts";

const SECRET = randomBytes(32);
const KEY = createSecretKey(SECRET);
const NOW = 1_700_000_000_123;
const signer = new PrincipalSigner("audit", KEY, () => NOW);
const verifierAt = (ms: number) => new PrincipalVerifier("audit", [KEY], () => NOW + ms);

const refused = (fault: PrincipalFault) => ({ name: "PrincipalRefused", code: `principal-${fault}` });

/** What `header` and `claims` say, signed as RFC 7515 says. */
function jws(header: object, claims: unknown, secret: Buffer = SECRET): string {
  const parts = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  const signed = parts.join(".");
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

const HEADER = { alg: "HS256", typ: "sealift-principal+jwt" };
const CLAIMS = {
  iss: "gateway",
  aud: "audit",
  sub: PRINCIPAL.actor,
  jti: "event-1",
  iat: NOW / 1000,
  exp: (NOW + 15_000) / 1000,
  requestId: PRINCIPAL.requestId,
  tenant: PRINCIPAL.tenant,
  tenantName: PRINCIPAL.tenantName,
  role: PRINCIPAL.role,
};

test("a principal is a JWS that anybody could make who has the key, and comes back as it was", () => {
  const token = signer.sign(PRINCIPAL, "event-1");
  assert.equal(token, jws(HEADER, CLAIMS));
  assert.deepEqual(verifierAt(0).verify(token, "gateway"), { ...PRINCIPAL, id: "event-1", issuedAt: NOW });
});

test("refuses one that is missing, or no token of this kind", () => {
  const good = jws(HEADER, CLAIMS);
  assert.throws(() => verifierAt(0).verify(undefined, "gateway"), refused("missing"));
  const { jti: _, ...noId } = CLAIMS;
  const malformed: readonly unknown[] = [
    null,
    7,
    "",
    good.split(".").slice(0, 2).join("."),
    `${good}=`,
    `${good}A`,
    `${good} `,
    jws({ ...HEADER, alg: "none" }, CLAIMS),
    jws({ ...HEADER, alg: "HS512" }, CLAIMS),
    jws({ ...HEADER, typ: "JWT" }, CLAIMS),
    `${good.split(".").slice(0, 2).join(".")}.`,
    jws(HEADER, { ...CLAIMS, pad: "x".repeat(2048) }),
    // Signed with the key, and yet not of this form.
    jws(HEADER, noId),
    jws(HEADER, { ...CLAIMS, tenant: 7 }),
    jws(HEADER, { ...CLAIMS, role: "" }),
    jws(HEADER, { ...CLAIMS, exp: "never" }),
    jws(HEADER, null),
    jws(HEADER, "claims"),
  ];
  for (const token of malformed) {
    assert.throws(() => verifierAt(0).verify(token, "gateway"), refused("malformed"), String(token));
  }
});

test("refuses one that another key signed, and one of which anything was changed", () => {
  const [header, claims, signature = ""] = jws(HEADER, CLAIMS).split(".");
  const other = Buffer.from(JSON.stringify({ ...CLAIMS, role: "admin" })).toString("base64url");
  // The last character of 43 has two bits that no byte has: another text, the same bytes.
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const twin = alphabet[alphabet.indexOf(signature.slice(-1)) ^ 1];
  for (const token of [
    jws(HEADER, CLAIMS, randomBytes(32)),
    `${header}.${other}.${signature}`,
    `${header}.${claims}.${"A".repeat(43)}`,
    `${header}.${claims}.${signature.slice(0, -1)}${twin}`,
  ]) {
    assert.throws(() => verifierAt(0).verify(token, "gateway"), refused("forged"), token);
  }
});

test("refuses one for another service, and one that another service sends", () => {
  const forPii = new PrincipalSigner("pii", KEY, () => NOW).sign(PRINCIPAL, "event-1");
  assert.throws(() => verifierAt(0).verify(forPii, "gateway"), refused("audience"));
  assert.throws(() => verifierAt(0).verify(signer.sign(PRINCIPAL, "event-1"), "pii"), refused("issuer"));
});

test("one is good for 15 seconds, with 5 for clocks that differ, and none is good for longer", () => {
  const token = signer.sign(PRINCIPAL, "event-1");
  for (const ms of [-5_000, 0, 15_000, 20_000]) verifierAt(ms).verify(token, "gateway");
  for (const ms of [-5_001, 20_001]) {
    assert.throws(() => verifierAt(ms).verify(token, "gateway"), refused("expired"), `${ms}`);
  }
  const long = jws(HEADER, { ...CLAIMS, exp: (NOW + 15_001) / 1000 });
  assert.throws(() => verifierAt(0).verify(long, "gateway"), refused("expired"));
});

test("what it came with must be about the same request, tenant, actor and role", () => {
  const { requestId, tenant, tenantName, actor, role } = PRINCIPAL;
  requireSame(PRINCIPAL, { requestId, tenant, tenantName, actor, role });
  requireSame(PRINCIPAL, { requestId });
  assert.throws(() => requireSame(PRINCIPAL, { requestId: "request-2" }), refused("request"));
  assert.throws(() => requireSame(PRINCIPAL, { tenant: "another" }), refused("tenant"));
  assert.throws(() => requireSame(PRINCIPAL, { tenant: undefined }), refused("tenant"));
  assert.throws(() => requireSame(PRINCIPAL, { tenantName: tenant }), refused("tenant"));
  assert.throws(() => requireSame(PRINCIPAL, { actor: "another" }), refused("actor"));
  assert.throws(() => requireSame(PRINCIPAL, { role: "admin" }), refused("actor"));
});

test("a key is 64 hexadecimal digits", async (t) => {
  const path = join(await scratch(t), "key");
  await writeFile(path, `${SECRET.toString("hex")}\n`);
  assert.ok((await readPrincipalKeys(path))[0].equals(KEY));
  const good = "a1".repeat(32);
  for (const text of ["a1", "A1".repeat(32), `${good}a1`, "g".repeat(64), `${good}\n`.repeat(3), `${good}\ng`]) {
    await writeFile(path, text);
    await assert.rejects(readPrincipalKeys(path), SettingsError, text);
  }
});

test("while a key is rotated, what either of the two signed is taken, and what a third did is not", async (t) => {
  const path = join(await scratch(t), "key");
  const [old, next] = ["a1", "b2"].map((pair) => createSecretKey(Buffer.from(pair.repeat(32), "hex"))) as [
    KeyObject,
    KeyObject,
  ];
  await writeFile(path, `${"b2".repeat(32)}\n${"a1".repeat(32)}\n`);
  const keys = await readPrincipalKeys(path);
  assert.ok(keys[0].equals(next), "the first is the one to sign with");
  const verifier = new PrincipalVerifier("audit", keys, () => NOW);
  for (const key of [old, next]) {
    const token = new PrincipalSigner("audit", key, () => NOW).sign(PRINCIPAL, "event-1");
    assert.equal(verifier.verify(token, "gateway").id, "event-1");
  }
  const third = new PrincipalSigner("audit", createSecretKey(Buffer.alloc(32)), () => NOW).sign(PRINCIPAL, "event-1");
  assert.throws(() => verifier.verify(third, "gateway"), refused("forged"));
});

function spent(max?: number) {
  const time = { clock: NOW, uptime: 1_000_000 };
  const options = { now: () => time.clock, uptime: () => time.uptime, ...(max !== undefined && { max }) };
  const pass = (ms: number): void => {
    time.clock += ms;
    time.uptime += ms;
  };
  const one = (id: string, issuedAt = time.clock): VerifiedPrincipal => ({ ...PRINCIPAL, id, issuedAt });
  return { spent: new SpentPrincipals(options), time, pass, one };
}

test("one that was used is refused for as long as it could be good, and not for ever", () => {
  const { spent: all, pass, one } = spent();
  for (const wait of [0, 1, 10_000, 14_000]) {
    const id = `event-${wait}`;
    pass(wait);
    all.requireUnspent(one(id));
    all.spend(one(id));
    assert.throws(() => all.requireUnspent(one(id)), refused("replayed"));
    pass(PRINCIPAL_GOOD_MS);
    assert.throws(() => all.requireUnspent(one(id)), refused("replayed"), `after ${wait} ms`);
  }
  pass(2 * PRINCIPAL_GOOD_MS);
  all.requireUnspent(one("event-14000"));
});

test("after a start, none from before it is taken, until all of them have ended", () => {
  const { spent: all, time, pass, one } = spent();
  const before = time.clock - 1;
  assert.throws(() => all.requireUnspent(one("event-1", before)), refused("expired"));
  all.requireUnspent(one("event-1"));
  // A clock that was set back stops nothing for longer than that.
  pass(PRINCIPAL_GOOD_MS);
  all.requireUnspent(one("event-1", before));
});

test("more than can be told apart are refused until others have ended, none is forgotten for them", () => {
  const { spent: all, pass, one } = spent(2);
  for (const id of ["a", "b"]) all.spend(one(id));
  assert.throws(() => all.requireUnspent(one("c")), refused("busy"));
  assert.throws(() => all.requireUnspent(one("a")), refused("replayed"));
  pass(PRINCIPAL_GOOD_MS);
  all.requireUnspent(one("c"));
  assert.throws(() => all.requireUnspent(one("a")), refused("replayed"));
});
