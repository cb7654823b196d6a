import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import {
  checkAuthorization,
  checkSignatures,
  type PlanSubject,
  parseRequest,
  spendAuthorization,
} from "../../installer/lifecycle/authorization.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import {
  operatorChange,
  operatorChangeParameters,
  planOperatorChange,
} from "../../installer/lifecycle/operator-change.ts";
import type { Site } from "../../installer/lifecycle/site.ts";
import { verifyWithSshKeygen } from "../../installer/lifecycle/ssh-keygen.ts";
import { addOperators, makeAuthority, removeOperator } from "../../installer/site/authority.ts";
import { parseSshKey } from "../../installer/site/ssh-key.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, sshSign, type TestSigner, wireString } from "../support/ssh-signer.ts";
import { HOUR_MS, makeTestSite, request, upgradePlan } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const check = (site: Site, subject: PlanSubject, bytes: Uint8Array, ...signatures: Uint8Array[]) =>
  checkAuthorization(
    site,
    subject,
    bytes,
    signatures.map((signature, i) => ({ name: `${i + 1}.sig`, bytes: signature })),
  );

/** The request with members of another value, canonical again. */
function altered(bytes: Buffer, change: Record<string, unknown>): Buffer {
  return canonicalJson({ ...parseRequest(bytes), ...change });
}

test("an operator's signature on the plan of this site is an authorization, and says who gave it", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const { approvals } = await check(open(), upgradePlan(), bytes, sshSign(alice, bytes));
  assert.deepEqual(approvals, [{ principal: "alice", fingerprint: alice.key.fingerprint }]);
});

test("ssh-keygen's own signatures count, of ed25519, ecdsa and rsa keys", async (t) => {
  const directory = await scratch(t);
  const file = join(directory, "request");
  const { open } = makeTestSite(directory);
  const bytes = request(open(), upgradePlan());
  writeFileSync(file, bytes);
  const operators = ["ed25519", "ecdsa", "rsa"].map((type) => {
    const key = join(directory, type);
    const size = type === "rsa" ? ["-b", "3072"] : [];
    execFileSync("ssh-keygen", ["-q", "-t", type, ...size, "-N", "", "-f", key]);
    const [keyType = "", base64 = ""] = readFileSync(`${key}.pub`, "utf8").split(" ");
    return { principal: type, key: parseSshKey(keyType, base64, type) };
  });
  const authority = makeAuthority({ operators, reviewers: [], thresholds: { upgrade: 3 }, recoveryKey: undefined }, 1);
  const signatures = operators.map(({ principal }) => ({
    name: principal,
    bytes: execFileSync("ssh-keygen", ["-Y", "sign", "-n", "sealift-authorization", "-f", join(directory, principal)], {
      input: bytes,
      stdio: ["pipe", "pipe", "ignore"],
    }),
  }));
  const approvals = await checkSignatures(authority, "upgrade", bytes, signatures, new Date());
  assert.deepEqual(
    approvals.map(({ principal }) => principal),
    ["ed25519", "ecdsa", "rsa"],
  );
});

test("root without a signature authorizes nothing", async (t) => {
  const { open } = makeTestSite(await scratch(t));
  await assert.rejects(check(open(), upgradePlan(), request(open(), upgradePlan())), coded("AUTHORIZATION_MISSING"));
});

test("an authorization is spent by its first use", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const signature = sshSign(alice, bytes);
  spendAuthorization(open(), await check(open(), upgradePlan(), bytes, signature));
  await assert.rejects(check(open(), upgradePlan(), bytes, signature), coded("AUTHORIZATION_REPLAYED"));
});

test("a request that was made before something else happened is stale", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const [first, second] = [request(open(), upgradePlan()), request(open(), upgradePlan())];
  spendAuthorization(open(), await check(open(), upgradePlan(), second, sshSign(alice, second)));
  await assert.rejects(check(open(), upgradePlan(), first, sshSign(alice, first)), coded("AUTHORIZATION_STALE"));
  const elsewhere = altered(first, { ledgerHead: `sha256:${"0".repeat(64)}` });
  await assert.rejects(
    check(open(), upgradePlan(), elsewhere, sshSign(alice, elsewhere)),
    coded("AUTHORIZATION_STALE"),
  );
});

test("a request for another site is refused", async (t) => {
  const [here, there] = [makeTestSite(await scratch(t)), makeTestSite(await scratch(t))];
  const bytes = request(there.open(), upgradePlan());
  await assert.rejects(
    check(here.open(), upgradePlan(), bytes, sshSign(here.alice, bytes)),
    coded("AUTHORIZATION_OTHER_SITE"),
  );
});

test("each member of the plan must be the one that would be done", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const other = `sha256:${"9".repeat(64)}` as PlanSubject["to"];
  const changes: Partial<PlanSubject>[] = [
    { action: "rollback" },
    { from: null },
    { to: other },
    { configDigest: other },
    { policyDigest: null },
    { trustVersion: 4 },
    { details: ["another text"] },
  ];
  for (const change of changes) {
    const bytes = request(open(), upgradePlan(change));
    const checked = check(open(), upgradePlan(), bytes, sshSign(alice, bytes));
    await assert.rejects(checked, coded("AUTHORIZATION_OTHER_PLAN"), JSON.stringify(change));
  }
});

test("an expired request, one from the future and one that lives too long are refused", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const check1 = (b: Buffer) => check(open(), upgradePlan(), b, sshSign(alice, b));
  const future = altered(bytes, { created: "2026-11-21T08:30:00.000Z" });
  await assert.rejects(check1(future), coded("AUTHORIZATION_NOT_YET_VALID"));
  await assert.rejects(
    check1(altered(bytes, { expires: "2027-01-21T08:30:00.000Z" })),
    coded("AUTHORIZATION_MALFORMED"),
  );
  await assert.rejects(
    check1(altered(bytes, { expires: "2026-11-20T08:30:00.000Z" })),
    coded("AUTHORIZATION_MALFORMED"),
  );
  clock.pass(HOUR_MS);
  await assert.rejects(check1(bytes), coded("AUTHORIZATION_EXPIRED"));
});

test("a changed byte, a newline at the end and another member of JSON are refused", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const signature = sshSign(alice, bytes);
  const reason = altered(bytes, { reason: "tess" });
  await assert.rejects(check(open(), upgradePlan(), reason, signature), coded("AUTHORIZATION_SIGNATURE_INVALID"));
  for (const wrong of [Buffer.concat([bytes, Buffer.from("\n")]), altered(bytes, { extra: 1 }), Buffer.from("{}")]) {
    await assert.rejects(check(open(), upgradePlan(), wrong, signature), coded("AUTHORIZATION_MALFORMED"));
  }
});

test("a signature in another namespace, of an unlisted key or that is no signature is refused", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const cases: [string, Buffer][] = [
    ["AUTHORIZATION_NAMESPACE", sshSign(alice, bytes, { namespace: "file" })],
    ["AUTHORIZATION_KEY_UNKNOWN", sshSign(makeSigner(), bytes)],
    ["AUTHORIZATION_SIGNATURE_INVALID", sshSign(makeSigner(), bytes, { blob: alice.blob })],
    ["AUTHORIZATION_SIGNATURE_MALFORMED", Buffer.from("garbage")],
    ["AUTHORIZATION_SIGNATURE_MALFORMED", Buffer.alloc(0)],
    ["AUTHORIZATION_SIGNATURE_MALFORMED", sshSign(alice, bytes, { reserved: "x" })],
    ["AUTHORIZATION_SIGNATURE_MALFORMED", sshSign(alice, bytes, { hash: "sha384" })],
  ];
  for (const [code, signature] of cases) {
    await assert.rejects(check(open(), upgradePlan(), bytes, signature), coded(code), code);
    // Beside a good one too.
    await assert.rejects(check(open(), upgradePlan(), bytes, sshSign(alice, bytes), signature), coded(code), code);
  }
});

test("a certificate's signature is refused, whoever certified the key", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const blob = Buffer.concat([wireString("ssh-ed25519-cert-v01@openssh.com"), wireString("nonce"), alice.blob]);
  await assert.rejects(
    check(open(), upgradePlan(), bytes, sshSign(alice, bytes, { blob })),
    coded("AUTHORIZATION_SIGNATURE_MALFORMED"),
  );
});

test("a hardware key counts when it was touched; ssh-keygen accepts it untouched, and we do not", async (t) => {
  const { open, carol } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  for (const flags of [0x01, 0x05]) {
    const { approvals } = await check(open(), upgradePlan(), bytes, sshSign(carol, bytes, { flags }));
    assert.equal(approvals[0]?.principal, "carol");
  }
  for (const flags of [0x00, 0x04]) {
    const signature = sshSign(carol, bytes, { flags });
    const signers = open().authority.document.operators;
    const verification = { message: bytes, signature, principal: "carol", signers, at: new Date() };
    assert.deepEqual(await verifyWithSshKeygen(verification), { ok: true });
    await assert.rejects(check(open(), upgradePlan(), bytes, signature), coded("AUTHORIZATION_NO_TOUCH"));
  }
  // The flag is under the signature: setting it afterwards breaks that.
  const forged = Buffer.from(sshSign(carol, bytes, { flags: 0 }).toString());
  const base64 = forged.toString().split("\n").slice(1, -2).join("");
  const blob = Buffer.from(base64, "base64");
  blob[blob.length - 5] = 1;
  const text = forged
    .toString()
    .replace(/\n[^-]+\n-----END/, `\n${blob.toString("base64").replace(/.{70}/g, "$&\n")}\n-----END`);
  await assert.rejects(
    check(open(), upgradePlan(), bytes, Buffer.from(text)),
    coded("AUTHORIZATION_SIGNATURE_INVALID"),
  );
});

test("a threshold of two wants two people: one key twice, or two keys of one person, are one", async (t) => {
  const { open, alice, bob, carol } = makeTestSite(await scratch(t), { upgrade: 2 });
  const bytes = request(open(), upgradePlan());
  const signed = (...signers: TestSigner[]) =>
    check(open(), upgradePlan(), bytes, ...signers.map((signer) => sshSign(signer, bytes)));
  for (const pair of [
    [alice, bob],
    [carol, alice],
    [alice, bob, carol],
  ]) {
    assert.equal((await signed(...pair)).approvals.length, pair.length);
  }
  await assert.rejects(signed(alice), coded("AUTHORIZATION_THRESHOLD_NOT_MET"));
  await assert.rejects(signed(alice, alice), coded("AUTHORIZATION_THRESHOLD_NOT_MET"));
  const second = makeSigner();
  const authority = addOperators(open().authority, [{ principal: "alice", key: second.key }]);
  const both = [alice, second].map((signer, i) => ({ name: `${i}`, bytes: sshSign(signer, bytes) }));
  await assert.rejects(
    checkSignatures(authority, "upgrade", bytes, both, new Date()),
    coded("AUTHORIZATION_THRESHOLD_NOT_MET"),
  );
});

test("a key counts only within its dates, in UTC", async (t) => {
  const { alice, open } = makeTestSite(await scratch(t));
  const bytes = request(open(), upgradePlan());
  const { key } = alice;
  const operators = [{ principal: "alice", key, validAfter: "20261101Z", validBefore: "20261201120000Z" }];
  const authority = makeAuthority({ operators, reviewers: [], thresholds: {}, recoveryKey: undefined }, 1);
  const at = (time: string) =>
    checkSignatures(authority, "upgrade", bytes, [{ name: "a", bytes: sshSign(alice, bytes) }], new Date(time));
  const zone = process.env["TZ"];
  process.env["TZ"] = "America/New_York";
  try {
    assert.equal((await at("2026-11-01T00:00:01Z")).length, 1);
    assert.equal((await at("2026-12-01T11:59:59Z")).length, 1);
    for (const outside of ["2026-10-31T23:59:59Z", "2026-12-01T12:00:01Z"]) {
      await assert.rejects(at(outside), coded("AUTHORIZATION_SIGNATURE_INVALID"));
    }
  } finally {
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
  }
});

test("the recovery key replaces operators, alone, and has no other power", async (t) => {
  const { open, recovery } = makeTestSite(await scratch(t), { operator: 2 });
  const after = removeOperator(open().authority, "carol");
  const subject = planOperatorChange(open().authority, after);
  const bytes = request(open(), subject);
  assert.equal(
    (await check(open(), subject, bytes, sshSign(recovery, bytes))).approvals[0]?.principal,
    "sealift-recovery",
  );
  const upgrade = request(open(), upgradePlan());
  await assert.rejects(
    check(open(), upgradePlan(), upgrade, sshSign(recovery, upgrade)),
    coded("AUTHORIZATION_KEY_UNKNOWN"),
  );
});

test("an operator who was removed authorizes nothing any more, and one who was added does", async (t) => {
  const { open, alice, bob } = makeTestSite(await scratch(t));
  const dave = makeSigner();
  const before = open().authority;
  const after = addOperators(removeOperator(before, "bob"), [{ principal: "dave", key: dave.key }]);
  const subject = planOperatorChange(before, after);
  assert.deepEqual(
    subject.details.map((line) => line.split(" ").slice(0, 3).join(" ")),
    ["remove operator bob", "add operator dave"],
  );
  const bytes = request(open(), subject);
  const site = open();
  const entry = spendAuthorization(site, await check(site, subject, bytes, sshSign(alice, bytes)));
  await execute(site, operatorChange, site, operatorChangeParameters(before, after), entry);

  assert.deepEqual(
    open().ledger.entries.map(({ type }) => type),
    ["site-created", "authorized", "authority-changed", "operation"],
  );
  const upgrade = request(open(), upgradePlan());
  await assert.rejects(
    check(open(), upgradePlan(), upgrade, sshSign(bob, upgrade)),
    coded("AUTHORIZATION_KEY_UNKNOWN"),
  );
  assert.equal((await check(open(), upgradePlan(), upgrade, sshSign(dave, upgrade))).approvals[0]?.principal, "dave");
});

test("a clock that jumped stops an authorization until an operator signs that it is right", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  clock.set("2026-11-20T08:00:00.000Z");
  assert.throws(() => request(open(), upgradePlan()), coded("CLOCK_BACKWARDS"));
  clock.set("2027-02-20T08:00:00.000Z");
  assert.throws(() => request(open(), upgradePlan()), coded("CLOCK_JUMPED"));
  const confirmed = request(open(), upgradePlan(), true);
  assert.deepEqual(parseRequest(confirmed).confirms, ["CLOCK_JUMPED"]);
  const silent = altered(confirmed, { confirms: [] });
  await assert.rejects(check(open(), upgradePlan(), silent, sshSign(alice, silent)), coded("CLOCK_JUMPED"));
  const authorization = await check(open(), upgradePlan(), confirmed, sshSign(alice, confirmed));
  spendAuthorization(open(), authorization);
  // The ledger has the new time now, and what follows it needs no confirmation.
  clock.pass(HOUR_MS);
  assert.doesNotThrow(() => request(open(), upgradePlan()));
});
