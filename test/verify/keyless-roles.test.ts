/** Roles of the release trust whose holders sign with certificates: by fakes of Sigstore's services on loopback. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { renderCertificateBundle } from "../../bundles/layout/certificate-bundle.ts";
import { renderSigstoreReferrer } from "../../bundles/layout/signature-object.ts";
import { identityFingerprint } from "../../bundles/model/certificate-identity.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { objectsFrom } from "../../bundles/sign/attach.ts";
import { parseDetachedFile } from "../../bundles/sign/detached-file.ts";
import { signStatementKeyless } from "../../bundles/sign/keyless.ts";
import { releaseStatement, signReleaseKeyless } from "../../bundles/sign/sign-release.ts";
import { keylessVerifier } from "../../verify/signature/keyless-statement.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { type FakeOptions, FakeSigstore, identityToken } from "../support/fake-sigstore.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigners,
  mergeObjects,
  type RoleIdentity,
  type SmallTrustOptions,
  signAs,
  smallTrust,
  writeSignedBundle,
} from "../support/signed-bundle.ts";
import { SMALL_BUILDER, smallRelease } from "../support/small-bundle.ts";
import { coded } from "../support/test-trust.ts";

const ROB: RoleIdentity = { holder: "rob", identity: "rob@example.com", issuer: "https://issuer.example" };
const small = smallRelease();
const signers = makeSigners();
const { descriptor } = small.release;

interface Scene extends FakeOptions {
  readonly rekorVersion?: 1 | 2;
  /** Whether the signer asks the timestamp authority; not needed with Rekor 1. */
  readonly timestamped?: boolean;
  /** Whom the fake authority vouches for; Rob. */
  readonly as?: Partial<RoleIdentity>;
  readonly trust?: (fake: FakeSigstore) => Partial<SmallTrustOptions>;
}

/** A bundle that builder and security signed with keys, and the release role by certificate. */
async function scene(t: TestContext, options: Scene = {}) {
  const fake = new FakeSigstore(options);
  fake.who = { ...fake.who, ...options.as };
  const { timestamp, ...services } = await fake.serve(t, options.rekorVersion);
  const given = options.timestamped === false ? services : { ...services, timestamp };
  const read = (digest: Digest): Buffer => small.blobs.get(digest) as Buffer;
  const token = identityToken(ROB.identity);
  const sign = (statement: Buffer): Promise<Buffer> => signStatementKeyless(statement, token, given);
  const keyless = await signReleaseKeyless({ read }, small.release, "release", sign, SMALL_BUILDER);
  const objects = mergeObjects([
    ...signers.builder.flatMap((one) => signAs(small, "builder", one)),
    ...signers.security.flatMap((one) => signAs(small, "security", one)),
    ...keyless,
  ]);
  const trustFiles = smallTrust(signers, {
    identities: { release: [ROB] },
    trustedRoot: fake.trustedRoot(),
    now: new Date(),
    ...options.trust?.(fake),
  });
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, { small, objects });
  return { path, trustFiles, fake, keyless, services: given, at: new Date().toISOString() };
}

for (const [what, options] of [
  ["Rekor 1", { timestamped: false }],
  ["Rekor 1 and a timestamp", {}],
  ["Rekor 2 and a timestamp", { rekorVersion: 2 }],
] as const) {
  test(`a role's identity signs a release with a certificate, witnessed by ${what}, verified offline`, async (t) => {
    const { path, trustFiles, at } = await scene(t, options);
    const verdict = await judge(path, { trustFiles, at });
    assert.deepEqual(wrongCodes(verdict), []);
    assert.equal(verdict.decision, "allow");
    const signed = verdict.signatures.find(({ role }) => role === "release");
    assert.deepEqual(
      [signed?.holder, signed?.key, signed?.certificate?.identity, signed?.certificate?.issuer],
      [ROB.holder, identityFingerprint(ROB), ROB.identity, ROB.issuer],
    );
    assert.ok(Math.abs(Date.parse(signed?.certificate?.at ?? "") - Date.now()) < 60_000);
  });
}

test("a certificate for another identity, or of another issuer counts for nothing", async (t) => {
  for (const [as, code] of [
    [{ identity: "mallory@example.com" }, "SIGNATURE_IDENTITY_REFUSED"],
    [{ identity: "rob@example.com.evil.example" }, "SIGNATURE_IDENTITY_REFUSED"],
    [{ issuer: "https://issuer.example/other" }, "SIGNATURE_IDENTITY_REFUSED"],
  ] as const) {
    const { path, trustFiles, at } = await scene(t, { as });
    assert.deepEqual(wrongCodes(await judge(path, { trustFiles, at })), [code, "SIGNATURE_MISSING"].sort());
  }
});

test("other services, no log, no certificate log, no authority, no timestamp, or a certificate that had expired: refused", async (t) => {
  for (const [what, options, code] of [
    [
      "other services",
      { trust: () => ({ trustedRoot: new FakeSigstore().trustedRoot() }) },
      "SIGNATURE_WITNESS_REFUSED",
    ],
    ["log", { trust: (fake) => ({ trustedRoot: fake.trustedRoot("tlogs") }) }, "SIGNATURE_WITNESS_REFUSED"],
    ["ct log", { trust: (fake) => ({ trustedRoot: fake.trustedRoot("ctlogs") }) }, "SIGNATURE_CERTIFICATE_REFUSED"],
    [
      "authority",
      { trust: (fake) => ({ trustedRoot: fake.trustedRoot("certificateAuthorities") }) },
      "SIGNATURE_CERTIFICATE_REFUSED",
    ],
    [
      "timestamp authority",
      { trust: (fake) => ({ trustedRoot: fake.trustedRoot("timestampAuthorities") }) },
      "SIGNATURE_WITNESS_REFUSED",
    ],
    ["no timestamp", { rekorVersion: 2, timestamped: false }, "SIGNATURE_WITNESS_REFUSED"],
    ["expired", { certifiedAt: new Date(Date.now() - 3_600_000) }, "SIGNATURE_CERTIFICATE_REFUSED"],
    ["not yet valid", { certifiedAt: new Date(Date.now() + 3_600_000) }, "SIGNATURE_CERTIFICATE_REFUSED"],
  ] satisfies readonly (readonly [string, Scene, string])[]) {
    const { path, trustFiles, at } = await scene(t, options);
    assert.deepEqual(wrongCodes(await judge(path, { trustFiles, at })), [code, "SIGNATURE_MISSING"].sort(), what);
  }
});

test("the trusted root comes with the trust: missing, changed or malformed it fails the trust, and a key-only trust takes no certificate", async (t) => {
  const { path, trustFiles, at } = await scene(t);
  const [name = ""] = [...trustFiles.keys()].filter((one) => one.endsWith(".trusted_root.json"));
  const other = new FakeSigstore().trustedRoot();
  for (const [files, code] of [
    [new Map([...trustFiles].filter(([one]) => one !== name)), "TRUST_MALFORMED"],
    [new Map([...trustFiles, [name, other]]), "TRUST_TARGET_CHANGED"],
    [
      smallTrust(signers, { identities: { release: [ROB] }, trustedRoot: Buffer.from("{}"), now: new Date() }),
      "SIGNATURE_ROOT_MALFORMED",
    ],
  ] as const) {
    assert.deepEqual(wrongCodes(await judge(path, { trustFiles: files, at })), [code]);
  }
  const keysOnly = smallTrust(signers, { now: new Date() });
  assert.deepEqual(wrongCodes(await judge(path, { trustFiles: keysOnly, at })), [
    "SIGNATURE_MALFORMED",
    "SIGNATURE_MISSING",
  ]);
});

test("an identity takes the place of a key in thresholds: two of one holder are refused, one identity serves one role", () => {
  const trustedRoot = new FakeSigstore().trustedRoot();
  const make = (identities: SmallTrustOptions["identities"], edit?: SmallTrustOptions["edit"]) => () =>
    smallTrust(signers, { ...(identities && { identities }), trustedRoot, ...(edit && { edit }) });
  assert.throws(make({ release: [ROB, { ...ROB, identity: "other@example.com" }] }), coded("TRUST_LINT"));
  assert.throws(make({ release: [ROB], security: [{ ...ROB, holder: "sue" }] }), coded("TRUST_LINT"));
  assert.throws(make({ release: [{ ...ROB, issuer: "issuer.example" }] }), coded("TRUST_LINT"));
  assert.throws(make({ release: [{ ...ROB, identity: "" }] }), coded("TRUST_LINT"));
  assert.throws(() => smallTrust(signers, { identities: { release: [ROB] } }), coded("TRUST_LINT"));
  const files = make({ release: [ROB] })();
  const { roles, trustedRoot: read } = loadTrust(files, new Date("2026-06-01T00:00:00Z"));
  assert.deepEqual(read, trustedRoot);
  const expected = {
    holder: ROB.holder,
    identity: ROB.identity,
    issuer: ROB.issuer,
    fingerprint: identityFingerprint(ROB),
  };
  assert.deepEqual(roles.get("release")?.keys, [expected]);
});

test("a certificate's signature that was made elsewhere is attached in the one form, and with more in it refused", async (t) => {
  const { trustFiles, at, services } = await scene(t);
  const bundle = await signStatementKeyless(releaseStatement(descriptor.digest), identityToken(ROB.identity), services);
  const loose = Buffer.from(
    JSON.stringify({ ...(JSON.parse(bundle.toString()) as object), extra: "a stranger's bytes" }, null, 2),
  );
  const { subject, signatures } = parseDetachedFile(loose, "bundle");
  const attached = objectsFrom(subject, signatures, small.release);
  const others = [
    ...signers.builder.flatMap((one) => signAs(small, "builder", one)),
    ...signers.security.flatMap((one) => signAs(small, "security", one)),
  ];
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, { small, objects: mergeObjects([...others, ...attached]) });
  assert.deepEqual(wrongCodes(await judge(path, { trustFiles, at })), []);
  const smuggled = renderSigstoreReferrer(descriptor, "https://sigstore.dev/cosign/sign/v1", loose);
  await writeSignedBundle(`${path}2`, { small, objects: mergeObjects([...others, smuggled]) });
  const codes = wrongCodes(await judge(`${path}2`, { trustFiles, at }));
  assert.ok(codes.includes("SIGNATURE_MISSING") && codes.length === 2, String(codes));
});

test("a service that refuses, answers nonsense or too much, and a token that is none: nothing is signed", async (t) => {
  const { services } = await scene(t);
  const statement = releaseStatement(descriptor.digest);
  const token = identityToken(ROB.identity);
  for (const change of [
    { fulcio: `${services.fulcio}/nowhere` },
    { rekor: `${services.rekor}/nowhere` },
    { timestamp: `${services.fulcio}/nowhere` },
    { fulcio: "http://127.0.0.1:1" },
  ]) {
    await assert.rejects(signStatementKeyless(statement, token, { ...services, ...change }), coded("KEYLESS_FAILED"));
  }
  for (const answer of ["null", "7", "[]", "{}", '{"signedCertificateEmbeddedSct":{"chain":null}}', "<p>"]) {
    const server = createServer((_, response) => void response.end(answer)).listen(0, "127.0.0.1");
    t.after(() => server.close());
    await once(server, "listening");
    const odd = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    for (const change of [{ fulcio: odd }, { rekor: odd }, { timestamp: odd }]) {
      await assert.rejects(signStatementKeyless(statement, token, { ...services, ...change }), coded("KEYLESS_FAILED"));
    }
  }
  for (const bad of ["", "a.b.c", "a.e30.c"]) {
    await assert.rejects(signStatementKeyless(statement, bad, services), coded("KEYLESS_TOKEN_MALFORMED"));
  }
});

/** Members of a bundle whose bytes nobody signed; they decide nothing, and are bounded in size (SECURITY.md). */
const UNSIGNED = [".verificationMaterial.timestampVerificationData.rfc3161Timestamps.0.signedTimestamp"];

test("no bit of a certificate's bundle can be flipped, but in what frames a timestamp", async (t) => {
  for (const rekorVersion of [1, 2] as const) {
    const fake = new FakeSigstore();
    const services = await fake.serve(t, rekorVersion);
    const statement = releaseStatement(descriptor.digest);
    const bundle = await signStatementKeyless(statement, identityToken(ROB.identity), services);
    const verify = keylessVerifier(fake.trustedRoot());
    const who = [{ ...ROB, fingerprint: identityFingerprint(ROB) }];
    const accepted = new Set<string>();
    let tried = 0;
    for (const { path, mutant } of flipped(bundle, SAMPLE_STEP)) {
      const rendered = renderCertificateBundle(mutant);
      tried += 1;
      if (!rendered || rendered.equals(bundle)) continue;
      try {
        verify(rendered, who);
        accepted.add(path);
      } catch (cause) {
        assert.ok(cause instanceof SealiftError, `${path}: ${String(cause)}`);
      }
    }
    assert.ok(tried > 150);
    assert.deepEqual(
      [...accepted].filter((path) => !UNSIGNED.includes(path)),
      [],
    );
  }
});

const SAMPLE_STEP = 23;

/** Every `step`th byte of each text in the bundle with one bit flipped; of base64, of what it stands for. */
function* flipped(bundle: Buffer, step: number): Generator<{ readonly path: string; readonly mutant: Buffer }> {
  const parsed = JSON.parse(bundle.toString()) as Record<string, unknown>;
  const leaves = [...leavesOf(parsed, "")];
  for (const { path, holder, key, text } of leaves) {
    const isBase64 = text.length > 8 && Buffer.from(text, "base64").toString("base64") === text;
    const bytes = Buffer.from(text, isBase64 ? "base64" : "utf8");
    for (let at = 0; at < bytes.length; at += bytes.length > 40 ? step : 1) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      holder[key] = changed.toString(isBase64 ? "base64" : "utf8");
      yield { path, mutant: Buffer.from(JSON.stringify(parsed)) };
    }
    holder[key] = text;
  }
}

interface Leaf {
  readonly path: string;
  readonly holder: Record<string, unknown>;
  readonly key: string;
  readonly text: string;
}

function* leavesOf(holder: Record<string, unknown>, path: string): Generator<Leaf> {
  for (const [key, value] of Object.entries(holder)) {
    if (typeof value === "object" && value !== null) {
      yield* leavesOf(value as Record<string, unknown>, `${path}.${key}`);
    } else if (typeof value === "string") yield { path: `${path}.${key}`, holder, key, text: value };
  }
}

test("more witnesses than one signature needs, or a timestamp that carries a freight, is malformed", async (t) => {
  const fake = new FakeSigstore();
  const services = await fake.serve(t);
  const statement = releaseStatement(descriptor.digest);
  const bundle = await signStatementKeyless(statement, identityToken(ROB.identity), services);
  const verify = keylessVerifier(fake.trustedRoot());
  const who = [{ ...ROB, fingerprint: identityFingerprint(ROB) }];
  interface Material {
    verificationMaterial: {
      tlogEntries: { inclusionProof: { checkpoint: { envelope: string }; hashes: string[] } }[];
      timestampVerificationData: { rfc3161Timestamps: { signedTimestamp: string }[] };
    };
  }
  const changes: ((material: Material["verificationMaterial"]) => void)[] = [
    ({ tlogEntries }) => tlogEntries.push(...Array(4).fill(tlogEntries[0])),
    ({ timestampVerificationData: { rfc3161Timestamps: all } }) => all.push(...Array(4).fill(all[0])),
    ({ timestampVerificationData: { rfc3161Timestamps: all } }) => {
      const first = Buffer.from(all[0]?.signedTimestamp ?? "", "base64");
      all[0] = { signedTimestamp: Buffer.concat([first, Buffer.alloc(16 * 1024)]).toString("base64") };
    },
    ({ tlogEntries: [first] }) => {
      if (first) first.inclusionProof.checkpoint.envelope += "\u2014 witness AAAAAAAA\n".repeat(1000);
    },
    ({ tlogEntries: [first] }) => first?.inclusionProof.hashes.push(...Array(64).fill("AAAA")),
  ];
  for (const change of changes) {
    const parsed = JSON.parse(bundle.toString()) as Material;
    change(parsed.verificationMaterial);
    const rendered = renderCertificateBundle(Buffer.from(JSON.stringify(parsed))) ?? Buffer.alloc(0);
    assert.throws(() => verify(rendered, who), coded("SIGNATURE_MALFORMED"));
  }
});
