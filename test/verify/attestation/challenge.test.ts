import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestOf } from "../../../bundles/model/digest.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import {
  CHALLENGE_MAX_MINUTES,
  type Challenge,
  challengeReportData,
  challengeSchema,
  keyedReportData,
  makeChallenge,
  readChallenge,
} from "../../../verify/attestation/challenge.ts";
import { type BoundKeys, hostKeyMessage, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import { boundReportData } from "../../../verify/attestation/report-data.ts";
import { failures, SIMULATED_MEASUREMENT, simulatedCollateral, simulatedPolicy, simulator } from "./evidence.ts";

const NOW = new Date("2026-07-01T00:00:00Z");
const NOTHING = { release: null, siteId: null, ledgerHead: null };
const policyBytes = (): Buffer => canonicalJson(simulatedPolicy(simulator(), { nonce: "required" }));
const challengeNow = (minutes = 60): Buffer => makeChallenge(digestOf(policyBytes()), NOTHING, NOW, minutes);

function judge(answered: Buffer, asked: Buffer, minutesLater = 0) {
  const by = simulator();
  return appraiseEvidence({
    evidence: by.report({ measurement: SIMULATED_MEASUREMENT, reportData: challengeReportData(answered) }),
    collateral: simulatedCollateral(by),
    policyBytes: policyBytes(),
    nonce: null,
    challenge: asked,
    time: { at: new Date(NOW.getTime() + minutesLater * 60_000).toISOString(), source: "option" },
  });
}

test("the answer to a challenge passes while it counts", () => {
  const challenge = challengeNow();
  assert.equal(judge(challenge, challenge).decision, "simulated");
  assert.equal(judge(challenge, challenge, 60).decision, "simulated");
});

test("an answer too late, before it was asked, or by a clock set back is refused", () => {
  const challenge = challengeNow();
  for (const minutes of [61, -1]) {
    assert.deepEqual(failures(judge(challenge, challenge, minutes)), { nonce: "ATTEST_CHALLENGE_EXPIRED" });
  }
});

test("an answer to another challenge is refused, whichever member differs", () => {
  const asked = challengeNow();
  const challenge = readChallenge(asked);
  const digest = digestOf("another");
  const others: readonly Partial<Challenge>[] = [
    { nonce: "00".repeat(32) },
    { release: digest },
    { siteId: "0".repeat(32) },
    { ledgerHead: digest },
    { policy: digest },
    { expires: "2026-07-01T00:59:00.000Z" },
  ];
  for (const change of others) {
    const answered = canonicalJson({ ...challenge, ...change });
    assert.deepEqual(failures(judge(answered, asked)), { nonce: "ATTEST_NONCE_MISMATCH" }, JSON.stringify(change));
  }
});

test("a challenge for another policy counts for none", () => {
  const challenge = makeChallenge(digestOf("another policy"), NOTHING, NOW, 60);
  assert.deepEqual(failures(judge(challenge, challenge)), { nonce: "ATTEST_CHALLENGE_POLICY" });
});

test("two challenges never have the same nonce, and REPORT_DATA is 64 bytes of all of a challenge", () => {
  const [one, other] = [challengeNow(), challengeNow()];
  assert.notEqual(readChallenge(one).nonce, readChallenge(other).nonce);
  assert.equal(challengeReportData(one).length, 64);
  assert.notDeepEqual(challengeReportData(one), challengeReportData(other));
});

test("a challenge that was edited, spelled otherwise or has impossible times is malformed", () => {
  const good = challengeNow();
  const challenge = readChallenge(good);
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from(`${good.toString()}\n`),
    Buffer.from(JSON.stringify({ ...challenge, extra: 1 })),
    canonicalJson({ ...challenge, extra: 1 }),
    canonicalJson({ ...challenge, nonce: "00" }),
    canonicalJson({ ...challenge, siteId: "../x" }),
    canonicalJson({ ...challenge, expires: challenge.created }),
    canonicalJson({ ...challenge, expires: "2026-13-01T00:00:00.000Z" }),
    canonicalJson({ ...challenge, expires: "2027-07-01T00:00:00.000Z" }),
    Buffer.alloc(5000, 0x20),
  ]) {
    assert.throws(
      () => readChallenge(bytes),
      (error) => (error as { code?: string }).code === "ATTEST_CHALLENGE_MALFORMED",
    );
  }
  assert.ok(readChallenge(challengeNow(CHALLENGE_MAX_MINUTES)));
});

test("the published schema is JSON Schema 2020-12", () => {
  assert.ok(new Ajv2020({ strict: true }).validateSchema(challengeSchema));
});

const SUBJECT = { release: digestOf("release"), siteId: "5".repeat(32), ledgerHead: digestOf("ledger") };

/** A site's keys, as `attest collect` makes them. */
function siteKeys() {
  const host = generateKeyPairSync("ed25519");
  return {
    hostKey: host.publicKey.export({ type: "spki", format: "der" }),
    transportKey: randomBytes(32),
    sign: (reportData: Buffer) => sign(null, hostKeyMessage(reportData), host.privateKey),
  };
}

/** The answer that a VM with `keys` gives to `answered`, judged as one to `asked`; `change` is done on the way. */
function judgeKeyed(
  answered: Buffer,
  asked: Buffer,
  keys = siteKeys(),
  change: (keys: BoundKeys) => BoundKeys = (same) => same,
) {
  const by = simulator();
  const reportData = keyedReportData(answered, keys) as Buffer;
  const { hostKey, transportKey } = keys;
  const bound = change({ hostKey, transportKey, signature: keys.sign(reportData) });
  const report = by.report({ measurement: SIMULATED_MEASUREMENT, reportData });
  return appraiseEvidence({
    evidence: writeCollectedEvidence("simulator", report, Buffer.alloc(0), bound),
    collateral: simulatedCollateral(by),
    policyBytes: policyBytes(),
    nonce: null,
    challenge: asked,
    time: { at: NOW.toISOString(), source: "option" },
  });
}

test("an answer with keys binds release, site, ledger, both keys, the policy and every byte of the challenge", () => {
  const asked = makeChallenge(digestOf(policyBytes()), SUBJECT, NOW, 60);
  const verdict = judgeKeyed(asked, asked);
  assert.equal(verdict.decision, "simulated");
  assert.equal(verdict.assurance.releaseAsserted, SUBJECT.release);
  const challenge = readChallenge(asked);
  const digest = digestOf("another");
  const others: readonly Partial<Challenge>[] = [
    { nonce: "00".repeat(32) },
    { release: digest },
    { siteId: "0".repeat(32) },
    { ledgerHead: digest },
    { policy: digest },
    { expires: "2026-07-01T00:59:00.000Z" },
  ];
  for (const change of others) {
    const denied = judgeKeyed(canonicalJson({ ...challenge, ...change }), asked);
    assert.deepEqual(failures(denied), { nonce: "ATTEST_HOST_KEY_UNPROVEN" }, JSON.stringify(change));
    assert.equal(denied.assurance.releaseAsserted, null);
  }
});

test("a host key or transport key that was put in on the way is refused", () => {
  const asked = makeChallenge(digestOf(policyBytes()), SUBJECT, NOW, 60);
  const attacker = siteKeys();
  const swaps: readonly ((keys: BoundKeys) => BoundKeys)[] = [
    (keys) => ({ ...keys, hostKey: attacker.hostKey }),
    (keys) => ({ ...keys, transportKey: attacker.transportKey }),
    (keys) => ({ ...keys, signature: Buffer.alloc(64) }),
  ];
  for (const swap of swaps) {
    assert.deepEqual(failures(judgeKeyed(asked, asked, siteKeys(), swap)), { nonce: "ATTEST_HOST_KEY_UNPROVEN" });
  }
  // Signed anew by the attacker's key, but the report is of the other keys.
  const resigned = judgeKeyed(asked, asked, siteKeys(), (keys) => {
    const swapped = { hostKey: attacker.hostKey, transportKey: keys.transportKey };
    return { ...swapped, signature: attacker.sign(keyedReportData(asked, swapped) as Buffer) };
  });
  assert.deepEqual(failures(resigned), { nonce: "ATTEST_NONCE_MISMATCH" });
});

test("keys in answer to a challenge that names no site are refused, and keys of the wrong form are no evidence", () => {
  const asked = makeChallenge(digestOf(policyBytes()), SUBJECT, NOW, 60);
  const less = makeChallenge(digestOf(policyBytes()), NOTHING, NOW, 60);
  assert.deepEqual(failures(judgeKeyed(asked, less)), { nonce: "ATTEST_CHALLENGE_INCOMPLETE" });
  const broken: readonly ((keys: BoundKeys) => BoundKeys)[] = [
    (keys) => ({ ...keys, hostKey: keys.transportKey }),
    (keys) => ({ ...keys, transportKey: Buffer.alloc(31) }),
    (keys) => ({ ...keys, signature: Buffer.alloc(63) }),
  ];
  for (const change of broken) {
    assert.deepEqual(failures(judgeKeyed(asked, asked, siteKeys(), change)), { evidence: "ATTEST_EVIDENCE_MALFORMED" });
  }
});

test("no two sets of bound fields have the same bytes: each is named and behind its length", () => {
  const fields = {
    nonce: Buffer.from("n"),
    release: "r",
    siteId: "s",
    ledgerHead: "l",
    hostKey: Buffer.from("h"),
    transportKey: Buffer.from("t"),
    policy: "p",
    challenge: "c",
  };
  const moved = { ...fields, release: "rs", siteId: "" };
  const swapped = { ...fields, release: "s", siteId: "r" };
  const all = [fields, moved, swapped].map((one) => boundReportData(one).toString("hex"));
  assert.equal(new Set(all).size, all.length);
});
