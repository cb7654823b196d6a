import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import { signApproval } from "../../bundles/sign/approval.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { appendEntry } from "../../installer/lifecycle/ledger.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import {
  POLICY_CHANGED,
  planPolicyChange,
  policiesOfLedger,
  policyChangeTo,
  policyOfLedger,
} from "../../installer/lifecycle/policy-change.ts";
import { verifyForSite } from "../../installer/lifecycle/site-verify.ts";
import { removeStored, stageRelease, storedPath } from "../../installer/site/store.ts";
import { statementPath } from "../../verify/approval-files.ts";
import { DEFAULT_POLICY, DEFAULT_POLICY_BYTES, type Policy } from "../../verify/policy.ts";
import { importPolicy, importTrust } from "../support/enrolled-site.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, type Signer, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { makeTestSite, type TestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const [rita, raul, mona] = [makeSigner("rita"), makeSigner("raul"), makeSigner("mona")];
const bundle = signedBundle();
const release = bundle.small.release.descriptor.digest;
const quiet = (): void => {};

function policy(version: number | undefined, reviewers: readonly Signer[] = [], more: Partial<Policy> = {}): Buffer {
  const approvals = {
    threshold: 2,
    reviewers: reviewers.map(({ holder, key }) => ({ holder, publicKey: publicKeyPem(createPublicKey(key)) })),
  };
  return canonicalJson({
    ...DEFAULT_POLICY,
    name: "site",
    ...(version !== undefined && { version }),
    ...(reviewers.length > 0 && { approvals }),
    ...more,
  });
}

function approve(path: string, by: Signer, under: Digest, about: Digest = release): void {
  const approval = signApproval(by.key, {
    release: about,
    appliance: "gateway",
    version: "1.0.0",
    policy: under,
    trust: { rootFingerprint: "ab".repeat(32), rootVersion: 1, targetsVersion: 1 },
    attestations: [],
    timeVerified: "2026-06-01T00:00:00Z",
    sealiftVersion: "0.1.0",
  });
  writeFileSync(statementPath(path, "approval", hexOf(digestOf(approval))), approval);
}

async function enrolled(t: TestContext): Promise<TestSite & { readonly path: string }> {
  const parent = await scratch(t);
  const site = makeTestSite(parent);
  await importTrust(site.open(), bundle.trustFiles, site.alice);
  const medium = join(parent, "medium");
  mkdirSync(medium);
  await writeSignedBundle(join(medium, "bundle"), bundle);
  return { ...site, path: join(medium, "bundle") };
}

async function verdictOf(site: TestSite, path: string) {
  const { verdict, allowed, close } = await verifyForSite(site.open(), path, quiet);
  close();
  const { code, message } = verdict.findings.find(({ subject }) => subject === "approvals") ?? {};
  return { decision: verdict.decision, policy: verdict.policy.digest, code, message, allowed };
}

test("a site has the default policy until operators enrol another, and the ledger proves who did", async (t) => {
  const { open, alice, bob } = makeTestSite(await scratch(t));
  assert.deepEqual(policyOfLedger(open().ledger.entries).bytes, DEFAULT_POLICY_BYTES);
  const first = await importPolicy(open(), policy(1), alice);
  const second = await importPolicy(open(), policy(2, [rita, raul]), bob);
  assert.deepEqual(
    policiesOfLedger(open().ledger.entries).map(({ digest }) => digest),
    [first.before.digest, first.after.digest, second.after.digest],
  );
  assert.deepEqual(await auditLedger(open().ledger), { findings: [], authorizations: 2 });
});

test("the plan names what is demanded, what is new of it, and what no longer", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  await importPolicy(open(), policy(1, [rita, raul], { builders: ["https://a", "https://b"] }), alice);
  const change = policyChangeTo(open().ledger.entries, policy(2, [rita, mona], { builders: ["https://a"] }));
  const { action, from, to, policyDigest, details } = planPolicyChange(change);
  assert.deepEqual([action, from, to, policyDigest], ["policy", change.before.digest, change.after.digest, to]);
  assert.ok(details.includes("builders: https://a") && details.includes("gone: builders: https://b"), String(details));
  assert.ok(details.some((line) => /^new: reviewer mona, key [0-9a-f]{64}$/.test(line)));
  assert.ok(details.some((line) => /^gone: reviewer raul, key [0-9a-f]{64}$/.test(line)));
  assert.ok(details.includes("approvals: 2 of 2 reviewers") && details.includes("new: policy site, version 2"));
});

test("a policy without a version, of the same or a lower one, or that is none is refused", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  await importPolicy(open(), policy(2), alice);
  const { entries } = open().ledger;
  for (const [bytes, code] of [
    [policy(undefined), "POLICY_NO_VERSION"],
    [policy(1), "POLICY_ROLLBACK"],
    [policy(2, [rita, raul]), "POLICY_ROLLBACK"],
    [Buffer.from('{"schemaVersion":1}'), "POLICY_MALFORMED"],
    [policy(3, [], { appliance: "no name" }), "POLICY_MALFORMED"],
  ] as const) {
    assert.throws(() => policyChangeTo(entries, bytes), coded(code));
  }
  assert.equal(policyChangeTo(entries, policy(2)).before.digest, policyChangeTo(entries, policy(2)).after.digest);
});

test("a policy that nobody authorized, or another than was authorized, is found in the ledger", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  const { disk, paths } = open();
  appendEntry(disk, paths.ledger, POLICY_CHANGED, { policy: policy(1).toString() }, clock.read());
  await importPolicy(open(), policy(2), alice);
  appendEntry(disk, paths.ledger, POLICY_CHANGED, { policy: policy(3).toString() }, clock.read());
  const { findings } = await auditLedger(open().ledger);
  assert.deepEqual(
    findings.map(({ code }) => code),
    ["LEDGER_UNAUTHORIZED", "LEDGER_UNAUTHORIZED"],
  );
  appendEntry(disk, paths.ledger, POLICY_CHANGED, { policy: 1 }, clock.read());
  assert.throws(() => policyOfLedger(open().ledger.entries), {
    code: "STATE_DAMAGED",
    message: "enrolled policy: got no text",
  });
  appendEntry(disk, paths.ledger, POLICY_CHANGED, { policy: "{}" }, clock.read());
  assert.throws(() => policyOfLedger(open().ledger.entries.slice(-1)), { message: /^enrolled policy: (?!policy)/ });
});

test("an enrolled policy's approvals bind the site: none, one person twice, another release's and a stranger's do not do", async (t) => {
  const site = await enrolled(t);
  const { path } = site;
  assert.equal((await verdictOf(site, path)).decision, "allow");
  const { after } = await importPolicy(site.open(), policy(1, [rita, raul]), site.alice);
  const none = await verdictOf(site, path);
  assert.deepEqual([none.decision, none.code, none.policy], ["deny", "APPROVAL_MISSING", after.digest]);
  assert.equal(none.allowed, undefined);
  approve(path, rita, after.digest);
  writeFileSync(statementPath(path, "approval", "11".repeat(32)), "{}");
  approve(path, raul, after.digest, after.digest);
  const one = await verdictOf(site, path);
  assert.equal(one.code, "APPROVAL_MISSING");
  assert.match(one.message ?? "", /^got 1 of 2 approvals: rita; not counted: /);
  for (const code of ["SIGNATURE_MALFORMED", "APPROVAL_OTHER"]) assert.ok(one.message?.includes(`[${code}]`));
  approve(path, rita, after.digest);
  assert.equal((await verdictOf(site, path)).code, "APPROVAL_MISSING");
  approve(path, raul, after.digest);
  const two = await verdictOf(site, path);
  assert.deepEqual([two.decision, two.code], ["allow", ""]);
});

test("who is no reviewer any more counts no more; who still is counts under the policy before too", async (t) => {
  const site = await enrolled(t);
  const { path } = site;
  const first = await importPolicy(site.open(), policy(1, [rita, raul]), site.alice);
  approve(path, rita, first.after.digest);
  approve(path, raul, first.after.digest);
  assert.equal((await verdictOf(site, path)).decision, "allow");
  await importPolicy(site.open(), policy(2, [rita, mona]), site.alice);
  const revoked = await verdictOf(site, path);
  assert.equal(revoked.code, "APPROVAL_MISSING");
  assert.match(revoked.message ?? "", /^got 1 of 2 approvals: rita; not counted: \[SIGNATURE_UNKNOWN_KEY\]/);
  approve(path, mona, release);
  assert.match((await verdictOf(site, path)).message ?? "", /which this site never had/);
  approve(path, mona, policyOfLedger(site.open().ledger.entries).digest);
  assert.equal((await verdictOf(site, path)).decision, "allow");
});

test("a stored release keeps the approvals by which it came, and loses them with itself", async (t) => {
  const site = await enrolled(t);
  const { path, directory } = site;
  const { after } = await importPolicy(site.open(), policy(1, [rita, raul]), site.alice);
  approve(path, rita, after.digest);
  approve(path, raul, after.digest);
  const { allowed, close } = await verifyForSite(site.open(), path, quiet);
  assert.ok(allowed);
  const { disk } = site.open();
  await stageRelease(disk, directory, allowed);
  await stageRelease(disk, directory, allowed);
  close();
  rmSync(path);
  assert.equal((await verdictOf(site, storedPath(directory, release))).decision, "allow");
  assert.equal(readdirSync(join(directory, "store")).length, 3);
  removeStored(disk, directory, release);
  assert.deepEqual(readdirSync(join(directory, "store")), []);
});
