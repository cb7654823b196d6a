import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_VSA } from "../../bundles/model/media-types.ts";
import { keyFingerprint, parsePublicKey } from "../../bundles/model/public-key.ts";
import { NO_REVOCATIONS, REVOKED_MEMBER } from "../../bundles/model/revocations.ts";
import { type ApprovalInputs, signApproval } from "../../bundles/sign/approval.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { signRebuild } from "../../bundles/sign/rebuild.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { readApprovals, statementPath } from "../../verify/approval-files.ts";
import { DEFAULT_POLICY, type Policy, parsePolicy } from "../../verify/policy.ts";
import { policyLines } from "../../verify/policy-text.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, type Signer, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { coded } from "../support/test-trust.ts";

const [rita, raul, mallory] = [makeSigner("rita"), makeSigner("raul"), makeSigner("mallory")];
const bundle = signedBundle();
const release = bundle.small.release.descriptor.digest;
const reviewer = ({ holder, key }: Signer) => ({ holder, publicKey: publicKeyPem(createPublicKey(key)) });
const demand = (threshold: number, ...reviewers: readonly Signer[]): Partial<Policy> => ({
  approvals: { threshold, reviewers: reviewers.map(reviewer) },
});
const two = demand(2, rita, raul);
const digestUnder = (policy: Partial<Policy>) => digestOf(canonicalJson({ ...DEFAULT_POLICY, ...policy }));

function approval(by: Signer, change: Partial<ApprovalInputs> = {}): Buffer {
  return signApproval(by.key, {
    release,
    appliance: "gateway",
    version: "1.0.0",
    policy: digestUnder(two),
    trust: { rootFingerprint: "ab".repeat(32), rootVersion: 1, targetsVersion: 1 },
    attestations: [],
    timeVerified: "2026-06-01T00:00:00Z",
    sealiftVersion: "0.1.0",
    ...change,
  });
}

async function codesWith(path: string, policy: Partial<Policy>, ...approvals: readonly Buffer[]): Promise<string[]> {
  return wrongCodes(await judge(path, { ...bundle, policy, approvals }));
}

test("a policy that demands two approvals gets two distinct reviewers', and says who they were", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const verdict = await judge(path, { ...bundle, policy: two, approvals: [approval(rita), approval(raul)] });
  assert.equal(verdict.decision, "allow");
  const finding = verdict.findings.find(({ subject }) => subject === "approvals");
  assert.equal(finding?.message, "2 of 2 approvals: raul, rita");
  assert.deepEqual(await codesWith(path, two), ["APPROVAL_MISSING"]);
  assert.deepEqual(await codesWith(path, two, approval(rita)), ["APPROVAL_MISSING"]);
  assert.deepEqual(await codesWith(path, two, approval(rita), approval(rita)), ["APPROVAL_MISSING"]);
  assert.deepEqual(await codesWith(path, {}), []);
});

test("an approval by a stranger, of another release, under another policy, or of another kind does not count", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const attest = (type: string, predicate: unknown) => signStatement(rita.key, statementFor(release, type, predicate));
  const policy = { digest: { sha256: digestUnder(two).slice(7) } };
  const timeVerified = "2026-06-01T00:00:00Z";
  for (const [odd, code] of [
    [approval(mallory), "SIGNATURE_UNKNOWN_KEY"],
    [Buffer.from("{}"), "SIGNATURE_MALFORMED"],
    [approval(rita, { release: digestOf("other") }), "APPROVAL_OTHER"],
    [approval(rita, { policy: digestOf("other") }), "APPROVAL_OTHER"],
    [attest(PREDICATE_COSIGN_SIGN, {}), "APPROVAL_OTHER"],
    [attest(PREDICATE_VSA, { verificationResult: "FAILED", policy, timeVerified }), "APPROVAL_OTHER"],
    [attest(PREDICATE_VSA, { verificationResult: "PASSED", timeVerified }), "APPROVAL_OTHER"],
    [attest(PREDICATE_VSA, { verificationResult: "PASSED", policy }), "APPROVAL_OTHER"],
  ] as const) {
    const { decision, findings } = await judge(path, { ...bundle, policy: two, approvals: [approval(raul), odd] });
    const found = findings.find(({ subject }) => subject === "approvals");
    assert.deepEqual([decision, found?.code], ["deny", "APPROVAL_MISSING"], code);
    assert.ok(found?.message?.includes(`not counted: [${code}]`), code);
    assert.deepEqual(await codesWith(path, two, approval(rita), approval(raul), odd), [], code);
  }
});

test("an approval counts as long as the policy says, and not from the future", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const month = { approvals: { ...(two.approvals as NonNullable<Policy["approvals"]>), maxAgeDays: 30 } };
  const under = { policy: digestUnder(month) };
  const at = (timeVerified: string) => approval(rita, { ...under, timeVerified });
  const good = approval(raul, under);
  assert.deepEqual(await codesWith(path, month, good, at("2026-05-02T00:00:00.000Z")), []);
  assert.deepEqual(await codesWith(path, month, good, at("2026-06-01T12:00:00Z")), []);
  for (const odd of ["2026-05-01T23:59:59Z", "2026-06-02T00:00:01Z", "2026-13-45T99:00:00Z"]) {
    const { findings } = await judge(path, { ...bundle, policy: month, approvals: [good, at(odd)] });
    const found = findings.find(({ subject }) => subject === "approvals");
    assert.equal(found?.code, "APPROVAL_MISSING", odd);
    assert.match(found?.message ?? "", /got 1 of 2 approvals: raul; not counted: \[APPROVAL_EXPIRED\] rita/);
  }
  assert.deepEqual(
    await codesWith(path, two, approval(raul), approval(rita, { timeVerified: "2020-01-01T00:00:00Z" })),
    [],
  );
  assert.deepEqual(await codesWith(path, two, approval(raul), approval(rita, { timeVerified: "long ago" })), [
    "APPROVAL_MISSING",
  ]);
  assert.ok(
    policyLines(canonicalJson({ ...DEFAULT_POLICY, ...month })).includes(
      "approvals: 2 of 2 reviewers, each at most 30 days old",
    ),
  );
});

test("a reviewer or rebuilder whose key or name the release trust took back is counted no more", async (t) => {
  const path = join(await scratch(t), "bundle");
  const { publicKey } = reviewer(rita);
  const entry = { reason: "lost", at: "2026-05-01T00:00:00Z" };
  for (const revoked of [
    { ...NO_REVOCATIONS, keys: [{ id: keyFingerprint(parsePublicKey(publicKey, "rita")), ...entry }] },
    { ...NO_REVOCATIONS, holders: [{ id: "rita", ...entry }] },
  ]) {
    const revoking = signedBundle({
      small: bundle.small,
      signers: bundle.signers,
      edit: (files) => {
        const { signed } = files.get("1.targets.json") as { signed: { unrecognizedFields: Record<string, unknown> } };
        signed.unrecognizedFields[REVOKED_MEMBER] = revoked;
      },
    });
    await writeSignedBundle(path, revoking);
    const policy = { ...two, ...rebuildsBy(rita) };
    const under = { policy: digestUnder(policy) };
    const approvals = [approval(rita, under), approval(raul, under), rebuildBy(rita)];
    const { findings } = await judge(path, { ...revoking, policy, approvals });
    for (const code of ["APPROVAL_MISSING", "REBUILD_MISSING"]) {
      const found = findings.find((finding) => finding.code === code);
      assert.match(
        found?.message ?? "",
        /not counted: \[SIGNER_REVOKED\] rita: .* was taken back at 2026-05-01T00:00:00Z: lost/,
      );
    }
  }
});

function rebuildsBy(signer: Signer): Partial<Policy> {
  return { rebuilds: { threshold: 1, rebuilders: [reviewer(signer)] } };
}

function rebuildBy({ key }: Signer): Buffer {
  const { appliance, version, platform, applianceFile, lock } = bundle.small.release.manifest;
  return signRebuild(key, {
    ...{ release, appliance, version, platform, applianceFile, lock },
    builderId: "https://rita.example/builder",
    sealiftVersion: "0.1.0",
    finishedOn: "2026-06-01T00:00:00Z",
  });
}

test("a reviewer who signs releases, by key or by name, approves nothing", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const builder = bundle.signers.builder[0] as Signer;
  for (const one of [
    { ...builder, holder: "someone" },
    { ...rita, holder: builder.holder },
  ]) {
    const policy = demand(1, one);
    assert.deepEqual(await codesWith(path, policy, approval(one, { policy: digestUnder(policy) })), [
      "APPROVAL_KEY_REUSED",
    ]);
  }
});

test("a policy whose reviewers could count twice, or never be enough, is malformed; so is one that says a thing twice", () => {
  for (const bad of [
    demand(1, rita, { ...rita, holder: "other" }),
    demand(1, rita, { ...raul, holder: "rita" }),
    demand(3, rita, raul),
    demand(0, rita),
    { approvals: { threshold: 1, reviewers: [] } },
    { approvals: { threshold: 1, reviewers: [{ holder: "x", publicKey: "no key" }] } },
  ]) {
    assert.throws(() => parsePolicy(canonicalJson({ ...DEFAULT_POLICY, ...bad })), coded("POLICY_MALFORMED"));
  }
  const twice = canonicalJson(DEFAULT_POLICY).toString().replace('"name"', '"name":"x","name"');
  assert.throws(() => parsePolicy(Buffer.from(twice)), coded("POLICY_MALFORMED"));
});

test("approvals are read from beside the bundle, by their name only, and not if they are no files", async (t) => {
  const directory = await scratch(t);
  const path = join(directory, "bundle.tar");
  const good = statementPath(path, "approval", "ab".repeat(32));
  assert.equal(good, `${path}.approval-abababababababab.json`);
  assert.deepEqual(readApprovals(path), []);
  writeFileSync(good, "1");
  for (const other of ["bundle.tar.approval-ab.json", "other.tar.approval-abababababababab.json", "bundle.tar.json"]) {
    writeFileSync(join(directory, other), "2");
  }
  assert.deepEqual(readApprovals(path).map(String), ["1"]);
  assert.deepEqual(readApprovals(join(directory, "none", "bundle")), []);
  const other = statementPath(path, "approval", "cd".repeat(32));
  mkdirSync(other);
  assert.throws(() => readApprovals(path), coded("APPROVAL_UNREADABLE"));
  rmSync(other, { recursive: true });
  // A medium with links would have files of this host shown in the verdict.
  symlinkSync(good, other);
  assert.throws(() => readApprovals(path), coded("APPROVAL_UNREADABLE"));
});
