import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import type { TdxPolicy } from "../../verify/attestation/tdx-policy.ts";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { TDX_AT, TdxPlatform } from "../support/tdx-platform.ts";
import { LEAST_TDX_POLICY, tdxPlatform } from "../verify/attestation/tdx-evidence.ts";

const SIMULATED: Partial<TdxPolicy> = { kind: "tdx-simulated", simulatedRoot: tdxPlatform.root };

/** A platform's quote and collateral as files, with a policy. */
async function onDisk(t: TestContext, policy: Partial<TdxPolicy>, by: TdxPlatform = tdxPlatform) {
  const directory = await scratch(t);
  const path = (name: string): string => join(directory, name);
  await mkdir(path("collateral"));
  for (const { name, bytes } of by.collateral()) await writeFile(path(`collateral/${name}`), bytes);
  await writeFile(path("quote"), by.quote({ version: 5 }));
  await writeFile(path("policy.json"), canonicalJson({ ...LEAST_TDX_POLICY, ...policy }));
  const args = ["--collateral", path("collateral"), "--at", TDX_AT, "--evidence", path("quote")];
  return { path, args, policy: path("policy.json") };
}

test("attest verify: a TDX quote is appraised in the cage, and a simulated one is no allow", async (t) => {
  const { args, policy, path } = await onDisk(t, SIMULATED);
  const { exit, stdout, stderr } = await sealift(["attest", "verify", ...args, "--policy", policy, "--json"]);
  assert.equal(exit, 3, stderr);
  const verdict = JSON.parse(stdout) as AttestationVerdict;
  assert.deepEqual([verdict.decision, verdict.findings.filter(({ status }) => status === "fail")], ["simulated", []]);
  assert.ok(verdict.cage !== null);
  const text = await sealift(["attest", "verify", ...args, "--policy", policy]);
  assert.match(text.stdout, /tcb-status +UpToDate/);
  const lint = await sealift(["attest", "lint", policy, ...args, "--json"]);
  assert.equal(lint.exit, 0, lint.stdout);
  await writeFile(path("collateral/tcb-info.json"), '{"tcbInfo":{}}');
  const refused = await sealift(["attest", "verify", ...args, "--policy", policy]);
  assert.match(refused.stdout, /tcb-info\.json.*\[ATTEST_COLLATERAL_MALFORMED\]/);
});

test("attest simulate --tdx makes what attest verify calls simulated, and an impostor that it denies", async (t) => {
  const nonce = "00112233445566778899aabbccddeeff";
  const directory = await scratch(t);
  const judged = async (name: string, ...more: readonly string[]): Promise<AttestationVerdict> => {
    const out = join(directory, name);
    const made = await sealift(["attest", "simulate", "--tdx", "--out", out, "--nonce", nonce, ...more]);
    assert.equal(made.exit, 0, made.stderr);
    assert.match(made.stdout, /^SIMULATED – NOT INTEL/);
    const files = ["--evidence", join(out, "evidence.json"), "--collateral", join(out, "collateral")];
    const args = [...files, "--policy", join(out, "policy.json"), "--nonce", nonce, "--json"];
    const { exit, stdout } = await sealift(["attest", "verify", ...args]);
    assert.equal(exit, 3);
    return JSON.parse(stdout) as AttestationVerdict;
  };
  assert.equal((await judged("simulated")).decision, "simulated");
  const impostor = await judged("impostor", "--impostor");
  assert.deepEqual(
    [impostor.decision, impostor.findings.find(({ check }) => check === "chain")?.code],
    ["deny", "ATTEST_ROOT_UNKNOWN"],
  );
});

test("attest verify: an impostor with Intel's names is refused for its root, a weak policy before anything is read", async (t) => {
  const { args, policy, path } = await onDisk(t, {}, new TdxPlatform({ impostor: true }));
  const { exit, stdout } = await sealift(["attest", "verify", ...args, "--policy", policy]);
  assert.equal(exit, 3);
  assert.match(stdout, /^DENIED[\s\S]*FAIL +chain .*\[ATTEST_ROOT_UNKNOWN\]/);
  await writeFile(path("weak.json"), canonicalJson({ ...LEAST_TDX_POLICY, measurements: "unchecked" }));
  const weak = await sealift(["attest", "verify", ...args, "--policy", path("weak.json")]);
  assert.equal(weak.exit, 2);
  assert.match(weak.stderr, /\[ATTEST_POLICY_WEAK\]/);
});
