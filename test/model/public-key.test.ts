import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import test from "node:test";
import { keyFingerprint, keyHint, parsePublicKey } from "../../bundles/model/public-key.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { coded, makeKey } from "../support/test-trust.ts";

test("a key's fingerprint is the SHA-256 of its SPKI, of a private key that of its public half", () => {
  const key = makeKey();
  const publicKey = parsePublicKey(publicKeyPem(key), "key");
  const want = createHash("sha256")
    .update(publicKey.export({ format: "der", type: "spki" }))
    .digest();
  assert.equal(keyFingerprint(publicKey), want.toString("hex"));
  assert.equal(keyFingerprint(key), want.toString("hex"));
  assert.equal(keyHint(key), want.toString("base64"));
});

test("openssl computes the same fingerprint", (t) => {
  const key = makeKey();
  let der: Buffer;
  try {
    der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "DER"], { input: publicKeyPem(key) });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    return t.skip("openssl is not on this machine");
  }
  assert.equal(keyFingerprint(key), createHash("sha256").update(der).digest("hex"));
});

for (const [what, pem] of [
  ["nothing", ""],
  ["text", "hello"],
  ["an empty block", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"],
  ["a block of garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
  ["a private key", makeKey().export({ format: "pem", type: "pkcs8" }) as string],
  ["two keys", publicKeyPem(makeKey()) + publicKeyPem(makeKey())],
  ["a key after text", `# my key\n${publicKeyPem(makeKey())}`],
  ["a huge block", `-----BEGIN PUBLIC KEY-----\n${"A".repeat(100_000)}\n-----END PUBLIC KEY-----\n`],
] as const) {
  test(`refuses ${what} as a public key`, () => {
    assert.throws(() => parsePublicKey(pem, "key"), coded("KEY_MALFORMED"));
  });
}

for (const [what, publicKey] of [
  ["P-384", generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey],
  ["secp256k1", generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey],
  ["Ed25519", generateKeyPairSync("ed25519").publicKey],
  ["RSA", generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey],
] as const) {
  test(`refuses a key on ${what}`, () => {
    const pem = publicKey.export({ format: "pem", type: "spki" }) as string;
    assert.throws(() => parsePublicKey(pem, "key"), coded("KEY_NOT_P256"));
  });
}
