import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { keyNames } from "../../bundles/model/public-key.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { hashed, verifyKeyBlob } from "../../verify/signature/blob.ts";
import type { Artifact, VerifiedBlob } from "../../verify/signature/message.ts";
import { parseKeyBundle } from "../../verify/signature/sigstore-bundle.ts";
import { verifyWitnessedBlob } from "../../verify/signature/witnessed-blob.ts";
import type { TrustKey } from "../../verify/trust/trust.ts";
import { coded, makeKey, trustKeyOf } from "../support/test-trust.ts";

const CASES = new URL("../../../shared/vectors/sigstore-conformance/bundle-verify/", import.meta.url).pathname;
const COSIGN = new URL("../vectors/cosign/", import.meta.url).pathname;
const skip = existsSync(CASES) ? false : "the sigstore-conformance vectors are not on this machine";
const MANAGED = join(CASES, "managed-key-and-trusted-root");

const key = makeKey();
const ours = trustKeyOf(key, "Ada");
const artifact = hashed(Buffer.from("an artifact"));
const { digest } = artifact;
const message = signBlob(key, artifact.bytes);

function verifyBlob(bundle: Buffer, about: Artifact, by: TrustKey): VerifiedBlob {
  return verifyKeyBlob(parseKeyBundle(bundle), about, by);
}

function publicKeyAt(path: string): TrustKey {
  const publicKey = loadPublicKey(path);
  return { ...keyNames(publicKey), holder: "given", publicKey };
}

function altered(bundle: Buffer, path: readonly string[], value: unknown): Buffer {
  const json: unknown = JSON.parse(bundle.toString());
  let at = json as Record<string, unknown>;
  for (const name of path.slice(0, -1)) at = at[name] as Record<string, unknown>;
  at[path.at(-1) as string] = value;
  return Buffer.from(JSON.stringify(json));
}

test("verifies a message signature and a statement over the artifact, by its digest alone", () => {
  const plain = { keyFingerprint: ours.fingerprint, logEntries: 0, logChecked: false };
  assert.deepEqual(verifyBlob(message, digest, ours), { kind: "message", predicateType: null, ...plain });
  const statement = signStatement(key, statementFor(digest, "https://example.invalid/p", {}));
  assert.deepEqual(verifyBlob(statement, digest, ours), {
    kind: "statement",
    predicateType: "https://example.invalid/p",
    ...plain,
  });
});

test("refuses another artifact, for a message and for a statement", () => {
  const statement = signStatement(key, statementFor(digest, "https://example.invalid/p", {}));
  for (const bundle of [message, statement]) {
    assert.throws(() => verifyBlob(bundle, digestOf("another"), ours), coded("SIGNATURE_OTHER_ARTIFACT"));
  }
});

test("refuses a message digest that is not the artifact's, although the signature holds over the artifact", () => {
  const other = Buffer.from(digestOf("another").slice(7), "hex").toString("base64");
  const bundle = altered(message, ["messageSignature", "messageDigest", "digest"], other);
  assert.throws(() => verifyBlob(bundle, digest, ours), coded("SIGNATURE_OTHER_ARTIFACT"));
  assert.throws(() => verifyBlob(bundle, digestOf("another"), ours), coded("SIGNATURE_UNKNOWN_KEY"));
});

test("refuses another key, also when the hint is that of the key given", () => {
  const stranger = trustKeyOf(makeKey(), "stranger");
  assert.throws(() => verifyBlob(message, digest, stranger), coded("SIGNATURE_UNKNOWN_KEY"));
  const pretending = altered(message, ["verificationMaterial", "publicKey", "hint"], stranger.hint);
  assert.throws(() => verifyBlob(pretending, digest, stranger), coded("SIGNATURE_UNKNOWN_KEY"));
});

test("refuses a message digest of another algorithm and a signature that is none", () => {
  const sha512 = altered(message, ["messageSignature", "messageDigest", "algorithm"], "SHA2_512");
  assert.throws(() => verifyBlob(sha512, digest, ours), coded("SIGNATURE_MALFORMED"));
  const garbage = altered(message, ["messageSignature", "signature"], "AAAA");
  assert.throws(() => verifyBlob(garbage, digest, ours), coded("SIGNATURE_UNKNOWN_KEY"));
  const none = altered(message, ["messageSignature", "signature"], "");
  assert.throws(() => verifyBlob(none, digest, ours), coded("SIGNATURE_MALFORMED"));
});

test("judges an artifact by its bytes as by its digest", () => {
  const [another, stranger] = [hashed(Buffer.from("another")), trustKeyOf(makeKey(), "stranger")];
  assert.deepEqual(verifyBlob(message, artifact, ours), verifyBlob(message, digest, ours));
  const statement = signStatement(key, statementFor(digest, "https://example.invalid/p", {}));
  assert.deepEqual(verifyBlob(statement, artifact, ours), verifyBlob(statement, digest, ours));
  const garbage = altered(message, ["messageSignature", "signature"], "AAAA");
  const pretending = altered(
    message,
    ["messageSignature", "messageDigest", "digest"],
    Buffer.from(another.digest.slice(7), "hex").toString("base64"),
  );
  for (const one of [another, another.digest]) {
    assert.throws(() => verifyBlob(message, one, ours), coded("SIGNATURE_OTHER_ARTIFACT"));
    assert.throws(() => verifyBlob(pretending, one, ours), coded("SIGNATURE_UNKNOWN_KEY"));
  }
  for (const one of [artifact, digest]) {
    assert.throws(() => verifyBlob(message, one, stranger), coded("SIGNATURE_UNKNOWN_KEY"));
    assert.throws(() => verifyBlob(garbage, one, ours), coded("SIGNATURE_UNKNOWN_KEY"));
  }
});

test("refuses a signed payload that is no statement, member by member", () => {
  const good = JSON.parse(statementFor(digest, "https://example.invalid/p", {}).toString()) as Record<string, unknown>;
  const [hex] = [digest.slice(7)];
  const verifyPayload = (payload: unknown) =>
    verifyBlob(signStatement(key, Buffer.from(JSON.stringify(payload))), digest, ours);
  assert.equal(verifyPayload(good).kind, "statement");
  const deep = Array.from({ length: 200 }).reduce<unknown>((inner) => [inner], 0);
  for (const bad of [
    ...[null, 7, "x", [], {}, [good]],
    ...[{ _type: "https://in-toto.io/Statement/v2" }, { _type: ["https://in-toto.io/Statement/v1"] }, { _type: null }],
    ...[
      [],
      {},
      null,
      [null],
      [{}],
      [{ digest: {} }],
      [{ digest: { sha256: [hex] } }],
      [{ digest: { sha256: hex.toUpperCase() } }],
    ]
      .concat([[[{ digest: { sha256: hex } }]], Array(1025).fill({ digest: { sha256: hex } })])
      .map((subject) => ({ subject })),
    ...[{ predicateType: "" }, { predicateType: 1 }, { predicateType: "x".repeat(1025) }, { predicateType: ["x"] }],
    ...[{ predicate: deep }, { predicate: "\ud800" }],
  ]) {
    const payload =
      typeof bad === "object" && bad !== null && !Array.isArray(bad) && Object.keys(bad).length > 0
        ? { ...good, ...bad }
        : bad;
    assert.throws(() => verifyPayload(payload), coded("SIGNATURE_STATEMENT_REFUSED"), JSON.stringify(bad).slice(0, 80));
  }
});

test("accepts both halves of S, as OpenSSL makes them", () => {
  for (let i = 0; i < 8; i += 1) verifyBlob(signBlob(key, artifact.bytes), digest, ours);
});

for (const version of ["cosign2", "cosign3"]) {
  test(`verifies what ${version} signed and attested`, () => {
    const trusted = publicKeyAt(`${COSIGN}${version}.pub`);
    const about = digestOf(readFileSync(`${COSIGN}artifact.txt`));
    for (const kind of ["blob", "att"]) {
      const bundle = readFileSync(`${COSIGN}${version}.${kind}.sigstore`);
      assert.equal(verifyBlob(bundle, about, trusted).kind, kind === "blob" ? "message" : "statement");
      assert.throws(() => verifyBlob(bundle, about, ours), coded("SIGNATURE_UNKNOWN_KEY"));
      assert.throws(() => verifyBlob(bundle, digest, trusted), coded("SIGNATURE_OTHER_ARTIFACT"));
    }
  });
}

test("refuses a trusted root that is none, or in which a log is valid without a beginning", () => {
  const mediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
  verifyWitnessedBlob(message, digest, ours, Buffer.from(JSON.stringify({ mediaType })));
  const endless = { mediaType, tlogs: [{ baseUrl: "x", publicKey: { rawBytes: "AAAA" } }] };
  for (const root of ["", "null", "7", "{}", JSON.stringify({ mediaType: "x" }), JSON.stringify(endless)]) {
    assert.throws(
      () => verifyWitnessedBlob(message, digest, ours, Buffer.from(root)),
      coded("SIGNATURE_ROOT_MALFORMED"),
    );
  }
});

test("the conformance suite's managed key verifies, with its log entry checked or not", { skip }, () => {
  const bundle = readFileSync(join(MANAGED, "bundle.sigstore.json"));
  const trusted = publicKeyAt(join(MANAGED, "key.pub"));
  const about = digestOf(readFileSync(join(CASES, "a.txt")));
  const root = readFileSync(join(MANAGED, "trusted_root.json"));
  assert.partialDeepStrictEqual(verifyBlob(bundle, about, trusted), { logEntries: 1, logChecked: false });
  assert.partialDeepStrictEqual(verifyWitnessedBlob(bundle, about, trusted, root), { logEntries: 1, logChecked: true });
  const foreign = readFileSync(join(CASES, "../default_trusted_root.json"));
  assert.throws(() => verifyWitnessedBlob(bundle, about, trusted, foreign), coded("SIGNATURE_WITNESS_REFUSED"));
  const noStart = JSON.parse(root.toString()) as { tlogs: { publicKey: { validFor?: unknown } }[] };
  for (const log of noStart.tlogs) delete log.publicKey.validFor;
  assert.throws(
    () => verifyWitnessedBlob(bundle, about, trusted, Buffer.from(JSON.stringify(noStart))),
    coded("SIGNATURE_ROOT_MALFORMED"),
  );
});

test("no other case of the conformance suite passes with a key, by none of its keys and roots, and none crashes", {
  skip,
}, () => {
  const trusted = [publicKeyAt(join(MANAGED, "key.pub")), ours];
  const names = readdirSync(CASES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  let refused = 0;
  for (const { name } of names) {
    // One bundle under two names; without a key the verb refuses it before it looks (test/installer).
    if (name.startsWith("managed-key")) continue;
    const at = (file: string): string => join(CASES, name, file);
    const bundle = readFileSync(at("bundle.sigstore.json"));
    const about = digestOf(readFileSync(existsSync(at("artifact")) ? at("artifact") : join(CASES, "a.txt")));
    const root = existsSync(at("trusted_root.json")) ? readFileSync(at("trusted_root.json")) : undefined;
    for (const one of trusted) {
      assert.throws(
        () => (root ? verifyWitnessedBlob(bundle, about, one, root) : verifyBlob(bundle, about, one)),
        (error) => error instanceof SealiftError && error.exit === 3,
        name,
      );
      refused += 1;
    }
  }
  assert.equal(refused, 2 * (names.length - 2));
});

test("200 seeded mutants of a bundle with a log entry never pass as something else and never crash", { skip }, () => {
  const original = readFileSync(join(MANAGED, "bundle.sigstore.json"));
  const trusted = publicKeyAt(join(MANAGED, "key.pub"));
  const about = digestOf(readFileSync(join(CASES, "a.txt")));
  const root = readFileSync(join(MANAGED, "trusted_root.json"));
  let seed = 20_260_601;
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let refused = 0;
  for (let round = 0; round < 200; round += 1) {
    const mutant = Buffer.from(original);
    for (let i = 0; i <= next(3); i += 1) mutant.writeUInt8(next(256), next(mutant.length));
    try {
      const verified = verifyWitnessedBlob(mutant, about, trusted, root);
      // A change may hit what decides nothing (the hint, white space); what is told must still be true.
      assert.equal(verified.keyFingerprint, trusted.fingerprint);
      assert.throws(() => verifyWitnessedBlob(mutant, digest, trusted, root), SealiftError);
    } catch (cause) {
      assert.ok(cause instanceof SealiftError && cause.exit === 3, `round ${round}: ${String(cause)}`);
      refused += 1;
    }
  }
  assert.ok(refused > 150, `got ${refused} of 200 refused`);
});
