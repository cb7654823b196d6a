import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { encryptPrivateKey, publicKeyPem } from "../../bundles/sign/key-file.ts";
import { bundleSign } from "../../installer/commands/bundle-sign.ts";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import { keyGenerate } from "../../installer/commands/key-generate.ts";
import { trustInit } from "../../installer/commands/trust-init.ts";
import { trustRevoke } from "../../installer/commands/trust-revoke.ts";
import { trustRotate } from "../../installer/commands/trust-rotate.ts";
import { trustShow } from "../../installer/commands/trust-show.ts";
import { trustSign } from "../../installer/commands/trust-sign.ts";
import { verifyBlobCommand } from "../../installer/commands/verify-blob.ts";
import { verifySigstoreBundle } from "../../verify/signature/signature.ts";
import { runVerb, type VerbResult } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey, sha256, trustKeyOf } from "../support/test-trust.ts";

const VARIABLE = "SEALIFT_TEST_KEY_PASSWORD";
const COSIGN = new URL("../vectors/cosign/", import.meta.url).pathname;
const CONFORMANCE = new URL("../../../shared/vectors/sigstore-conformance/", import.meta.url).pathname;

async function run(
  command: Command,
  args: readonly string[],
  options: Record<string, OptionValue> = {},
): Promise<VerbResult> {
  process.env[VARIABLE] = "pass";
  try {
    return await runVerb(command, args, { "password-env": VARIABLE, ...options });
  } finally {
    delete process.env[VARIABLE];
  }
}

/** Scrypt costs a sixth of a second, so the private half is written only where a test opens it. */
async function writePair(directory: string, name: string, andPrivate = false): Promise<ReturnType<typeof makeKey>> {
  const key = makeKey();
  if (andPrivate) await writeFile(join(directory, `${name}.key`), encryptPrivateKey(key, "pass"));
  await writeFile(join(directory, `${name}.pub`), publicKeyPem(key));
  return key;
}

test("key generate makes a pair with the password of the named variable, and says its fingerprint", async (t) => {
  const out = join(await scratch(t), "k");
  const { exit, document } = await run(keyGenerate, [], { out });
  assert.equal(exit, 0);
  assert.match(String(document["fingerprint"]), /^[0-9a-f]{64}$/);
  await assert.rejects(run(keyGenerate, [], { out }), coded("FILE_EXISTS"));
});

test("without a terminal a password must come from a variable", async (t) => {
  const out = join(await scratch(t), "k");
  await assert.rejects(
    run(keyGenerate, [], { out, "password-env": "SEALIFT_TEST_UNSET" }),
    coded("KEY_PASSWORD_MISSING"),
  );
});

test("a trust is made on one machine, signed on another, and shown in between", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  for (const name of ["build@host", "security"]) await writePair(directory, name);
  for (const name of ["root-1", "root-2", "release"]) await writePair(directory, name, true);
  const out = at("trust");
  const options = {
    out,
    "root-key": [at("root-1.key"), `${at("root-2.pub")}@Grace`],
    "root-threshold": "2",
    role: [
      `builder=${at("build@host.pub")}@ada@example.org`,
      `security=${at("security.pub")}`,
      `release=${at("release.pub")}`,
    ],
    appliance: "gateway",
  };
  const made = await run(trustInit, [], options);
  assert.equal(made.exit, 0);
  assert.equal(made.document["complete"], false);
  assert.ok(made.lines.includes("incomplete: 1.root.json has 1 of 2 signatures"), made.lines.join("\n"));

  const between = await run(trustShow, [out]);
  assert.equal(between.exit, 3);
  assert.ok(between.lines.some((line) => line.includes("not final")));
  assert.ok(
    between.lines.some((line) => line.endsWith("  ada@example.org")),
    between.lines.join("\n"),
  );

  const signed = await run(trustSign, [out], { key: at("root-2.key") });
  assert.equal(signed.document["complete"], true);
  const shown = await run(trustShow, [out]);
  assert.equal(shown.exit, 0, shown.lines.join("\n"));
  assert.equal(shown.document["rootFingerprint"], sha256(await readFile(join(out, "1.root.json"))));
  assert.deepEqual(
    (shown.document["roles"] as { paths: string[] }[]).map(({ paths }) => paths),
    Array(3).fill(["gateway/*"]),
  );
  assert.deepEqual(
    (shown.document["root"] as { keys: { holder: string }[] }).keys.map(({ holder }) => holder),
    ["root-1", "Grace"],
  );

  await assert.rejects(run(trustInit, [], options), coded("TRUST_EXISTS"));
  await assert.rejects(run(trustSign, [out], { key: at("release.key") }), coded("TRUST_KEY_FOREIGN"));
  await assert.rejects(run(trustSign, [out], { key: at("root-1.pub") }), coded("KEY_MALFORMED"));
  await writeFile(join(out, "1.targets.json"), "{}");
  await assert.rejects(run(trustSign, [out], { key: at("root-2.key") }), coded("TRUST_MALFORMED"));
});

test("trust init refuses what is said twice, wrongly or not at all", async (t) => {
  const directory = await scratch(t);
  await writePair(directory, "a");
  const base = { out: join(directory, "trust"), "root-key": [join(directory, "a.pub")] };
  const pub = join(directory, "a.pub");
  for (const [options, code] of [
    [{ out: base.out }, "USAGE"],
    [{ ...base, role: ["admin=x"] }, "USAGE"],
    [{ ...base, role: ["builder"] }, "USAGE"],
    [{ ...base, threshold: ["builder=1", "builder=2"] }, "USAGE"],
    [{ ...base, "root-threshold": "0" }, "USAGE"],
    [{ ...base, "root-threshold": "two" }, "USAGE"],
    [{ ...base, role: ["builder=/none.pub"] }, "KEY_NOT_FOUND"],
    [{ ...base, role: [`builder=${pub}`, `security=${pub}`, `release=${pub}`] }, "TRUST_LINT"],
    [base, "TRUST_LINT"],
  ] as [Record<string, OptionValue>, string][]) {
    await assert.rejects(run(trustInit, [], options), coded(code));
  }
});

test("verify-blob verifies a file or its digest, and says when log entries were not checked", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const key = await writePair(directory, "k", true);
  const artifact = Buffer.alloc(3_000_000, "artifact");
  await writeFile(at("file"), artifact);
  await writeFile(at("bundle"), signBlob(key, artifact));
  const options = { bundle: at("bundle"), key: at("k.pub") };
  const byFile = await run(verifyBlobCommand, [at("file")], options);
  const byDigest = await run(verifyBlobCommand, [digestOf(artifact)], options);
  assert.deepEqual(byFile.document, byDigest.document);
  assert.equal(byFile.document["keyFingerprint"], keyFingerprint(key));
  await assert.rejects(run(verifyBlobCommand, [at("k.pub")], options), coded("SIGNATURE_OTHER_ARTIFACT"));
  await assert.rejects(run(verifyBlobCommand, [at("none")], options), coded("FILE_NOT_FOUND"));
  await assert.rejects(run(verifyBlobCommand, ["sha256:ABC"], options), coded("FILE_NOT_FOUND"));
  await assert.rejects(run(verifyBlobCommand, [directory], options), coded("FILE_UNREADABLE"));
  await assert.rejects(
    run(verifyBlobCommand, [at("file")], { ...options, bundle: at("file") }),
    coded("SIGNATURE_MALFORMED"),
  );
  await assert.rejects(
    run(verifyBlobCommand, [at("file")], { ...options, key: `${COSIGN}cosign2.pub` }),
    coded("SIGNATURE_UNKNOWN_KEY"),
  );
  await assert.rejects(run(verifyBlobCommand, [at("file")], { ...options, key: at("k.key") }), coded("KEY_MALFORMED"));
});

test("verify-blob without a key or an identity, with both or with half of one, is a usage error", async () => {
  const artifact = [`${COSIGN}artifact.txt`];
  const bundle = `${COSIGN}cosign3.blob.sigstore`;
  const identity = { "certificate-identity": "a@example.org" };
  const issuer = { "certificate-oidc-issuer": "https://issuer.invalid" };
  const root = { "trusted-root": bundle };
  for (const options of [
    {},
    { ...identity, ...issuer },
    { ...identity, ...root },
    { ...issuer, ...root },
    { ...identity, "certificate-oidc-issuer": "", ...root },
    { ...identity, ...issuer, ...root, key: `${COSIGN}cosign3.pub` },
  ]) {
    await assert.rejects(run(verifyBlobCommand, artifact, { bundle, ...options }), coded("USAGE"));
  }
});

test("verify-blob takes an attestation for a signature only if nobody asked for one", async () => {
  const artifact = [`${COSIGN}artifact.txt`];
  const options = { bundle: `${COSIGN}cosign3.att.sigstore`, key: `${COSIGN}cosign3.pub` };
  const { document } = await run(verifyBlobCommand, artifact, options);
  const type = document["predicateType"] as string;
  await run(verifyBlobCommand, artifact, { ...options, "predicate-type": type });
  for (const want of ["message", `${type}/v2`, ""]) {
    await assert.rejects(
      run(verifyBlobCommand, artifact, { ...options, "predicate-type": want }),
      coded("SIGNATURE_STATEMENT_REFUSED"),
    );
  }
  const plain = { ...options, bundle: `${COSIGN}cosign3.blob.sigstore` };
  await run(verifyBlobCommand, artifact, { ...plain, "predicate-type": "message" });
  await assert.rejects(
    run(verifyBlobCommand, artifact, { ...plain, "predicate-type": type }),
    coded("SIGNATURE_STATEMENT_REFUSED"),
  );
});

test("verify-blob with a certificate's identity runs the conformance suite by file and by digest", {
  skip: existsSync(CONFORMANCE) ? false : "the sigstore-conformance vectors are not on this machine",
}, async () => {
  const at = (name: string): string => join(CONFORMANCE, "bundle-verify", name);
  const options = {
    "certificate-identity":
      "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
    "certificate-oidc-issuer": "https://token.actions.githubusercontent.com",
    "trusted-root": join(CONFORMANCE, "default_trusted_root.json"),
  };
  const byFile = at("a.txt");
  const byDigest = digestOf(await readFile(byFile));
  for (const artifact of [byFile, byDigest]) {
    const good = await run(verifyBlobCommand, [artifact], {
      ...options,
      bundle: at("happy-path-v0.3/bundle.sigstore.json"),
    });
    assert.equal((good.document["times"] as unknown[]).length, 1);
    assert.equal(good.document["keyFingerprint"], undefined);
    await assert.rejects(
      run(verifyBlobCommand, [artifact], { ...options, bundle: at("signature-mismatch_fail/bundle.sigstore.json") }),
      coded("SIGNATURE_WITNESS_REFUSED"),
    );
  }
});

test("trust rotate and trust revoke make the next version, and say who must sign it and where to carry it", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const names = ["ruth", "rolf", "builder", "security", "release", "new"];
  await Promise.all(names.map((name) => writePair(directory, name, name === "ruth" || name === "rolf")));
  const roles = ["builder", "security", "release"].map((role) => `${role}=${at(role)}.pub`);
  const root = { "root-key": [at("ruth.key"), at("rolf.key")], "root-threshold": "2" };
  await run(trustInit, [], { out: at("trust"), ...root, role: roles });
  const rotated = await run(trustRotate, [at("trust")], {
    out: at("next"),
    role: [`release=${at("new.pub")}@Nina`],
    key: [at("ruth.key")],
  });
  assert.deepEqual(rotated.document["added"], ["2.targets.json", "2.snapshot.json", "timestamp.json"]);
  assert.equal(rotated.document["complete"], false);
  assert.match(rotated.lines.join("\n"), /Next, on each missing key's machine: sealift trust sign .*next --key KEY/);
  assert.equal((await run(trustShow, [at("trust")])).exit, 0);
  assert.equal((await run(trustShow, [at("next")])).exit, 3);
  await assert.rejects(run(trustRotate, [at("next")], {}), coded("TRUST_INCOMPLETE"));
  await run(trustSign, [at("next")], { key: at("rolf.key") });
  assert.equal((await run(trustShow, [at("next")])).exit, 0);
  const keys = { key: [at("ruth.key"), at("rolf.key")] };
  const release = `sha256:${"ab".repeat(32)}`;
  for (const options of [{ reason: "x" }, { release: [release] }, { "revoke-key": ["nothing"], reason: "x" }]) {
    const code = "revoke-key" in options ? "FILE_NOT_FOUND" : "USAGE";
    await assert.rejects(run(trustRevoke, [at("next")], { ...keys, ...options }), coded(code));
  }
  const lastKey = { "revoke-key": [at("builder.pub")], reason: "stolen" };
  await assert.rejects(run(trustRevoke, [at("next")], { ...keys, ...lastKey }), coded("TRUST_LINT"));
  const revoked = await run(trustRevoke, [at("next")], { ...keys, release: [release], reason: "loses data" });
  assert.equal(revoked.document["complete"], true);
  assert.match(revoked.lines.join("\n"), /Next, carry .*next to the sites; there: sealift trust import .*next/);
  const shown = await run(trustShow, [at("next")]);
  assert.ok(
    shown.lines.some((line) => line.startsWith(`revoked release ${release} at `) && line.endsWith("loses data")),
  );
  assert.equal(shown.document["targetsVersion"], 3);
});

test("bundle sign lets a command sign in a key file's place, and not both", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const key = await writePair(directory, "k", true);
  await writeFile(at("token.pem"), key.export({ format: "pem", type: "pkcs8" }));
  const digest = `sha256:${"ab".repeat(32)}`;
  const signer = `openssl dgst -sha256 -sign '${at("token.pem")}'`;
  const options = { digest, out: at("signature"), signer, "public-key": at("k.pub") };
  await run(bundleSign, [], options);
  const { sigstoreBundle } = JSON.parse(await readFile(at("signature"), "utf8")) as { sigstoreBundle: object };
  const verified = verifySigstoreBundle(Buffer.from(JSON.stringify(sigstoreBundle)), [trustKeyOf(key, "token")]);
  assert.equal(verified.statement.subject, digest);
  const wrong = { ...options, out: at("other") };
  await assert.rejects(run(bundleSign, [], { ...wrong, key: at("k.key") }), coded("USAGE"));
  await assert.rejects(run(bundleSign, [], { ...wrong, "public-key": "" }), coded("USAGE"));
  await assert.rejects(run(bundleSign, [], { ...wrong, signer: "false" }), coded("SIGNER_FAILED"));
});
