import assert from "node:assert/strict";
import { generateKeyPairSync, sign, verify } from "node:crypto";
import test from "node:test";
import { otherSpelling, withLowS } from "../../bundles/layout/ecdsa-signature.ts";

test("of the two spellings of a signature, which both hold, there is one", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  let turned = 0;
  // Enough for integers that are shorter, or begin with a zero byte.
  for (let i = 0; i < 600; i += 1) {
    const message = Buffer.from(String(i));
    const signature = sign("sha256", message, privateKey);
    const other = otherSpelling(signature);
    assert.notDeepEqual(other, signature);
    assert.ok(verify("sha256", message, publicKey, other));
    assert.deepEqual(otherSpelling(other), signature);
    const low = withLowS(signature);
    assert.deepEqual(withLowS(other), low);
    assert.deepEqual(withLowS(low), low);
    assert.ok([signature, other].some((one) => one.equals(low)));
    if (low !== signature) turned += 1;
  }
  assert.ok(turned > 200 && turned < 400);
});

test("what is no signature in DER is left as it is", () => {
  const order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
  for (const hex of [
    "",
    "30",
    "3000",
    "300602010102",
    "3006020101020101ff",
    "3006020101020100",
    `302602010102210${"0".repeat(1)}${order}`,
    `3006${"02000200"}`,
    "ff06020101020101",
  ]) {
    const bytes = Buffer.from(hex, "hex");
    assert.deepEqual(withLowS(bytes), bytes, hex);
  }
});
