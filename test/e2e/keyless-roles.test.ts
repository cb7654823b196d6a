/**
 * A release role that signs with certificates, by the commands of both sides and against fakes of Sigstore's
 * services; and what cosign 2 and 3 say to the same signature and the same trusted root.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { hexOf } from "../../bundles/model/digest.ts";
import { signStatementKeyless } from "../../bundles/sign/keyless.ts";
import { releaseStatement } from "../../bundles/sign/sign-release.ts";
import { sealift } from "../support/command-line.ts";
import { FakeSigstore, identityToken } from "../support/fake-sigstore.ts";
import { type PeerName, requirePeer, skipWithout } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";
import { writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const WHO = { identity: "rob@example.com", issuer: "https://issuer.example" };
const PASSWORD = { PASSWORD: "four words no person guesses" };
const small = smallRelease();

test("trust with an identity, a certificate's signature carried as one small file, verified by a site's command", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const run = async (want: number, ...words: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await sealift(words, PASSWORD);
    assert.equal(exit, want, `${words.join(" ")}: ${stdout}${stderr}`);
    return stdout + stderr;
  };
  const fake = new FakeSigstore();
  const { fulcio, rekor, timestamp } = await fake.serve(t);
  const services = ["--fulcio-url", fulcio, "--rekor-url", rekor, "--timestamp-url", timestamp];
  writeFileSync(at("trusted_root.json"), fake.trustedRoot());
  writeFileSync(at("token"), identityToken(WHO.identity));
  for (const name of ["root", "builder", "security"]) {
    await run(0, "key", "generate", "--out", at(name), "--password-env", "PASSWORD");
  }
  const made = await run(
    0,
    ...["trust", "init", "--out", at("trust"), "--root-key", at("root.key"), "--password-env", "PASSWORD"],
    ...["--role", `builder=${at("builder.pub")}`, "--role", `security=${at("security.pub")}`],
    ...["--identity", `release=rob,${WHO.issuer},${WHO.identity}`, "--trusted-root", at("trusted_root.json")],
  );
  assert.match(made, /release trust written/);
  assert.ok(readdirSync(at("trust")).some((name) => /^[0-9a-f]{64}\.trusted_root\.json$/.test(name)));
  assert.match(await run(0, "trust", "show", at("trust")), /rob, as rob@example\.com of https:\/\/issuer\.example/);
  await writeSignedBundle(at("bundle.tar"), { small, objects: [] });
  for (const role of ["builder", "security"]) {
    const key = ["--key", at(`${role}.key`), "--password-env", "PASSWORD"];
    await run(0, "bundle", "sign", at("bundle.tar"), "--role", role, ...key);
  }
  const verify = ["verify", at("bundle.tar"), "--trust", at("trust")];
  assert.match(await run(3, ...verify), /SIGNATURE_MISSING/);
  const token = ["--identity-token", at("token"), ...services];
  assert.match(await run(2, "bundle", "sign", at("bundle.tar"), "--role", "release", ...token, "--key", "x"), /either/);
  const { digest } = small.release.descriptor;
  await run(0, "bundle", "sign", "--digest", digest, ...token, "--out", at("release.sigstore.json"));
  await run(0, "bundle", "attach", at("bundle.tar"), at("release.sigstore.json"));
  assert.match(
    await run(0, ...verify),
    /signed {4}release {3}rob, as rob@example\.com of https:\/\/issuer\.example at 20/,
  );
  await run(0, "trust", "rotate", at("trust"), "--key", at("root.key"), "--password-env", "PASSWORD");
  await run(0, ...verify);
  const taken = ["trust", "revoke", at("trust"), "--holder", "rob", "--reason", "left"];
  const release = ["--role", `release=${at("release.pub")}`];
  await run(0, "key", "generate", "--out", at("release"), "--password-env", "PASSWORD");
  await run(0, ...taken, ...release, "--key", at("root.key"), "--password-env", "PASSWORD");
  assert.match(await run(3, ...verify), /SIGNATURE_IDENTITY_REFUSED/);
});

// Cosign 2 knows no Rekor 2.
for (const [cosign, rekorVersion] of [
  ["cosign2", 1],
  ["cosign3", 1],
  ["cosign3", 2],
] as const) {
  test(`${cosign} reads the same signature, witnessed by Rekor ${rekorVersion}, by the same trusted root, and refuses another identity`, {
    skip: skipWithout(cosign),
  }, async (t) => {
    await cosignReads(t, cosign, rekorVersion);
  });
}

async function cosignReads(t: TestContext, cosign: PeerName, rekorVersion: 1 | 2): Promise<void> {
  const directory = await scratch(t);
  const fake = new FakeSigstore();
  const services = await fake.serve(t, rekorVersion);
  const { digest } = small.release.descriptor;
  const bundle = await signStatementKeyless(releaseStatement(digest), identityToken(WHO.identity), services);
  writeFileSync(join(directory, "bundle.json"), bundle);
  writeFileSync(join(directory, "root.json"), fake.trustedRoot());
  writeFileSync(join(directory, "release.json"), small.blobs.get(digest) ?? "");
  const judge = (identity: string, issuer: string): number | null => {
    const form = cosign === "cosign2" ? ["--new-bundle-format", "--offline"] : [];
    const { status, stderr } = spawnSync(
      requirePeer(cosign),
      [
        ...["verify-blob-attestation", ...form, "--bundle", "bundle.json", "--trusted-root", "root.json"],
        ...["--certificate-identity", identity, "--certificate-oidc-issuer", issuer],
        ...["--type", "https://sigstore.dev/cosign/sign/v1", "release.json"],
      ],
      { cwd: directory, encoding: "utf8", env: { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory } },
    );
    t.diagnostic(`${cosign} for ${identity} of ${issuer}: ${stderr.trim().slice(0, 300)}`);
    return status;
  };
  assert.equal(judge(WHO.identity, WHO.issuer), 0, `release ${hexOf(digest)}`);
  assert.notEqual(judge("mallory@example.com", WHO.issuer), 0);
  assert.notEqual(judge(WHO.identity, "https://other.example"), 0);
}
