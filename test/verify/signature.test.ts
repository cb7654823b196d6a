import assert from "node:assert/strict";
import { type KeyObject, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";
import { dsse } from "@sigstore/core";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_CYCLONEDX } from "../../bundles/model/media-types.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import { signSimpleSigning } from "../../bundles/sign/simple-signing.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { verifySigstoreBundle, verifySimpleSigning } from "../../verify/signature/signature.ts";
import { coded, makeKey, trustKeyOf } from "../support/test-trust.ts";

const VECTORS = new URL("../vectors/cosign/", import.meta.url).pathname;
const SUBJECT = digestOf("an image");
const key = makeKey();
const stranger = makeKey();
const ours = trustKeyOf(key, "Ada");
const others = Array.from({ length: 3 }, (_, i) => trustKeyOf(makeKey(), `other ${i}`));
const good = signStatement(key, statementFor(SUBJECT, PREDICATE_CYCLONEDX, { components: [1] }));

interface BundleJson {
  mediaType: string;
  verificationMaterial: Record<string, unknown> & { publicKey?: { hint: string } };
  dsseEnvelope?: { payload: string; payloadType: string; signatures: { sig: string; keyid?: string }[] };
  messageSignature?: unknown;
}

function altered(change: (bundle: BundleJson & Required<Pick<BundleJson, "dsseEnvelope">>) => void): Buffer {
  const bundle = JSON.parse(good.toString());
  change(bundle);
  return Buffer.from(JSON.stringify(bundle));
}

/** A bundle over any bytes and payload type, rightly signed. */
function signedPayload(payload: string | Buffer, by: KeyObject = key, type = "application/vnd.in-toto+json"): Buffer {
  const bytes = Buffer.from(payload);
  return altered((bundle) => {
    bundle.dsseEnvelope = {
      payload: bytes.toString("base64"),
      payloadType: type,
      signatures: [{ sig: sign("sha256", dsse.preAuthEncoding(type, bytes), by).toString("base64") }],
    };
  });
}

test("a statement that a trusted key signed is told with its key, holder, subject and predicate", () => {
  const verified = verifySigstoreBundle(good, [...others, ours]);
  assert.deepEqual(verified, {
    keyFingerprint: ours.fingerprint,
    holder: "Ada",
    statement: { subject: SUBJECT, predicateType: PREDICATE_CYCLONEDX, predicate: { components: [1] } },
  });
});

test("the bundle that we write is v0.3, carries the key's hint and no keyid, which cosign would trip over", () => {
  const bundle = JSON.parse(good.toString()) as BundleJson;
  assert.equal(bundle.mediaType, "application/vnd.dev.sigstore.bundle.v0.3+json");
  assert.equal(bundle.verificationMaterial.publicKey?.hint, ours.hint);
  assert.equal(bundle.dsseEnvelope?.signatures.length, 1);
  assert.ok(!bundle.dsseEnvelope?.signatures[0]?.keyid);
  assert.ok(!("tlogEntries" in bundle.verificationMaterial));
});

test("the hint decides nothing: not a missing one, not a foreign one, not that of another trusted key", () => {
  for (const hint of ["", "nonsense", trustKeyOf(stranger, "").hint, others[0]?.hint ?? ""]) {
    const bundle = altered(({ verificationMaterial }) => {
      verificationMaterial.publicKey = { hint };
    });
    assert.equal(verifySigstoreBundle(bundle, [...others, ours]).holder, "Ada");
  }
  const pretender = JSON.parse(signStatement(stranger, statementFor(SUBJECT, "x", {})).toString()) as BundleJson;
  pretender.verificationMaterial.publicKey = { hint: ours.hint };
  assert.throws(
    () => verifySigstoreBundle(Buffer.from(JSON.stringify(pretender)), [ours]),
    coded("SIGNATURE_UNKNOWN_KEY"),
  );
});

test("refuses a key that is not trusted, and any key if none is trusted", () => {
  assert.throws(() => verifySigstoreBundle(good, others), coded("SIGNATURE_UNKNOWN_KEY"));
  assert.throws(() => verifySigstoreBundle(good, []), coded("SIGNATURE_UNKNOWN_KEY"));
});

test("refuses a payload or a signature in which anything was changed", () => {
  for (const change of [
    (payload: Buffer) => payload.writeUInt8(payload.readUInt8(30) ^ 1, 30),
    (payload: Buffer) => payload.writeUInt8(0x20, payload.length - 1),
  ]) {
    const bundle = altered(({ dsseEnvelope }) => {
      const payload = Buffer.from(dsseEnvelope.payload, "base64");
      change(payload);
      dsseEnvelope.payload = payload.toString("base64");
    });
    assert.throws(() => verifySigstoreBundle(bundle, [ours]), coded("SIGNATURE_UNKNOWN_KEY"));
  }
  for (const sig of ["AAAA", Buffer.alloc(72).toString("base64"), Buffer.alloc(70_000, 48).toString("base64")]) {
    const bundle = altered(({ dsseEnvelope }) => {
      dsseEnvelope.signatures = [{ sig }];
    });
    assert.throws(() => verifySigstoreBundle(bundle, [ours]), coded("SIGNATURE_UNKNOWN_KEY"));
  }
});

const malformed: [string, Buffer][] = [
  ["nothing", Buffer.alloc(0)],
  ["text", Buffer.from("hello")],
  ["null", Buffer.from("null")],
  ["a number", Buffer.from("7")],
  ["an array", Buffer.from("[]")],
  ["an empty object", Buffer.from("{}")],
  ["deeply nested arrays", Buffer.from("[".repeat(200_000))],
  ["bytes that are no text", Buffer.from([0xff, 0xfe, 0, 1])],
  ["a null for the verification material", altered((bundle) => Object.assign(bundle, { verificationMaterial: null }))],
  [
    "an unknown version",
    altered((bundle) => Object.assign(bundle, { mediaType: "application/vnd.dev.sigstore.bundle.v0.9+json" })),
  ],
  [
    "a media type with something after it",
    altered((bundle) => Object.assign(bundle, { mediaType: `${bundle.mediaType}x` })),
  ],
  ["no signature", altered(({ dsseEnvelope }) => Object.assign(dsseEnvelope, { signatures: [] }))],
  ["two signatures", altered(({ dsseEnvelope }) => dsseEnvelope.signatures.push({ sig: "AAAA" }))],
  ["the same signature twice", altered(({ dsseEnvelope: { signatures } }) => signatures.push(...signatures))],
  [
    "a signature that is a number",
    altered(({ dsseEnvelope }) => Object.assign(dsseEnvelope, { signatures: [{ sig: 7 }] })),
  ],
  ["no payload", altered(({ dsseEnvelope }) => Object.assign(dsseEnvelope, { payload: "" }))],
  ["an envelope that is a text", altered((bundle) => Object.assign(bundle, { dsseEnvelope: "x" }))],
  ["a message signature", signBlob(key, Buffer.from("x"))],
  ["both a message and a statement", altered((bundle) => Object.assign(bundle, { messageSignature: {} }))],
  [
    "both a key and a certificate",
    altered((bundle) => Object.assign(bundle.verificationMaterial, { certificate: { rawBytes: "AAAA" } })),
  ],
  [
    "a certificate instead of a key",
    altered((bundle) => Object.assign(bundle, { verificationMaterial: { certificate: { rawBytes: "AAAA" } } })),
  ],
  ["another payload type, rightly signed", signedPayload("{}", key, "application/json")],
];
for (const [what, bytes] of malformed) {
  test(`refuses ${what} as a signed statement`, () => {
    assert.throws(() => verifySigstoreBundle(bytes, [ours]), coded("SIGNATURE_MALFORMED"));
  });
}

const statement = (change: object): Buffer =>
  signedPayload(
    JSON.stringify({
      _type: "https://in-toto.io/Statement/v1",
      subject: [{ digest: { sha256: SUBJECT.slice(7) } }],
      predicateType: PREDICATE_COSIGN_SIGN,
      ...change,
    }),
  );
const subject = { digest: { sha256: SUBJECT.slice(7) } };

test("accepts Statement v0.1, which cosign writes, and a statement without a predicate", () => {
  const old = verifySigstoreBundle(statement({ _type: "https://in-toto.io/Statement/v0.1" }), [ours]);
  assert.deepEqual(old.statement, { subject: SUBJECT, predicateType: PREDICATE_COSIGN_SIGN, predicate: {} });
});

const refused: [string, Buffer][] = [
  ["is not JSON", signedPayload("hello")],
  ["is not UTF-8", signedPayload(Buffer.from([0x22, 0xff, 0x22]))],
  ["is null", signedPayload("null")],
  ["has another _type", statement({ _type: "https://in-toto.io/Statement/v2" })],
  ["has no _type", statement({ _type: undefined })],
  ["has no predicate type", statement({ predicateType: undefined })],
  ["has no subject", statement({ subject: [] })],
  ["has two subjects", statement({ subject: [subject, subject] })],
  ["has a subject without SHA-256", statement({ subject: [{ digest: { sha512: "00" } }] })],
  ["has a SHA-256 in capitals", statement({ subject: [{ digest: { sha256: SUBJECT.slice(7).toUpperCase() } }] })],
  ["has a short SHA-256", statement({ subject: [{ digest: { sha256: "ab" } }] })],
];
for (const [what, bytes] of refused) {
  test(`refuses a rightly signed payload that ${what}`, () => {
    assert.throws(() => verifySigstoreBundle(bytes, [ours]), coded("SIGNATURE_STATEMENT_REFUSED"));
  });
}

for (const version of ["cosign2", "cosign3"]) {
  test(`verifies the attestation that ${version} made, and refuses it for another key`, () => {
    const bundle = readFileSync(`${VECTORS}${version}.att.sigstore`);
    const publicKey = loadPublicKey(`${VECTORS}${version}.pub`);
    const trusted = { ...trustKeyOf(makeKey(), version), publicKey };
    const { statement: said } = verifySigstoreBundle(bundle, [...others, trusted]);
    assert.equal(said.subject, digestOf(readFileSync(`${VECTORS}artifact.txt`)));
    assert.equal(said.predicateType, PREDICATE_CYCLONEDX);
    assert.throws(() => verifySigstoreBundle(bundle, others), coded("SIGNATURE_UNKNOWN_KEY"));
  });
}

test("log entries beside a key are neither needed nor used", () => {
  const entry = {
    logIndex: "1",
    logId: { keyId: "AAAA" },
    kindVersion: { kind: "dsse", version: "0.0.1" },
    integratedTime: "1700000000",
    inclusionPromise: { signedEntryTimestamp: "AAAA" },
    inclusionProof: { logIndex: "1", rootHash: "AAAA", treeSize: "2", hashes: [], checkpoint: { envelope: "x" } },
    canonicalizedBody: "AAAA",
  };
  const bundle = altered(({ verificationMaterial }) => Object.assign(verificationMaterial, { tlogEntries: [entry] }));
  assert.equal(verifySigstoreBundle(bundle, [ours]).holder, "Ada");
});

const simple = signSimpleSigning(key, { dockerReference: "sealift.invalid/gateway", digest: SUBJECT });

/** A cosign payload over any text, rightly signed. */
function signedSimple(payload: string | Buffer): [Buffer, string] {
  const bytes = Buffer.from(payload);
  return [bytes, sign("sha256", bytes, key).toString("base64")];
}

test("cosign's payload has the members, the order and the null that cosign 2 writes", () => {
  assert.equal(
    simple.payload.toString(),
    `{"critical":{"identity":{"docker-reference":"sealift.invalid/gateway"},"image":{"docker-manifest-digest":"${SUBJECT}"},"type":"cosign container image signature"},"optional":null}`,
  );
});

test("a simple-signing payload is told with its key, holder and digest", () => {
  assert.deepEqual(verifySimpleSigning(simple.payload, simple.signature, [...others, ours]), {
    digest: SUBJECT,
    keyFingerprint: ours.fingerprint,
    holder: "Ada",
  });
});

test("refuses a simple-signing payload of an unknown key, or one that was changed", () => {
  assert.throws(() => verifySimpleSigning(simple.payload, simple.signature, others), coded("SIGNATURE_UNKNOWN_KEY"));
  const payload = Buffer.from(simple.payload.toString().replace("gateway", "gatewax"));
  assert.throws(() => verifySimpleSigning(payload, simple.signature, [ours]), coded("SIGNATURE_UNKNOWN_KEY"));
});

test("refuses a signature that is not base64 in its one spelling", () => {
  for (const signature of ["", "!", `${simple.signature}=`, ` ${simple.signature}`, `${simple.signature}\n`]) {
    assert.throws(() => verifySimpleSigning(simple.payload, signature, [ours]), coded("SIGNATURE_MALFORMED"));
  }
});

const claim = (digest: unknown, type = "cosign container image signature"): string =>
  JSON.stringify({ critical: { identity: {}, image: { "docker-manifest-digest": digest as Digest }, type } });
for (const [what, payload] of [
  ["is not JSON", "hello"],
  ["is null", "null"],
  ["is empty", ""],
  ["has no critical part", "{}"],
  ["is of another type", claim(SUBJECT, "atomic container signature")],
  ["names no digest", claim(undefined)],
  ["names a SHA-512", claim(`sha512:${"a".repeat(128)}`)],
  ["names a digest and more", claim(`${SUBJECT}0`)],
] as const) {
  test(`refuses a rightly signed simple-signing payload that ${what}`, () => {
    const [bytes, signature] = signedSimple(payload);
    assert.throws(() => verifySimpleSigning(bytes, signature, [ours]), coded("SIGNATURE_STATEMENT_REFUSED"));
  });
}
