/** Runbooks for people with keys, and no engine: the `sh` blocks of release-trust.md and policy.md, in their order. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { generateKeyFiles } from "../../bundles/sign/key-file.ts";
import { sealift } from "../support/command-line.ts";
import { readRunbook, runRunbook } from "../support/run-runbook.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { sha256 } from "../support/test-trust.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PASSWORD = "only for this test";
const runbookUrl = (name: string): URL => new URL(`../../runbooks/${name}`, import.meta.url);

test("the ceremony of the release trust works as it is written", { timeout: 120_000 }, async (t) => {
  const directory = await scratch(t);
  // Ann makes hers in the runbook; these come from other machines.
  for (const name of ["ben", "cem", "builder", "sue", "rob", "rita", "ron"])
    generateKeyFiles(join(directory, name), PASSWORD);
  const environment = { ...process.env, PATH: `${ROOT}:${process.env["PATH"]}`, COSIGN_PASSWORD: PASSWORD };
  const runbook = readRunbook(runbookUrl("release-trust.md"));
  assert.equal(runRunbook(runbook, { environment, directory }).length, runbook.blocks.length);
  const { exit, stdout } = await sealift(["trust", "show", join(directory, "trust")]);
  assert.equal(exit, 0, stdout);
  assert.match(stdout, /^release: 2 of 2/m);
  assert.doesNotMatch(stdout, / Rob$/m);
});

test("a policy is enrolled and a release approved as it is written", { timeout: 120_000 }, async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await makeSite(at);
  const reviewers = ["rita", "raul"].map((holder) => {
    generateKeyFiles(at(holder), PASSWORD);
    return { holder, publicKey: readFileSync(at(`${holder}.pub`), "utf8") };
  });
  const url = runbookUrl("policy.md");
  const [, first = ""] = /^```json\n(.*?)^```$/ms.exec(readFileSync(url, "utf8")) ?? [];
  const policy = JSON.parse(first) as { approvals: { threshold: number; reviewers: unknown[] } };
  assert.deepEqual(
    policy.approvals.reviewers.map((reviewer) => (reviewer as { holder: string }).holder),
    ["rita", "raul"],
  );
  writeFileSync(at("two-reviewers.json"), JSON.stringify({ ...policy, approvals: { ...policy.approvals, reviewers } }));
  const environment = { ...process.env, PATH: `${at("bin")}:${process.env["PATH"]}`, COSIGN_PASSWORD: PASSWORD };
  const runbook = readRunbook(url);
  assert.equal(runRunbook(runbook, { environment, directory }).length, runbook.blocks.length);

  const verify = ["verify", at("bundle.tar"), "--state", at("state"), "--json"];
  const codes = async (): Promise<unknown[]> => {
    const { findings } = JSON.parse((await sealift(verify)).stdout) as { findings: { code: string; status: string }[] };
    return findings.filter(({ status }) => status === "fail").map(({ code }) => code);
  };
  assert.deepEqual(await codes(), ["APPROVAL_MISSING"], "one of two reviewers");
  const second = ["approve", at("bundle.tar"), "--key", at("raul.key"), "--state", at("state")];
  assert.equal((await sealift(second, { COSIGN_PASSWORD: PASSWORD })).exit, 0);
  assert.deepEqual(await codes(), []);
});

/** A site with a publisher's trust, a bundle, the operator's key `K`, and a `sealift` that knows where the site is. */
async function makeSite(at: (name: string) => string): Promise<void> {
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", at("K")]);
  writeFileSync(at("operators"), `alice namespaces="sealift-authorization" ${readFileSync(at("K.pub"), "utf8")}`);
  const bundle = signedBundle({ small: smallRelease({ version: "1.4.0" }), now: new Date(Date.now() - 60_000) });
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  await writeSignedBundle(at("bundle.tar"), bundle);
  const fingerprint = sha256(bundle.trustFiles.get("1.root.json") as Buffer);
  const state = ["--state", at("state")];
  const init = await sealift(["site", "init", "--operators", at("operators"), ...state]);
  assert.equal(init.exit, 0, init.stderr);
  const pin = ["trust", "import", at("trust"), "--fingerprint", fingerprint, "--key", at("K"), ...state];
  const pinned = await sealift(pin);
  assert.equal(pinned.exit, 0, pinned.stderr);
  await mkdir(at("bin"));
  const script = `#!/bin/sh\nexec "${join(ROOT, "sealift")}" "$@" --state "${at("state")}"\n`;
  writeFileSync(at("bin/sealift"), script, { mode: 0o755 });
}
