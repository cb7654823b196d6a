import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import { hostDisk, removeDurably, writeWhole } from "../../installer/site/disk.ts";
import { generateSecrets, missingSecrets, type SecretMakers, secretFiles } from "../../installer/site/secrets.ts";
import { type Fault, FaultyDisk, PowerCut } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const isRoot = process.getuid?.() === 0;
const RULES: readonly SecretRule[] = [
  { kind: "password", files: { "gateway/password": 10001, "postgres/password": 10070 } },
  { kind: "key", files: { "gateway/key": 10001 } },
  { kind: "ed25519", files: { "audit/log-key": 10020 }, publicFiles: { "gateway/log-key.pub": 10001 } },
  { kind: "identity", service: "gateway", directory: "gateway/identity", uid: 10001 },
  { kind: "server-certificate", directory: "tls", uid: 10001 },
];
const FILES = [
  ...["gateway/password", "postgres/password", "gateway/key", "audit/log-key", "gateway/log-key.pub"],
  ...["gateway/identity/identity.pem", "tls/server.pem"],
];
let count = 0;
const made = (path: string, uid: number) => [{ path, bytes: Buffer.from(`made ${++count}`), uid, mode: 0o400 }];
const makers: SecretMakers = {
  identity: ({ directory, uid }) => made(`${directory}/identity.pem`, uid),
  serverCertificate: async ({ directory, uid }) => made(`${directory}/server.pem`, uid),
};

/** A secrets directory that does not exist yet. */
async function place(t: TestContext): Promise<string> {
  return join(await scratch(t), "secrets");
}

function contents(directory: string): Record<string, string> {
  const there = FILES.filter((file) => existsSync(join(directory, file)));
  return Object.fromEntries(there.map((file) => [file, readFileSync(join(directory, file), "utf8")]));
}

function put(directory: string, file: string, content: string): void {
  mkdirSync(dirname(join(directory, file)), { recursive: true });
  writeFileSync(join(directory, file), content, { mode: 0o400 });
}

test("makes every file of every rule, each of its kind and the same within a rule", async (t) => {
  const directory = await place(t);
  assert.deepEqual(missingSecrets(directory, RULES), FILES);
  assert.deepEqual(await generateSecrets(hostDisk, directory, RULES, makers), FILES);
  assert.deepEqual(missingSecrets(directory, RULES), []);
  const content = contents(directory);
  assert.match(content["gateway/password"] ?? "", /^[A-Za-z0-9_-]{43}$/);
  assert.equal(content["postgres/password"], content["gateway/password"]);
  assert.match(content["gateway/key"] ?? "", /^[0-9a-f]{64}$/);
  const privateKey = createPrivateKey(content["audit/log-key"] ?? "");
  const publicKey = createPublicKey(content["gateway/log-key.pub"] ?? "");
  assert.match(content["gateway/log-key.pub"] ?? "", /^-----BEGIN PUBLIC KEY-----/);
  assert.ok(verify(null, Buffer.from("x"), publicKey, sign(null, Buffer.from("x"), privateKey)));
  assert.match(content["gateway/identity/identity.pem"] ?? "", /^made /);
});

test("each file is for its one reader, each directory for root alone, whatever the umask", async (t) => {
  const directory = await place(t);
  const before = process.umask(0);
  t.after(() => process.umask(before));
  await generateSecrets(hostDisk, directory, RULES, makers);
  for (const rule of RULES) {
    for (const [file, uid] of Object.entries(secretFiles(rule))) {
      const stat = statSync(join(directory, file));
      assert.equal(stat.mode & 0o7777, 0o400, file);
      assert.equal(stat.uid, isRoot ? uid : process.getuid?.(), file);
    }
  }
  for (const path of ["", "gateway", "gateway/identity", "postgres", "audit", "tls"]) {
    const stat = statSync(join(directory, path));
    assert.equal(stat.mode & 0o7777, 0o700, path);
    assert.equal(stat.uid, process.getuid?.(), path);
  }
});

test("two sites have nothing in common", async (t) => {
  const [one, other] = [await place(t), await place(t)];
  for (const directory of [one, other]) await generateSecrets(hostDisk, directory, RULES, makers);
  const [first, second] = [contents(one), contents(other)];
  for (const file of FILES) assert.notEqual(first[file], second[file], file);
});

test("what is there stays as it is, byte for byte", async (t) => {
  const directory = await place(t);
  put(directory, "gateway/key", "chosen by the operator");
  assert.deepEqual(
    await generateSecrets(hostDisk, directory, RULES, makers),
    FILES.filter((file) => file !== "gateway/key"),
  );
  const content = contents(directory);
  assert.equal(content["gateway/key"], "chosen by the operator");
  assert.deepEqual(await generateSecrets(hostDisk, directory, RULES, makers), []);
  assert.deepEqual(contents(directory), content);
});

test("a release that asks for further secrets gets them at the upgrade, and the others stay as they are", async (t) => {
  const directory = await place(t);
  await generateSecrets(hostDisk, directory, RULES, makers);
  const content = contents(directory);
  const files = { "gateway/principal-key": 10001, "audit/principal-key": 10020 };
  const next: readonly SecretRule[] = [...RULES.slice(0, 2), { kind: "key", files }, ...RULES.slice(2)];
  assert.deepEqual(missingSecrets(directory, next), Object.keys(files));
  assert.deepEqual(await generateSecrets(hostDisk, directory, next, makers), Object.keys(files));
  assert.deepEqual(contents(directory), content);
  const [one, other] = Object.keys(files).map((file) => readFileSync(join(directory, file), "utf8"));
  assert.match(one ?? "", /^[0-9a-f]{64}$/);
  assert.equal(one, other);
});

test("a rule of which only some files are there is completed with their value", async (t) => {
  const directory = await place(t);
  await generateSecrets(hostDisk, directory, RULES, makers);
  const content = contents(directory);
  const lost = ["gateway/password", "gateway/log-key.pub"];
  for (const file of lost) unlinkSync(join(directory, file));
  assert.deepEqual(missingSecrets(directory, RULES), lost);
  assert.deepEqual(await generateSecrets(hostDisk, directory, RULES, makers), lost);
  assert.deepEqual(contents(directory), content);
});

const PUBLIC = RULES[2] as SecretRule;
const contradictions: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["two passwords for one rule", { "gateway/password": "one", "postgres/password": "other" }],
  ["an empty secret", { "gateway/password": "" }],
  ["a public key whose private one is lost", { "gateway/log-key.pub": "x" }],
  ["a private key that is none", { "audit/log-key": "canary-of-a-secret" }],
];

for (const [what, files] of contradictions) {
  test(`refuses ${what}, shows nothing of it, and writes nothing of that rule`, async (t) => {
    const directory = await place(t);
    for (const [file, content] of Object.entries(files)) put(directory, file, content);
    const before = contents(directory);
    const rules = RULES.filter((rule) => Object.keys(files).some((file) => file in secretFiles(rule)));
    await assert.rejects(generateSecrets(hostDisk, directory, rules, makers), (error: Error) => {
      assert.ok(!error.message.includes("canary-of-a-secret"));
      return coded("STATE_DAMAGED")(error as never);
    });
    assert.deepEqual(contents(directory), before);
  });
}

test("refuses a public key of another pair", async (t) => {
  const [directory, other] = [await place(t), await place(t)];
  for (const one of [directory, other]) await generateSecrets(hostDisk, one, [PUBLIC], makers);
  const path = join(directory, "gateway/log-key.pub");
  chmodSync(path, 0o600);
  writeFileSync(path, readFileSync(join(other, "gateway/log-key.pub")));
  await assert.rejects(generateSecrets(hostDisk, directory, [PUBLIC], makers), coded("STATE_DAMAGED"));
});

test("follows no link", async (t) => {
  const directory = await place(t);
  put(directory, "elsewhere", "of somebody else");
  mkdirSync(join(directory, "gateway"));
  symlinkSync(join(directory, "elsewhere"), join(directory, "gateway/password"));
  await assert.rejects(generateSecrets(hostDisk, directory, RULES, makers), coded("STATE_UNREADABLE"));
  assert.ok(!existsSync(join(directory, "postgres/password")));
});

test("a maker that makes another file is a defect and not a secret", async (t) => {
  const directory = await place(t);
  const wrong: SecretMakers = { ...makers, identity: ({ uid }) => made("gateway/other.pem", uid) };
  await assert.rejects(generateSecrets(hostDisk, directory, RULES, wrong), TypeError);
  assert.ok(!existsSync(join(directory, "gateway/other.pem")));
});

test("an aborted install removes exactly what it made, also where it made nothing yet", async (t) => {
  const directory = await place(t);
  const planned = missingSecrets(directory, RULES);
  for (const file of planned) removeDurably(hostDisk, join(directory, file));
  put(directory, "older/key", "kept");
  await generateSecrets(hostDisk, directory, RULES, makers);
  put(directory, "gateway/.key.new", "half of a");
  for (const file of planned) removeDurably(hostDisk, join(directory, file));
  assert.deepEqual(missingSecrets(directory, RULES), FILES);
  assert.deepEqual(readdirSync(join(directory, "gateway")), ["identity"]);
  assert.equal(readFileSync(join(directory, "older/key"), "utf8"), "kept");
});

test("a file for others has its mode under a tight umask too", async (t) => {
  const path = join(await scratch(t), "active.map");
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  writeWhole(hostDisk, path, Buffer.from("active blue\n"), 0o644);
  assert.equal(statSync(path).mode & 0o7777, 0o644);
});

/** All that may be there after any fault: whole files, of one value within a rule. */
function checkWhole(directory: string): void {
  const content = contents(directory);
  for (const [file, text] of Object.entries(content)) {
    assert.ok(text.length > 0, file);
    assert.equal(statSync(join(directory, file)).mode & 0o7777, 0o400, file);
  }
  const [one, other] = [content["gateway/password"], content["postgres/password"]];
  if (one !== undefined && other !== undefined) assert.equal(one, other);
  if (content["gateway/log-key.pub"] !== undefined) assert.ok(content["audit/log-key"], "the private key is first");
}

test("after a fault at any call the files are whole, and the next run completes them without changing one", async (t) => {
  // A rule of two values in files, and one of two halves: what the others do is among it.
  const rules = [RULES[0], RULES[2]] as SecretRule[];
  const counting = new FaultyDisk();
  await generateSecrets(counting, await place(t), rules, makers);
  assert.ok(counting.calls > 30);
  const parent = await scratch(t);
  let failures = 0;
  for (let at = 1; at <= counting.calls; at += 1) {
    const faults: readonly Fault[] = [
      { kind: "error", code: "EIO", at, forever: false },
      { kind: "error", code: "ENOSPC", at, forever: true },
      { kind: "kill", at },
      { kind: "power", at },
    ];
    for (const [i, fault] of faults.entries()) {
      const directory = join(parent, `${at}-${i}`);
      const disk = new FaultyDisk(fault, at * 10 + i);
      try {
        await generateSecrets(disk, directory, rules, makers);
      } catch (cause) {
        failures += 1;
        const code = (cause as { code?: string }).code;
        const isKnown = cause instanceof PowerCut || code === "STATE_WRITE_FAILED" || code === "STATE_DISK_FULL";
        assert.ok(isKnown, `${JSON.stringify(fault)}: ${cause}`);
      }
      checkWhole(directory);
      const before = contents(directory);
      await generateSecrets(hostDisk, directory, rules, makers);
      const after = contents(directory);
      assert.deepEqual(Object.keys(after).sort(), rules.flatMap((rule) => Object.keys(secretFiles(rule))).sort());
      for (const [file, text] of Object.entries(before)) assert.equal(after[file], text, JSON.stringify(fault));
      checkWhole(directory);
    }
  }
  assert.ok(failures > counting.calls * 3);
});
