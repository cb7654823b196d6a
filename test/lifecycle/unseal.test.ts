import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { attestationFindings, requireAttested } from "../../installer/lifecycle/attested.ts";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import {
  operatorChange,
  operatorChangeParameters,
  planOperatorChange,
} from "../../installer/lifecycle/operator-change.ts";
import { readAnswer } from "../../installer/lifecycle/transport-key.ts";
import { unseal } from "../../installer/lifecycle/unseal.ts";
import { addOperators } from "../../installer/site/authority.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { readReleaseFile, writeReleaseFile } from "../../verify/attestation/release-file.ts";
import {
  type AttestedSite,
  asSimulated,
  type ChallengeChanges,
  challengeFor,
  collectFor,
  enrolMode,
  makeVerifier,
  NEXT_RELEASE,
  requiringSite,
  strictPolicy,
  UNLOCK_KEY,
  type UnlockChanges,
  unlockFor,
} from "../support/attested-site.ts";
import { random } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { sshSign } from "../support/ssh-signer.ts";
import { HOUR_MS, makeTestSite, request } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const SKIP = existsSync("/dev/shm") ? false : "this machine has no /dev/shm";
async function made(t: TestContext): Promise<AttestedSite> {
  return requiringSite(makeTestSite(await scratch(t)), t);
}

/** The first two ways: a release for a question that the site has answered. */
async function released(
  site: AttestedSite,
  asked: ChallengeChanges = {},
  unlocking: UnlockChanges = {},
): Promise<Buffer> {
  const challenge = challengeFor(site.open(), asked);
  const answer = await collectFor(site.open(), site.run, challenge);
  return unlockFor(site.open(), site.verifier, challenge, answer, unlocking);
}

const open = (site: AttestedSite, file: Buffer) => unseal(site.open(), site.run, file, site.keyOut);
/** It is refused with this code, and nothing was written or spent. */
async function refused(site: AttestedSite, file: Buffer, want: string): Promise<void> {
  const before = site.open().ledger.entries.length;
  await assert.rejects(open(site, file), coded(want), want);
  assert.equal(existsSync(site.keyOut), false, `${want}: no key was written`);
  assert.equal(site.open().ledger.entries.length, before, `${want}: the ledger is as it was`);
}

test("three ways by files alone: the site has its key, its ledger the receipt, and the transport key is gone", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  assert.throws(() => requireAttested(site.open(), NEXT_RELEASE), coded("ATTEST_REQUIRED"));
  const file = await released(site);
  const { receipt, verifier } = await open(site, file);
  assert.deepEqual(readFileSync(site.keyOut), UNLOCK_KEY);
  assert.equal(statSync(site.keyOut).mode & 0o777, 0o600);
  assert.equal(verifier.principal, "vera");
  const { entries } = site.open().ledger;
  const { type, data } = entries.at(-1) as (typeof entries)[number];
  assert.deepEqual([type, data["result"], data["receipt"]], ["attested", "allow", canonicalJson(receipt).toString()]);
  assert.throws(() => readAnswer(site.run, receipt.siteId), coded("ATTEST_TRANSPORT_GONE"));
  requireAttested(site.open(), NEXT_RELEASE);
  assert.deepEqual((await auditLedger(site.open().ledger)).findings, []);
});

test("a release opens once, also where a snapshot has brought its transport key back", { skip: SKIP }, async (t) => {
  const site = await made(t);
  const challenge = challengeFor(site.open());
  const answer = await collectFor(site.open(), site.run, challenge);
  const file = await unlockFor(site.open(), site.verifier, challenge, answer);
  const { siteId } = site.open();
  const path = join(site.run, siteId, "answer.json");
  const kept = readFileSync(path);
  await open(site, file);
  rmSync(site.keyOut);
  await refused(site, file, "ATTEST_RELEASE_SPENT");
  hostDisk.write(hostDisk.open(path, 0o101, 0o600), kept, 0);
  await refused(site, file, "ATTEST_RELEASE_SPENT");
  assert.equal(existsSync(path), false, "and the key that came back is gone again");
});

test("a release for another site, release, policy or ledger is refused, each by its own code", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  const collect = (changes: ChallengeChanges) => collectFor(site.open(), site.run, challengeFor(site.open(), changes));
  await assert.rejects(collect({ siteId: "0".repeat(32) }), coded("ATTEST_CHALLENGE_SITE"));
  await assert.rejects(collect({ ledgerHead: digestOf("other") }), coded("ATTEST_CHALLENGE_STALE"));
  // The verifier's own site is another: its receipt says so, whatever was in the challenge.
  const forged = async (change: object): Promise<Buffer> => {
    const { receipt, sealed } = readReleaseFile(await released(site));
    const receiptBytes = canonicalJson({ ...receipt, ...change });
    const signature = sshSign(site.verifier.signer, receiptBytes, { namespace: "sealift-attestation" });
    return writeReleaseFile({ receiptBytes, signature, sealed });
  };
  await refused(site, await forged({ siteId: "0".repeat(32) }), "ATTEST_RELEASE_SITE");
  await refused(site, await forged({ policy: digestOf("other") }), "ATTEST_RELEASE_POLICY");
  await refused(site, await forged({ challenge: digestOf("other") }), "ATTEST_RELEASE_OTHER");
  await refused(site, await forged({ release: digestOf("other") }), "ATTEST_RELEASE_OTHER");
  await refused(site, await forged({ ledgerHead: digestOf("other") }), "ATTEST_RELEASE_OTHER");
  await refused(site, await forged({ transportKey: digestOf("other") }), "ATTEST_RELEASE_OTHER");
  await refused(site, await forged({ hostKey: digestOf("other") }), "ATTEST_HOST_KEY_OTHER");
  await refused(site, await forged({ verdict: digestOf("other") }), "ATTEST_RELEASE_UNOPENED");
  const { assurance } = readReleaseFile(await released(site)).receipt;
  await refused(site, await forged({ assurance: { ...assurance, rootfsMeasured: false } }), "ATTEST_ASSURANCE_LOW");
  const policy = strictPolicy({ name: "other" });
  const byOther = await released(site, { policy }, { policyBytes: policy });
  await refused(site, byOther, "ATTEST_RELEASE_POLICY");
  // After all that the right one still opens.
  await open(site, await released(site));
});

test("an answer of before, to another challenge, cannot be opened: the transport key is of the last one only", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  const first = await released(site);
  const second = await released(site);
  await refused(site, first, "ATTEST_RELEASE_OTHER");
  await open(site, second);
});

test("a release that comes too late, from the future, or after the site has moved is refused", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  const early = await released(site, {}, { now: new Date(site.clock.read().now.getTime() + 20 * 60_000) });
  await refused(site, early, "ATTEST_RELEASE_EXPIRED");
  const file = await released(site);
  site.clock.pass(60 * 60_000);
  await refused(site, file, "ATTEST_RELEASE_EXPIRED");
  const stale = await released(site);
  await enrolMode(site.open(), site.alice, "self-check", site.verifier);
  await refused(site, stale, "ATTEST_RULE_OTHER");
  await enrolMode(site.open(), site.alice, "required", site.verifier);
  await refused(site, stale, "ATTEST_RELEASE_STALE");
});

test("a clock that jumped is refused, as it is for an authorization", { skip: SKIP }, async (t) => {
  const site = await made(t);
  const file = await released(site, { minutes: 10_000 });
  site.clock.set("2026-11-22T08:00:00.000Z");
  await refused(site, file, "CLOCK_JUMPED");
});

test("only a verifier of the site signs a receipt, for this purpose, and over these bytes", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  const stranger = makeVerifier("mallory");
  const by = async (verifier: typeof stranger, namespace?: string): Promise<Buffer> => {
    const challenge = challengeFor(site.open());
    const answer = await collectFor(site.open(), site.run, challenge);
    return unlockFor(site.open(), verifier, challenge, answer, namespace === undefined ? {} : { namespace });
  };
  await refused(site, await by(stranger), "ATTEST_VERIFIER_UNKNOWN");
  await refused(site, await by({ principal: "alice", signer: site.alice }), "ATTEST_VERIFIER_UNKNOWN");
  await refused(site, await by(site.verifier, "sealift-authorization"), "ATTEST_RECEIPT_SIGNATURE");
  const { receiptBytes, sealed, receipt } = readReleaseFile(await by(site.verifier));
  const other = canonicalJson({ ...receipt, validUntil: "2027-11-21T08:00:00.000Z" });
  const signature = sshSign(site.verifier.signer, receiptBytes, { namespace: "sealift-attestation" });
  await refused(site, writeReleaseFile({ receiptBytes: other, signature, sealed }), "ATTEST_RECEIPT_SIGNATURE");
  const none = writeReleaseFile({ receiptBytes, signature: Buffer.from("no signature"), sealed });
  await refused(site, none, "ATTEST_RECEIPT_SIGNATURE");
  await assert.rejects(open(site, none), { message: 'receipt\'s signature: not one block "SSH SIGNATURE"' });
});

test("a simulated release is spent and recorded as what it is: no key, and the gate stays closed", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  const file = await released(site, {}, { appraise: asSimulated });
  const { receipt } = await open(site, file);
  assert.equal(receipt.decision, "simulated");
  assert.equal(existsSync(site.keyOut), false);
  assert.throws(() => requireAttested(site.open(), NEXT_RELEASE), coded("ATTEST_SIMULATED"));
  await refused(site, file, "ATTEST_RELEASE_SPENT");
});

test("an attestation counts for this boot, its release, its policy, its verifier and its time", {
  skip: SKIP,
}, async (t) => {
  const site = await made(t);
  await open(site, await released(site));
  const gate = (want: string, release = NEXT_RELEASE): void =>
    assert.throws(() => requireAttested(site.open(), release), coded(want), want);
  const [finding] = attestationFindings(site.open(), NEXT_RELEASE);
  assert.deepEqual([finding?.status, finding?.check], ["pass", "attestation"]);
  gate("ATTEST_OTHER_RELEASE", digestOf("another release"));
  const other = makeVerifier("victor");
  await enrolMode(site.open(), site.alice, "required", other);
  gate("ATTEST_OUTDATED");
  await enrolMode(site.open(), site.alice, "required", site.verifier, strictPolicy({ name: "newer" }));
  gate("ATTEST_OUTDATED");
  await enrolMode(site.open(), site.alice, "required", site.verifier);
  requireAttested(site.open(), NEXT_RELEASE);
  site.clock.pass(24 * HOUR_MS);
  gate("ATTEST_OUTDATED");
  assert.equal(attestationFindings(site.open(), NEXT_RELEASE)[0]?.code, "ATTEST_OUTDATED");
  await open(site, await released(site));
  requireAttested(site.open(), NEXT_RELEASE);
  site.clock.reboot();
  gate("ATTEST_OUTDATED");
});

test("a key goes to no file on a disk", { skip: SKIP }, async (t) => {
  const site = await made(t);
  const file = await released(site);
  const onDisk = join(site.directory, "..", "unlock.key");
  await assert.rejects(unseal(site.open(), site.run, file, onDisk), coded("ATTEST_RUN_NOT_MEMORY"));
  const challenge = challengeFor(site.open());
  await assert.rejects(collectFor(site.open(), join(site.directory, "run"), challenge), coded("ATTEST_RUN_NOT_MEMORY"));
  await open(site, file);
});

test("a verifier who became an operator since vouches for nothing", { skip: SKIP }, async (t) => {
  const site = await made(t);
  const { principal, signer } = site.verifier;
  const { authority, paths, disk } = site.open();
  const after = addOperators(authority, [{ principal, key: signer.key }]);
  const subject = planOperatorChange(authority, after);
  const bytes = request(site.open(), subject);
  const signatures = [{ name: "x", bytes: sshSign(site.alice, bytes) }];
  const entry = spendAuthorization(site.open(), await checkAuthorization(site.open(), subject, bytes, signatures));
  const ground = { paths, disk, clock: site.clock.read };
  await execute(ground, operatorChange, ground, operatorChangeParameters(authority, after), entry);
  await refused(site, await released(site), "ATTEST_VERIFIER_UNKNOWN");
});

test("a release of which one byte was changed is refused, wherever it is", { skip: SKIP }, async (t) => {
  const site = await made(t);
  const file = await released(site);
  const next = random(20261121);
  const codes = new Map<string, number>();
  for (let i = 0; i < 120; i += 1) {
    const changed = Buffer.from(file);
    const at = Math.floor(next() * file.length);
    changed.writeUInt8(changed.readUInt8(at) ^ (1 << Math.floor(next() * 8)), at);
    await assert.rejects(open(site, changed), (error) => {
      const { code: got = "none" } = error as { code?: string };
      codes.set(got, (codes.get(got) ?? 0) + 1);
      return got.startsWith("ATTEST_RE") || got === "ATTEST_VERIFIER_UNKNOWN";
    });
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(codes)));
  assert.ok((codes.get("ATTEST_RECEIPT_SIGNATURE") ?? 0) > 10 && (codes.get("ATTEST_RELEASE_MALFORMED") ?? 0) > 10);
  assert.equal(existsSync(site.keyOut), false);
  await open(site, file);
});
