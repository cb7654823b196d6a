import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { encryptPrivateKey, generateKeyFiles, loadPrivateKey, parsePrivateKey } from "../../bundles/sign/key-file.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey } from "../support/test-trust.ts";

const VECTORS = new URL("../vectors/cosign/", import.meta.url).pathname;
const PASSWORD = "sealift test vector";
/** Scrypt costs a sixth of a second, so the tests that change a key file share one. */
const GOOD = encryptPrivateKey(makeKey(), "right");

interface KeyJson {
  kdf: { name: string; params: { N: number; r: number; p: number }; salt: string };
  cipher: { name: string; nonce: string };
  ciphertext: string;
}

function changed(change: (key: KeyJson) => void): string {
  const body = GOOD.split("\n").slice(1, -2).join("");
  const key = JSON.parse(Buffer.from(body, "base64").toString()) as KeyJson;
  change(key);
  const text = Buffer.from(JSON.stringify(key)).toString("base64");
  return `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n${text}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n`;
}

test("a generated pair opens with its password, belongs together and is private to its owner", async (t) => {
  const prefix = join(await scratch(t), "release");
  const { publicKey } = generateKeyFiles(prefix, "secret");
  assert.equal((await stat(`${prefix}.key`)).mode & 0o777, 0o600);
  const privateKey = loadPrivateKey(`${prefix}.key`, "secret");
  const message = Buffer.from("message");
  assert.ok(verify("sha256", message, loadPublicKey(`${prefix}.pub`), sign("sha256", message, privateKey)));
  assert.equal(keyFingerprint(privateKey), keyFingerprint(publicKey));
  assert.ok(!(await readFile(`${prefix}.key`, "utf8")).includes("secret"));
});

test("never overwrites a key, neither half", async (t) => {
  const directory = await scratch(t);
  await writeFile(join(directory, "a.key"), "mine");
  await writeFile(join(directory, "b.pub"), "mine");
  assert.throws(() => generateKeyFiles(join(directory, "a"), ""), coded("FILE_EXISTS"));
  assert.throws(() => generateKeyFiles(join(directory, "b"), ""), coded("FILE_EXISTS"));
  assert.equal(await readFile(join(directory, "a.key"), "utf8"), "mine");
  await assert.rejects(stat(join(directory, "b.key")));
});

test("says so when the directory for a new key is not there", async (t) => {
  const prefix = join(await scratch(t), "none", "k");
  assert.throws(() => generateKeyFiles(prefix, ""), coded("KEY_WRITE_FAILED"));
});

for (const version of ["cosign2", "cosign3"]) {
  test(`opens the key that ${version} made, and its public key is the one beside it`, () => {
    const privateKey = loadPrivateKey(`${VECTORS}${version}.key`, PASSWORD);
    assert.equal(keyFingerprint(privateKey), keyFingerprint(loadPublicKey(`${VECTORS}${version}.pub`)));
  });
}

test("says so when nobody can look whether a new key's file is there", async (t) => {
  const loop = join(await scratch(t), "loop");
  await symlink(loop, loop);
  assert.throws(() => generateKeyFiles(join(loop, "key"), ""), coded("KEY_WRITE_FAILED"));
});

test("opens a key with the label of cosign 1", () => {
  const key = parsePrivateKey(GOOD.replaceAll("SIGSTORE", "COSIGN"), "right", "key");
  assert.equal(createPublicKey(key).asymmetricKeyDetails?.namedCurve, "prime256v1");
});

test("refuses a wrong password, and a ciphertext in which one bit was changed", () => {
  assert.throws(() => parsePrivateKey(GOOD, "wrong", "key"), coded("KEY_PASSWORD_WRONG"));
  const flipped = changed((key) => {
    const bytes = Buffer.from(key.ciphertext, "base64");
    bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
    key.ciphertext = bytes.toString("base64");
  });
  assert.throws(() => parsePrivateKey(flipped, "right", "key"), coded("KEY_PASSWORD_WRONG"));
});

const malformed: [string, (key: KeyJson) => void][] = [
  ["asks scrypt for gigabytes (N)", (key) => Object.assign(key.kdf.params, { N: 2 ** 30 })],
  ["asks scrypt for gigabytes (N and r)", (key) => Object.assign(key.kdf.params, { N: 2 ** 18, r: 16 })],
  ["asks scrypt for minutes (p)", (key) => Object.assign(key.kdf.params, { p: 2 ** 20 })],
  ["has an N that is no power of two", (key) => Object.assign(key.kdf.params, { N: 65_535 })],
  ["has a negative r", (key) => Object.assign(key.kdf.params, { r: -1 })],
  ["names another function than scrypt", (key) => Object.assign(key.kdf, { name: "none" })],
  ["names another cipher", (key) => Object.assign(key.cipher, { name: "none" })],
  ["has a short nonce", (key) => Object.assign(key.cipher, { nonce: "AAAA" })],
  ["has a ciphertext that is no text", (key) => Object.assign(key, { ciphertext: 7 })],
  ["has a huge ciphertext", (key) => Object.assign(key, { ciphertext: "A".repeat(6000) })],
];
for (const [what, change] of malformed) {
  test(`refuses a key file that ${what}, at once`, () => {
    const text = changed(change);
    const started = performance.now();
    assert.throws(() => parsePrivateKey(text, "right", "key"), coded("KEY_MALFORMED"));
    assert.ok(performance.now() - started < 100);
  });
}

for (const text of [
  "",
  "garbage",
  "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
]) {
  test(`refuses ${JSON.stringify(text.slice(0, 20))} as a private key`, () => {
    assert.throws(() => parsePrivateKey(text, "", "key"), coded("KEY_MALFORMED"));
  });
}

test("refuses a private key that no password protects", () => {
  const plain = makeKey();
  for (const type of ["pkcs8", "sec1"] as const) {
    const pem = plain.export({ format: "pem", type }) as string;
    assert.throws(() => parsePrivateKey(pem, "", "key"), coded("KEY_NOT_ENCRYPTED"));
  }
});

test("refuses an encrypted key that is not on P-256, and an encrypted thing that is no key", () => {
  const other: KeyObject = generateKeyPairSync("ed25519").privateKey;
  assert.throws(() => parsePrivateKey(encryptPrivateKey(other, ""), "", "key"), coded("KEY_NOT_P256"));
  const noKey = { export: () => Buffer.from("not a key") } as unknown as KeyObject;
  assert.throws(() => parsePrivateKey(encryptPrivateKey(noKey, ""), "", "key"), coded("KEY_MALFORMED"));
});

test("tells a missing key from one that cannot be read or is far too large", async (t) => {
  const directory = await scratch(t);
  assert.throws(() => loadPrivateKey(join(directory, "none"), ""), coded("KEY_NOT_FOUND"));
  assert.throws(() => loadPublicKey(join(directory, "none")), coded("KEY_NOT_FOUND"));
  assert.throws(() => loadPublicKey(directory), coded("KEY_UNREADABLE"));
  await writeFile(join(directory, "large"), Buffer.alloc(1024 * 1024, "A"));
  assert.throws(() => loadPublicKey(join(directory, "large")), coded("KEY_UNREADABLE"));
});
