import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { verifyBlobCommand } from "../../installer/commands/verify-blob.ts";
import { verifyKeyBlob } from "../../verify/signature/blob.ts";
import { parseKeyBundle } from "../../verify/signature/sigstore-bundle.ts";
import { verifyKeylessBlob, verifyWitnessedBlob } from "../../verify/signature/witnessed-blob.ts";
import { parseGeneralizedTime } from "../../verify/signature/witnesses.ts";
import { runVerb } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey, trustKeyOf } from "../support/test-trust.ts";

const SUITE = new URL("../../../shared/vectors/sigstore-conformance/", import.meta.url).pathname;
const CASES = join(SUITE, "bundle-verify");
const skip = existsSync(CASES) ? false : "the sigstore-conformance vectors are not on this machine";
const DEFAULT_ROOT = skip ? Buffer.alloc(0) : readFileSync(join(SUITE, "default_trusted_root.json"));
const IDENTITY =
  "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER = "https://token.actions.githubusercontent.com";
const WHO = { identity: IDENTITY, issuer: ISSUER };

interface Case {
  readonly name: string;
  readonly bundle: Buffer;
  readonly artifact: Buffer;
  readonly root: Buffer;
  readonly who: typeof WHO;
}

function caseNamed(name: string): Case {
  const at = (file: string): string => join(CASES, name, file);
  const read = (file: string): Buffer | undefined => (existsSync(at(file)) ? readFileSync(at(file)) : undefined);
  return {
    name,
    bundle: readFileSync(at("bundle.sigstore.json")),
    artifact: read("artifact") ?? readFileSync(join(CASES, "a.txt")),
    root: read("trusted_root.json") ?? DEFAULT_ROOT,
    who: {
      identity: read("identity")?.toString().trim() ?? IDENTITY,
      issuer: read("issuer")?.toString().trim() ?? ISSUER,
    },
  };
}

/** As a script calls it: the artifact by its file, or by its digest alone. */
async function verifyCase(name: string, by: "file" | "digest"): Promise<void> {
  const { artifact, who } = caseNamed(name);
  const own = join(CASES, name);
  const named = (file: string, fallback: string): string => (existsSync(join(own, file)) ? join(own, file) : fallback);
  const key = join(own, "key.pub");
  const signer = existsSync(key)
    ? { key }
    : { "certificate-identity": who.identity, "certificate-oidc-issuer": who.issuer };
  const options = {
    ...signer,
    bundle: join(own, "bundle.sigstore.json"),
    "trusted-root": named("trusted_root.json", join(SUITE, "default_trusted_root.json")),
  };
  const argument = by === "file" ? named("artifact", join(CASES, "a.txt")) : digestOf(artifact);
  const { exit, document } = await runVerb(verifyBlobCommand, [argument], options);
  assert.deepEqual([exit, document["verified"], document["artifact"]], [0, true, digestOf(artifact)]);
}

const names = skip ? [] : readdirSync(CASES, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [e.name] : []));

for (const name of names) {
  const want = name.endsWith("_fail") ? "refuses" : "accepts";
  test(`${want} conformance case ${name}`, async () => {
    for (const by of ["file", "digest"] as const) {
      if (want === "accepts") await verifyCase(name, by);
      else await assert.rejects(verifyCase(name, by), (error) => error instanceof SealiftError && error.exit === 3, by);
    }
  });
}

test("says who signed and when, by whose word", { skip }, () => {
  const v1 = caseNamed("happy-path-v0.3");
  const verified = verifyKeylessBlob(v1.bundle, digestOf(v1.artifact), WHO, v1.root);
  assert.deepEqual(verified.certificate, WHO);
  assert.deepEqual([verified.kind, verified.logEntries, verified.logChecked], ["message", 1, true]);
  assert.deepEqual(
    verified.times.map(({ source }) => source),
    ["rekor"],
  );
  const v2 = caseNamed("rekor2-timestamp-without-embedded-cert");
  const { times } = verifyKeylessBlob(v2.bundle, digestOf(v2.artifact), WHO, v2.root);
  assert.deepEqual(
    times.map(({ source }) => source),
    ["timestamp-authority"],
  );
});

test("an identity or issuer that only looks alike is refused: no pattern, no part, no other case", { skip }, () => {
  const { bundle, artifact, root } = caseNamed("happy-path-v0.3");
  const digest = digestOf(artifact);
  const wrong = [
    { ...WHO, identity: IDENTITY.slice(1) },
    { ...WHO, identity: IDENTITY.slice(0, -1) },
    { ...WHO, identity: IDENTITY.replace("github.com", "github-com") },
    { ...WHO, identity: ".*" },
    { ...WHO, identity: `${IDENTITY}|x` },
    { ...WHO, identity: IDENTITY.toUpperCase() },
    { ...WHO, identity: `${IDENTITY}\n` },
    { ...WHO, identity: IDENTITY.replace("g", String.fromCharCode("g".charCodeAt(0) + 128)) },
    { ...WHO, issuer: `${ISSUER}/` },
    { ...WHO, issuer: "" },
    { identity: ISSUER, issuer: IDENTITY },
  ];
  for (const who of wrong) {
    assert.throws(() => verifyKeylessBlob(bundle, digest, who, root), coded("SIGNATURE_IDENTITY_REFUSED"));
  }
});

test("a statement counts for its subjects only, though the envelope's signature holds", { skip }, () => {
  const { bundle, artifact, root } = caseNamed("intoto-with-custom-trust-root");
  assert.equal(
    verifyKeylessBlob(bundle, digestOf(artifact), WHO, root).predicateType,
    "https://slsa.dev/provenance/v1",
  );
  assert.throws(() => verifyKeylessBlob(bundle, digestOf("unrelated"), WHO, root), coded("SIGNATURE_OTHER_ARTIFACT"));
});

function edited(bundle: Buffer, edit: (json: Record<string, Record<string, unknown>>) => void): Buffer {
  const json = JSON.parse(bundle.toString()) as Record<string, Record<string, unknown>>;
  edit(json);
  return Buffer.from(JSON.stringify(json));
}

test("without its log entry, its timestamp or its certificate a keyless bundle is worth nothing", { skip }, () => {
  const { bundle, artifact, root } = caseNamed("rekor2-timestamp-without-embedded-cert");
  const digest = digestOf(artifact);
  const material = (json: Record<string, Record<string, unknown>>) =>
    json["verificationMaterial"] as Record<string, unknown>;
  const without = (name: string) => edited(bundle, (json) => void delete material(json)[name]);
  for (const [name, code] of [
    ["tlogEntries", "SIGNATURE_WITNESS_REFUSED"],
    ["timestampVerificationData", "SIGNATURE_WITNESS_REFUSED"],
    ["certificate", "SIGNATURE_MALFORMED"],
  ] as const) {
    assert.throws(() => verifyKeylessBlob(without(name), digest, WHO, root), coded(code), name);
  }
  const twice = edited(bundle, (json) => {
    const data = material(json)["timestampVerificationData"] as { rfc3161Timestamps: unknown[] };
    data.rfc3161Timestamps.push(data.rfc3161Timestamps[0]);
  });
  assert.throws(() => verifyKeylessBlob(twice, digest, WHO, root), coded("SIGNATURE_WITNESS_REFUSED"));
});

test("a key's bundle is no certificate's, and the other way round", { skip }, () => {
  const key = makeKey();
  const artifact = Buffer.from("x");
  assert.throws(
    () => verifyKeylessBlob(signBlob(key, artifact), digestOf(artifact), WHO, DEFAULT_ROOT),
    coded("SIGNATURE_MALFORMED"),
  );
  const keyless = caseNamed("happy-path-v0.3");
  assert.throws(() => parseKeyBundle(keyless.bundle), coded("SIGNATURE_MALFORMED"));
});

test("an empty trusted root trusts nobody, and one of other authorities refuses", { skip }, () => {
  const { bundle, artifact } = caseNamed("happy-path-v0.3");
  const empty = Buffer.from('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}');
  const other = caseNamed("rekor2-timestamp-without-embedded-cert").root;
  for (const root of [empty, other]) {
    assert.throws(
      () => verifyKeylessBlob(bundle, digestOf(artifact), WHO, root),
      (error) => error instanceof SealiftError && error.exit === 3,
    );
  }
});

test("300 seeded mutants of keyless bundles never pass as something else and never crash", { skip }, () => {
  const originals = ["happy-path-v0.3", "rekor2-timestamp-without-embedded-cert", "intoto-with-custom-trust-root"];
  let seed = 20_260_602;
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let refused = 0;
  for (let round = 0; round < 300; round += 1) {
    const { bundle, artifact, root } = caseNamed(originals[round % originals.length] as string);
    const mutant = Buffer.from(bundle);
    for (let i = 0; i <= next(3); i += 1) mutant.writeUInt8(next(256), next(mutant.length));
    try {
      verifyKeylessBlob(mutant, digestOf(artifact), WHO, root);
      assert.throws(() => verifyKeylessBlob(mutant, digestOf("other"), WHO, root), SealiftError);
    } catch (cause) {
      assert.ok(cause instanceof SealiftError && cause.exit === 3, `round ${round}: ${String(cause)}`);
      refused += 1;
    }
  }
  assert.ok(refused > 220, `got ${refused} of 300 refused`);
});

test("JSON with a member twice is refused wherever it is: bundle, statement, trusted root", () => {
  const key = makeKey();
  const artifact = Buffer.from("x");
  const given = trustKeyOf(key, "k");
  const bundle = signBlob(key, artifact).toString();
  const twice = Buffer.from(bundle.replace('"mediaType"', '"media\\u0054ype":"x","mediaType"'));
  assert.throws(() => parseKeyBundle(twice), coded("SIGNATURE_MALFORMED"));
  const statement = statementFor(digestOf(artifact), "https://example.invalid/p", {}).toString();
  const evil = Buffer.from(statement.replace('"predicateType"', '"predicateType":"y","predicateType"'));
  assert.throws(
    () => verifyKeyBlob(parseKeyBundle(signStatement(key, evil)), digestOf(artifact), given),
    coded("SIGNATURE_STATEMENT_REFUSED"),
  );
  const root = '{"mediaType":"x","mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}';
  assert.throws(
    () => verifyWitnessedBlob(Buffer.from(bundle), digestOf(artifact), given, Buffer.from(root)),
    coded("SIGNATURE_ROOT_MALFORMED"),
  );
});

test("finds a member that is there twice, and none where only values or other objects repeat", () => {
  for (const [json, want] of [
    ['{"a":1,"a":2}', "a"],
    ['{"b":{"a":1,"\\u0061":2}}', "a"],
    ['[{"":1,"":1}]', ""],
    ['{"\\\\":1,"\\"":2,"\\\\":3}', "\\"],
    ['{"__proto__":1,"__proto__":2}', "__proto__"],
    ['{"a":"a:","b":["a","a",{"a":1},{"a":1}],"c":{"a":1}}', undefined],
    ['{"a\\\\":1,"a":"{\\"a\\":1,\\"a\\":2}"}', undefined],
    ["7", undefined],
  ] as const) {
    JSON.parse(json);
    assert.equal(duplicateMember(json), want, json);
  }
  assert.equal(duplicateMember(`{"a":"${"x".repeat(8_000_000)}","b":1}`), undefined);
});

test("reads the times that RFC 3161 allows, with any fraction, and nothing else", () => {
  assert.equal(parseGeneralizedTime("20260102030405Z").toISOString(), "2026-01-02T03:04:05.000Z");
  for (const [text, want] of [
    ["20260102030405.1Z", ".100Z"],
    ["20260102030405.12Z", ".120Z"],
    ["20260102030405.123Z", ".123Z"],
    ["20260102030405.123456Z", ".123Z"],
  ] as const) {
    assert.equal(parseGeneralizedTime(text).toISOString(), `2026-01-02T03:04:05${want}`);
  }
  for (const text of [
    "",
    "20260102030405",
    "260102030405Z",
    "20261302030405Z",
    "20260102030405.Z",
    "20260102030405+01",
  ])
    assert.throws(() => parseGeneralizedTime(text), RangeError, text);
});

const openssl = spawnSync("openssl", ["version"]).status === 0;

test("a timestamp with 0 to 6 digits of fraction counts; one over another signature does not", {
  skip: openssl ? false : "openssl is not here",
}, async (t) => {
  const directory = await scratch(t);
  const run = (...args: readonly string[]): void => {
    const { status, stderr } = spawnSync("openssl", args, { cwd: directory, encoding: "utf8" });
    assert.equal(status, 0, stderr);
  };
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  writeFileSync(
    join(directory, "ca.cnf"),
    "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n[tsa]\nextendedKeyUsage=critical,timeStamping\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
  );
  run(
    "req",
    "-x509",
    ...ec,
    "-config",
    "ca.cnf",
    "-extensions",
    "ca",
    "-subj",
    "/CN=root",
    "-days",
    "99",
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
  );
  run("req", ...ec, "-config", "ca.cnf", "-subj", "/CN=tsa", "-keyout", "tsa.key", "-out", "tsa.csr");
  run(
    "x509",
    "-req",
    "-in",
    "tsa.csr",
    "-CA",
    "ca.pem",
    "-CAkey",
    "ca.key",
    "-set_serial",
    "7",
    "-extfile",
    "ca.cnf",
    "-extensions",
    "tsa",
    "-days",
    "90",
    "-out",
    "tsa.pem",
  );
  const rawBytes = (file: string): string =>
    readFileSync(join(directory, file), "utf8").replace(/-----[A-Z ]+-----|\s/g, "");
  const certificates = ["tsa.pem", "ca.pem"].map((file) => ({ rawBytes: rawBytes(file) }));
  const root = Buffer.from(
    JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      timestampAuthorities: [{ certChain: { certificates }, validFor: { start: "2020-01-01T00:00:00Z" } }],
    }),
  );
  const key = makeKey();
  const artifact = Buffer.from("stamped");
  const bundle = signBlob(key, artifact);
  const { signature } = (JSON.parse(bundle.toString()) as { messageSignature: { signature: string } }).messageSignature;
  writeFileSync(join(directory, "signature"), Buffer.from(signature, "base64"));
  writeFileSync(join(directory, "serial"), "01\n");
  run("ts", "-query", "-data", "signature", "-sha256", "-out", "query");
  const given = trustKeyOf(key, "k");
  for (const digits of [0, 1, 2, 3, 6]) {
    writeFileSync(
      join(directory, "tsa.cnf"),
      `[tsa]\ndefault_tsa=one\n[one]\nserial=serial\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\nclock_precision_digits=${digits}\ness_cert_id_alg=sha256\n`,
    );
    run(
      "ts",
      "-reply",
      "-config",
      "tsa.cnf",
      "-queryfile",
      "query",
      "-signer",
      "tsa.pem",
      "-inkey",
      "tsa.key",
      "-out",
      "reply",
    );
    const stamped = (token: string, of = bundle) =>
      edited(of, (json) => {
        const material = json["verificationMaterial"] as Record<string, unknown>;
        material["timestampVerificationData"] = { rfc3161Timestamps: [{ signedTimestamp: token }] };
      });
    const reply = readFileSync(join(directory, "reply"));
    assert.equal(
      verifyWitnessedBlob(stamped(reply.toString("base64")), digestOf(artifact), given, root).logChecked,
      true,
    );
    const other = signBlob(key, artifact);
    assert.throws(
      () => verifyWitnessedBlob(stamped(reply.toString("base64"), other), digestOf(artifact), given, root),
      coded("SIGNATURE_WITNESS_REFUSED"),
    );
    reply[reply.length - 1] = (reply.at(-1) as number) ^ 1;
    assert.throws(
      () => verifyWitnessedBlob(stamped(reply.toString("base64")), digestOf(artifact), given, root),
      coded("SIGNATURE_WITNESS_REFUSED"),
    );
  }
});
