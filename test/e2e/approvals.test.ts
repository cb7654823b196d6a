/** The commands by which a site comes to demand two reviewers, and what a release without them gets. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const PASSWORD = { PASSWORD: "four words no person guesses" };

test("a site demands two reviewers: install is denied without them, and a policy comes only with an authorization", async (t) => {
  const at = (name: string): string => join(directory, name);
  const directory = await scratch(t);
  const run = async (want: number, ...words: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await sealift(
      [...words, ...(words[0] === "key" ? [] : ["--state", at("state")])],
      PASSWORD,
    );
    assert.equal(exit, want, `${words.join(" ")}: ${stdout}${stderr}`);
    return stdout + stderr;
  };
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", at("alice")]);
  const [type, base64] = readFileSync(at("alice.pub"), "utf8").split(" ");
  writeFileSync(at("operators"), `alice namespaces="sealift-authorization" ${type} ${base64}\n`);
  const bundle = signedBundle({ now: new Date() });
  await mkdir(at("medium"));
  await writeSignedBundle(at("medium/bundle.tar"), bundle);
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  for (const name of ["rita", "raul"]) await run(0, "key", "generate", "--out", at(name), "--password-env", "PASSWORD");
  await run(0, "site", "init", "--operators", at("operators"));
  const fingerprint = execFileSync("sha256sum", [at("trust/1.root.json")], { encoding: "utf8" }).slice(0, 64);
  await run(0, "trust", "import", at("trust"), "--fingerprint", fingerprint, "--key", at("alice"));
  await run(0, "verify", at("medium/bundle.tar"));
  assert.match(await run(2, "approve", at("medium/bundle.tar")), /--key is missing/);

  const policy = (version: number): string => {
    const reviewers = ["rita", "raul"].map((holder) => ({
      holder,
      publicKey: readFileSync(at(`${holder}.pub`), "utf8"),
    }));
    const acceptNotChecked = ["cage", "scan", "rebuilt", "revocation", "attestation"];
    writeFileSync(
      at(`policy-${version}.json`),
      JSON.stringify({
        schemaVersion: 1,
        name: "two-reviewers",
        version,
        approvals: { threshold: 2, reviewers },
        acceptNotChecked,
      }),
    );
    return at(`policy-${version}.json`);
  };
  assert.match(await run(0, "policy", "show"), /policy default/);
  assert.match(await run(0, "policy", "import", policy(2), "--plan"), /new: approvals: 2 of 2 reviewers/);
  assert.match(await run(3, "policy", "import", policy(2)), /AUTHORIZATION_MISSING/);
  await run(0, "authorize", "policy", policy(2), "--out", at("policy.request"), "--key", at("alice"));
  const signed = ["--request", at("policy.request"), "--authorization", at("policy.request.sig")];
  assert.match(await run(3, "policy", "import", policy(3), ...signed), /AUTHORIZATION_OTHER_PLAN/);
  await run(0, "policy", "import", policy(2), ...signed);
  assert.match(await run(3, "policy", "import", policy(1), "--key", at("alice")), /POLICY_ROLLBACK/);
  assert.match(await run(0, "policy", "show", "--out", at("shown")), /approvals: 2 of 2 reviewers/);
  assert.deepEqual(readFileSync(at("shown")), readFileSync(policy(2)));

  assert.match(await run(3, "install", at("medium/bundle.tar"), "--key", at("alice")), /APPROVAL_MISSING/);
  const approve = (by: string, ...more: readonly string[]): Promise<string> =>
    run(0, "approve", at("medium/bundle.tar"), "--key", at(`${by}.key`), "--password-env", "PASSWORD", ...more);
  await approve("rita");
  await approve("rita", "--out", `${at("medium/bundle.tar")}.approval-${"0".repeat(16)}.json`);
  assert.match(await run(3, "verify", at("medium/bundle.tar")), /got 1 of 2 approvals: rita/);
  await approve("raul");
  assert.match(await run(0, "verify", at("medium/bundle.tar")), /2 of 2 approvals: raul, rita/);
  assert.match(await run(0, "ledger", "verify"), /the ledger holds/);
  // Another release takes the bundle's place; the approvals beside it are of the one before.
  rmSync(at("medium/bundle.tar"));
  const small = smallRelease({ version: "1.0.1" });
  await writeSignedBundle(at("medium/bundle.tar"), { ...signedBundle({ small, signers: bundle.signers }), small });
  assert.match(await run(3, "install", at("medium/bundle.tar"), "--key", at("alice")), /\[APPROVAL_OTHER\]/);
});
