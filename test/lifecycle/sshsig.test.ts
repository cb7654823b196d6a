import assert from "node:assert/strict";
import test from "node:test";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { parseSshSignature } from "../../installer/lifecycle/sshsig.ts";
import { random } from "../support/faulty-disk.ts";
import { armor, makeSigner, sshSign, wireString } from "../support/ssh-signer.ts";
import { coded } from "../support/test-trust.ts";

const MESSAGE = Buffer.from("a plan");
const SEED = Number(process.env["SEALIFT_FUZZ_SEED"] ?? 20261121);
const MUTANTS = Number(process.env["SEALIFT_FUZZ_RUNS"] ?? 20_000);

function unarmored(text: Buffer): Buffer {
  return Buffer.from(text.toString().split("\n").slice(1, -2).join(""), "base64");
}

test("reads which key signed what, and whether a hardware key was touched", () => {
  const signer = makeSigner();
  const read = parseSshSignature(sshSign(signer, MESSAGE), "a.sig");
  assert.equal(read.key.fingerprint, signer.key.fingerprint);
  assert.deepEqual([read.namespace, read.hashAlgorithm, read.touched], ["sealift-authorization", "sha512", undefined]);
  const token = makeSigner("sk-ssh-ed25519@openssh.com");
  const touched = (flags: number) => parseSshSignature(sshSign(token, MESSAGE, { flags }), "a.sig").touched;
  assert.deepEqual([0, 1, 4, 5].map(touched), [false, true, false, true]);
});

test("Windows line ends are read; text around the block, a second block and loose base64 are not", () => {
  const text = sshSign(makeSigner(), MESSAGE).toString();
  assert.doesNotThrow(() => parseSshSignature(Buffer.from(text.replaceAll("\n", "\r\n")), "a"));
  for (const wrong of [
    `x${text}`,
    `${text}x`,
    text + text,
    text.replace("\n", "\n\n"),
    text.slice(0, -30),
    ` ${text}`,
  ]) {
    assert.throws(() => parseSshSignature(Buffer.from(wrong), "a"), coded("AUTHORIZATION_SIGNATURE_MALFORMED"));
  }
  assert.throws(() => parseSshSignature(Buffer.alloc(64 * 1024, "a"), "a"), coded("AUTHORIZATION_SIGNATURE_MALFORMED"));
});

test("another version, an algorithm of another key kind and bytes left over are refused", () => {
  const signer = makeSigner();
  const blob = unarmored(sshSign(signer, MESSAGE));
  const version = Buffer.from(blob);
  version[9] = 2;
  const asHardware = sshSign({ ...signer, type: "sk-ssh-ed25519@openssh.com" }, MESSAGE);
  for (const wrong of [armor(version), asHardware, armor(Buffer.concat([blob, Buffer.from([0])]))]) {
    assert.throws(() => parseSshSignature(wrong, "a"), coded("AUTHORIZATION_SIGNATURE_MALFORMED"));
  }
});

test("a key that no operator may have is refused: P-384, DSA, small RSA, an RSA modulus with a spare zero", () => {
  const integer = (bytes: Buffer): Buffer => wireString(bytes);
  const rsa = (modulus: Buffer): Buffer =>
    Buffer.concat([wireString("ssh-rsa"), integer(Buffer.from([1, 0, 1])), integer(modulus)]);
  const blobs = [
    Buffer.concat([wireString("ecdsa-sha2-nistp384"), wireString("nistp384"), wireString(Buffer.alloc(97, 4))]),
    Buffer.concat([wireString("ssh-dss"), wireString("x")]),
    rsa(Buffer.concat([Buffer.from([0]), Buffer.alloc(256, 0xff)])),
    rsa(Buffer.concat([Buffer.from([0, 0]), Buffer.alloc(384, 0xff)])),
    rsa(Buffer.alloc(384, 0xff)),
    Buffer.concat([wireString("ecdsa-sha2-nistp256"), wireString("nistp384"), wireString(Buffer.alloc(65, 4))]),
    Buffer.concat([wireString("ssh-ed25519"), wireString(Buffer.alloc(31))]),
  ];
  for (const blob of blobs) {
    const signature = sshSign(makeSigner(), MESSAGE, { blob });
    assert.throws(() => parseSshSignature(signature, "a"), coded("AUTHORIZATION_SIGNATURE_MALFORMED"));
  }
});

test(`${MUTANTS} mutants are read or refused with the code, and none reads as more than it is (seed ${SEED})`, () => {
  const next = random(SEED);
  const below = (n: number): number => Math.floor(next() * n);
  const seeds = [makeSigner(), makeSigner("sk-ssh-ed25519@openssh.com")].map((s) => unarmored(sshSign(s, MESSAGE)));
  let read = 0;
  for (let run = 0; run < MUTANTS; run += 1) {
    let bytes = Buffer.from(seeds[below(seeds.length)] as Buffer);
    for (let change = 0; change <= below(3); change += 1) {
      const at = below(bytes.length);
      const kind = below(5);
      if (kind === 0) bytes[at] = below(256);
      else if (kind === 1) bytes = bytes.subarray(0, at);
      else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(8))]);
      else if (kind === 3)
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + below(8), below(256)), bytes.subarray(at)]);
      // A length field is where parsers break.
      else if (bytes.length >= 4) bytes.writeUInt32BE(below(2) ? 0xffffffff : below(2 ** 31), below(bytes.length - 3));
      if (bytes.length === 0) break;
    }
    try {
      const { key, touched } = parseSshSignature(armor(bytes), "mutant");
      read += 1;
      assert.equal(touched === undefined, !key.isHardware);
    } catch (error) {
      if (!(error instanceof SealiftError)) throw error;
      assert.equal(error.code, "AUTHORIZATION_SIGNATURE_MALFORMED");
    }
  }
  assert.ok(read > 0 && read < MUTANTS, `${read} of ${MUTANTS} were read`);
});
