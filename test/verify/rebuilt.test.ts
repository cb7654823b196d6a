import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { REBUILD_TYPE } from "../../bundles/model/rebuild.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { type Rebuild, signRebuild } from "../../bundles/sign/rebuild.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { DEFAULT_POLICY, type Policy, parsePolicy } from "../../verify/policy.ts";
import { policyLines } from "../../verify/policy-text.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, type Signer, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { coded } from "../support/test-trust.ts";

const [nora, otto, mallory] = [makeSigner("nora"), makeSigner("otto"), makeSigner("mallory")];
const bundle = signedBundle();
const { descriptor, manifest } = bundle.small.release;
const release = descriptor.digest;

const demand = (threshold: number, ...people: readonly Signer[]): Partial<Policy> => ({
  rebuilds: {
    threshold,
    rebuilders: people.map(({ holder, key }) => ({ holder, publicKey: publicKeyPem(createPublicKey(key)) })),
  },
});
const two = demand(2, nora, otto);

function rebuild({ key, holder }: Signer, change: Partial<Rebuild> = {}): Buffer {
  const { appliance, version, platform, applianceFile, lock } = manifest;
  return signRebuild(key, {
    ...{ release, appliance, version, platform, applianceFile, lock },
    builderId: `https://${holder}.example/builder`,
    sealiftVersion: "0.1.0",
    finishedOn: "2026-06-01T00:00:00Z",
    ...change,
  });
}

test("a policy that demands two rebuilds counts two distinct independent rebuilders, and says who they were", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const finding = async (policy: Partial<Policy>, ...statements: readonly Buffer[]) => {
    const { decision, findings } = await judge(path, { ...bundle, policy, approvals: statements });
    const { status, code, message, reason } = findings.find(({ check }) => check === "rebuilt") ?? {};
    return { decision, status, code, text: `${message}${reason}` };
  };
  const both = await finding(two, rebuild(nora), rebuild(otto));
  assert.deepEqual([both.decision, both.status], ["allow", "pass"]);
  const names = "nora (https://nora.example/builder), otto (https://otto.example/builder)";
  assert.ok(both.text.startsWith(`2 of 2 independent rebuilds: ${names}`), both.text);
  for (const given of [[], [rebuild(nora)], [rebuild(nora), rebuild(nora)]]) {
    const { decision, code } = await finding(two, ...given);
    assert.deepEqual([decision, code], ["deny", "REBUILD_MISSING"]);
  }
  assert.deepEqual((await finding({}, rebuild(nora))).status, "not-checked");
  const strict = { acceptNotChecked: DEFAULT_POLICY.acceptNotChecked.filter((check) => check !== "rebuilt") };
  assert.equal((await finding(strict)).decision, "deny");
});

test("a stranger's rebuild, one of another release, of another kind or by a signer of the release does not count", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const attest = (type: string, predicate: unknown) => signStatement(nora.key, statementFor(release, type, predicate));
  for (const [odd, code] of [
    [rebuild(mallory), "SIGNATURE_UNKNOWN_KEY"],
    [rebuild(nora, { release: digestOf("other") }), "REBUILD_OTHER"],
    [attest(PREDICATE_SLSA_PROVENANCE, {}), "REBUILD_OTHER"],
    [
      attest(PREDICATE_SLSA_PROVENANCE, { buildDefinition: { buildType: REBUILD_TYPE }, runDetails: {} }),
      "REBUILD_OTHER",
    ],
    [attest(PREDICATE_COSIGN_SIGN, {}), undefined],
  ] as const) {
    const approvals = [rebuild(otto), odd];
    const { decision, findings } = await judge(path, { ...bundle, policy: two, approvals });
    const { code: got, message } = findings.find(({ check }) => check === "rebuilt") ?? {};
    assert.deepEqual([decision, got], ["deny", "REBUILD_MISSING"]);
    if (code !== undefined) assert.ok(message?.includes(`not counted: [${code}]`), code);
  }
  const builder = bundle.signers.builder[0] as Signer;
  for (const one of [
    { ...builder, holder: "someone" },
    { ...nora, holder: builder.holder },
  ]) {
    const { findings } = await judge(path, { ...bundle, policy: demand(1, one), approvals: [rebuild(one)] });
    assert.equal(findings.find(({ check }) => check === "rebuilt")?.code, "REBUILDER_NOT_INDEPENDENT");
  }
});

test("a policy whose rebuilders could count twice or never be enough is malformed; one that is good says who they are", () => {
  const bytes = (policy: Partial<Policy>): Buffer => canonicalJson({ ...DEFAULT_POLICY, ...policy });
  for (const bad of [
    demand(1, nora, { ...nora, holder: "other" }),
    demand(1, nora, { ...otto, holder: "nora" }),
    demand(3, nora, otto),
    { rebuilds: { threshold: 1, rebuilders: [{ holder: "x", publicKey: "no key" }] } },
  ]) {
    assert.throws(() => parsePolicy(bytes(bad)), coded("POLICY_MALFORMED"));
  }
  const lines = policyLines(bytes(two));
  assert.ok(lines.includes("independent rebuilds: 2 of 2 rebuilders"));
  assert.ok(lines.some((line) => /^rebuilder nora, key [0-9a-f]{64}$/.test(line)));
});
