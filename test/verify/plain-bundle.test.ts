import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { plainKeyBundle } from "../../verify/signature/plain-bundle.ts";
import { parseKeyBundle } from "../../verify/signature/sigstore-bundle.ts";
import { makeKey } from "../support/test-trust.ts";

const COSIGN = new URL("../vectors/cosign/", import.meta.url).pathname;
const key = makeKey();
const message = signBlob(key, Buffer.from("an artifact"));
const statement = signStatement(key, statementFor(digestOf("x"), "https://example.invalid/p", {}));
const written = [
  ["Sealift's message", message],
  ["Sealift's statement", statement],
  ...["cosign2.blob", "cosign2.att", "cosign3.blob", "cosign3.att"].map(
    (name) => [name, readFileSync(`${COSIGN}${name}.sigstore`)] as const,
  ),
] as const;

type Json = Record<string, unknown>;

/** The bundle with the member at `path` replaced, or removed where `value` is undefined. */
function altered(bundle: Buffer, path: string, value: unknown): Buffer {
  const json = JSON.parse(bundle.toString()) as Json;
  const names = path.split(".");
  const at = names.slice(0, -1).reduce((object, name) => object[name] as Json, json);
  at[names.at(-1) as string] = value;
  return Buffer.from(JSON.stringify(json));
}

for (const [name, bundle] of written) {
  test(`reads ${name} as Sigstore's packages do`, () => {
    const read = plainKeyBundle(bundle);
    assert.ok(read);
    assert.deepEqual(read, parseKeyBundle(bundle));
  });
}

/** As `parseKeyBundle`; undefined where it refuses. */
function parsed(json: Buffer): unknown {
  try {
    return parseKeyBundle(json);
  } catch {
    return undefined;
  }
}

test("leaves every other form to Sigstore's packages, whether they accept it or not", () => {
  const v01 = "application/vnd.dev.sigstore.bundle+json;version=0.1";
  const signature = "messageSignature.signature";
  const digest = "messageSignature.messageDigest.digest";
  const algorithm = "messageSignature.messageDigest.algorithm";
  const hint = "verificationMaterial.publicKey.hint";
  const others: readonly (readonly [string, Buffer])[] = [
    ...["", "null", "7", "[]", "{}", '"x"', "{", `${message.toString()} {}`].map(
      (text) => [text.slice(-9), Buffer.from(text)] as const,
    ),
    ["a version", altered(message, "mediaType", v01)],
    ["no version", altered(message, "mediaType", undefined)],
    ["a further member", altered(message, "x", 1)],
    ["a member __proto__", Buffer.from(message.toString().replace(/^\{/, '{"__proto__":{},'))],
    ["both contents", altered(message, "dsseEnvelope", (JSON.parse(statement.toString()) as Json)["dsseEnvelope"])],
    ["no content", altered(message, "messageSignature", undefined)],
    ["a list of contents", altered(message, "messageSignature", [])],
    ["no log entry", altered(message, "verificationMaterial.tlogEntries", [])],
    ["a timestamp", altered(message, "verificationMaterial.timestampVerificationData", { rfc3161Timestamps: [] })],
    ["a certificate", altered(message, "verificationMaterial", { certificate: { rawBytes: "AAAA" } })],
    ["no material", altered(message, "verificationMaterial", null)],
    ["a hint that is no text", altered(message, hint, 7)],
    ["no hint", altered(message, "verificationMaterial.publicKey", {})],
    ["another hash", altered(message, algorithm, "SHA2_512")],
    ["a hash by number", altered(message, algorithm, 1)],
    ["an empty digest", altered(message, digest, "")],
    ["an empty signature", altered(message, signature, "")],
    ["no base64", altered(message, signature, "AAA*")],
    ["base64 without its end", altered(message, signature, "AAA")],
    ["base64 for URLs", altered(message, signature, "__-_")],
    ["a line in base64", altered(message, signature, "AAAA\nAAAA")],
    ["bits beyond the bytes", altered(message, signature, "AB==")],
    ["bytes as a list", altered(message, signature, [1, 2])],
    ["no signature", altered(statement, "dsseEnvelope.signatures", [])],
    ["two signatures", altered(statement, "dsseEnvelope.signatures", [{ sig: "AAAA" }, { sig: "AAAA" }])],
    ["a signature with a key's name", altered(statement, "dsseEnvelope.signatures", [{ sig: "AAAA", keyid: "" }])],
    ["a signature that is none", altered(statement, "dsseEnvelope.signatures", [null])],
    ["an empty payload", altered(statement, "dsseEnvelope.payload", "")],
    ["a payload type that is no text", altered(statement, "dsseEnvelope.payloadType", ["x"])],
    ["a member twice", Buffer.from(message.toString().replace(/^\{/, '{"mediaType":"x",'))],
    ["a member twice, escaped", Buffer.from(message.toString().replace(/^\{/, '{"\\u006dediaType":"x",'))],
    ["a byte order mark", Buffer.concat([Buffer.from("\ufeff"), message])],
    ["no UTF-8", Buffer.from(altered(message, hint, "\xff").toString(), "latin1")],
    ["more values than fit", altered(message, hint, ",".repeat(20))],
  ];
  for (const [name, json] of others) {
    const read = plainKeyBundle(json);
    if (name === "a byte order mark") assert.deepEqual(read, parsed(json));
    else assert.equal(read, undefined, name);
  }
});

test("of 4000 seeded mutants it reads none otherwise than Sigstore's packages do", () => {
  let seed = 20_261_121;
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const bits = '"{}[]:,\\ =+/Aa0';
  let read = 0;
  for (let round = 0; round < 4000; round += 1) {
    const [, bundle] = written[round % written.length] as (typeof written)[number];
    const mutant = Buffer.from(bundle);
    for (let i = 0; i <= next(2); i += 1) {
      const byte = next(2) === 0 ? next(256) : bits.charCodeAt(next(bits.length));
      mutant.writeUInt8(byte, next(mutant.length));
    }
    const plain = plainKeyBundle(mutant);
    if (plain === undefined) continue;
    read += 1;
    assert.deepEqual(plain, parsed(mutant), mutant.toString());
  }
  assert.ok(read > 400, `got ${read} read`);
});
