import assert from "node:assert/strict";
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
  makeChallenge,
  readChallenge,
} from "../../../verify/attestation/challenge.ts";
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
