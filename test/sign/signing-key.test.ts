import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPublicKey, verify } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { signBytes } from "../../bundles/sign/signing-key.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { verifySigstoreBundle } from "../../verify/signature/signature.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey, trustKeyOf } from "../support/test-trust.ts";

const skip = spawnSync("openssl", ["version"]).status === 0 ? false : "openssl is not here";
const key = makeKey();
const publicKey = createPublicKey(key);
const bytes = Buffer.from("what is signed");

test("a command signs in a key's place, and what it signs verifies like any other", { skip }, async (t) => {
  const pem = join(await scratch(t), "token.pem");
  writeFileSync(pem, key.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
  const command = `openssl dgst -sha256 -sign '${pem}'`;
  for (let i = 0; i < 4; i += 1) {
    assert.ok(verify("sha256", bytes, publicKey, signBytes({ publicKey, command }, bytes)));
  }
  const subject = digestOf("release");
  const bundle = signStatement({ publicKey, command }, statementFor(subject, "https://example.invalid/p", {}));
  assert.equal(verifySigstoreBundle(bundle, [trustKeyOf(key, "token")]).statement.subject, subject);
});

test("a token's raw r and s become the DER that everybody reads", () => {
  const raw = Buffer.from(signRaw()).toString("base64");
  assert.ok(verify("sha256", bytes, publicKey, signBytes({ publicKey, command: `echo ${raw} | base64 -d` }, bytes)));
});

test("a command may open its standard input and output by their names, as pkcs11-tool has to", { skip }, async (t) => {
  const pem = join(await scratch(t), "token.pem");
  writeFileSync(pem, key.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
  const command = `openssl dgst -sha256 -sign '${pem}' -out /dev/stdout /dev/stdin`;
  assert.ok(verify("sha256", bytes, publicKey, signBytes({ publicKey, command }, bytes)));
});

test("a command that fails, says nothing, garbage, too much, or signs with another key or other bytes signs nothing", () => {
  const other = signBytes(makeKey(), bytes).toString("base64");
  const elsewhere = signBytes(key, Buffer.from("other")).toString("base64");
  for (const command of [
    "exit 3",
    "true",
    "echo garbage",
    "kill -9 $$",
    "head -c 200000 /dev/zero",
    "head -c 64 /dev/zero",
    `echo ${other} | base64 -d`,
    `echo ${elsewhere} | base64 -d`,
    `echo ${signBytes(key, bytes).toString("base64")} | base64 -d; exit 1`,
  ]) {
    assert.throws(() => signBytes({ publicKey, command }, bytes), coded("SIGNER_FAILED"), command);
  }
});

/** As PKCS #11 has it. */
function signRaw(): Buffer {
  const der = signBytes(key, bytes);
  const length = der[3] as number;
  const number = (start: number, size: number): Buffer =>
    Buffer.concat([Buffer.alloc(32), der.subarray(start, start + size)]).subarray(-32);
  const second = 4 + length;
  return Buffer.concat([number(4, length), number(second + 2, der[second + 1] as number)]);
}
