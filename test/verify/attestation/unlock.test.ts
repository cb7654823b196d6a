import assert from "node:assert/strict";
import { generateKeyPairSync, sign as signWith } from "node:crypto";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestOf } from "../../../bundles/model/digest.ts";
import { type AttestationCase, appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import { type Appraiser, makeCanaries, runCanaries } from "../../../verify/attestation/canaries.ts";
import { keyedReportData, makeChallenge } from "../../../verify/attestation/challenge.ts";
import { type BoundKeys, hostKeyMessage, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import {
  readReleaseFile,
  receiptSchema,
  sealedFor,
  verdictDigest,
  writeReleaseFile,
} from "../../../verify/attestation/release-file.ts";
import { makeTransportKey, openKey, sealKey, type TransportKey } from "../../../verify/attestation/sealed-key.ts";
import { type UnlockQuestion, unlock } from "../../../verify/attestation/unlock.ts";
import { coded } from "../../support/test-trust.ts";
import {
  failures,
  LEAST_POLICY,
  SIMULATED_MEASUREMENT,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
} from "./evidence.ts";

const NOW = new Date("2026-07-01T00:00:00.000Z");
const SUBJECT = { release: digestOf("release"), siteId: "5".repeat(32), ledgerHead: digestOf("ledger") };
const UNLOCK_KEY = Buffer.from("the site's key, 32 bytes long...");
const appraise: Appraiser = async (question) => appraiseEvidence(question);
/** As if the simulator were AMD: there is no hardware here with which an allow could be had. */
const appraiseAsReal: Appraiser = async (question) => {
  const verdict = appraiseEvidence(question);
  const isCanary = question.challenge === undefined || question.challenge === null;
  return verdict.decision === "simulated" && !isCanary ? { ...verdict, decision: "allow" } : verdict;
};
const sign = async (receipt: Buffer): Promise<Buffer> => Buffer.from(`signature of ${digestOf(receipt)}`);

const strict = (changes: Partial<AttestationPolicy> = {}): Buffer =>
  canonicalJson(
    simulatedPolicy(simulator(), {
      nonce: "required",
      rootfs: [SIMULATED_MEASUREMENT.toString("hex")],
      chips: [simulator().chipId.toString("hex")],
      ...changes,
    }),
  );

interface Answer extends UnlockQuestion {
  readonly transport: TransportKey;
}

/** A VM's answer to a challenge; `keys` false: an answer without keys. */
async function answer(policyBytes = strict(), keys = true): Promise<Answer> {
  const by = simulator();
  const challenge = makeChallenge(digestOf(policyBytes), SUBJECT, NOW, 60);
  const transport = await makeTransportKey();
  const host = generateKeyPairSync("ed25519");
  const hostKey = host.publicKey.export({ type: "spki", format: "der" });
  const reportData = keyedReportData(challenge, { hostKey, transportKey: transport.publicKey }) as Buffer;
  const signature = signWith(null, hostKeyMessage(reportData), host.privateKey);
  const bound: BoundKeys = { hostKey, transportKey: transport.publicKey, signature };
  const report = by.report({ measurement: SIMULATED_MEASUREMENT, reportData });
  return {
    challenge,
    evidence: writeCollectedEvidence("simulator", report, Buffer.alloc(0), keys ? bound : null),
    collateral: simulatedCollateral(by),
    policyBytes,
    hostKey: digestOf(hostKey),
    unlockKey: UNLOCK_KEY,
    now: NOW,
    validHours: 24,
    transport,
  };
}

test("an allowed machine gets the site's key, sealed for its transport key, and a receipt that names everything", async () => {
  const question = await answer();
  const { verdict, file, receipt } = await unlock(question, { appraise: appraiseAsReal, sign });
  assert.equal(verdict.decision, "allow");
  const read = readReleaseFile(file as Buffer);
  assert.deepEqual(read.receipt, receipt);
  const { validate } = { validate: new Ajv2020({ strict: false }).compile(receiptSchema) };
  assert.ok(validate(read.receipt), JSON.stringify(validate.errors));
  const opened = await openKey(read.sealed, question.transport.privateKey, sealedFor(read.receipt));
  assert.deepEqual(opened, UNLOCK_KEY);
  assert.deepEqual(
    [read.receipt.decision, read.receipt.release, read.receipt.siteId, read.receipt.ledgerHead],
    ["allow", SUBJECT.release, SUBJECT.siteId, SUBJECT.ledgerHead],
  );
  assert.equal(read.receipt.verdict, verdictDigest(verdict));
  assert.equal(read.receipt.validUntil, "2026-07-02T00:00:00.000Z");
  assert.equal(read.receipt.openUntil, "2026-07-01T01:00:00.000Z");
  assert.equal(read.signature.toString(), `signature of ${digestOf(read.receiptBytes)}`);
});

test("a release file has one spelling: another one of the same bytes is refused", async () => {
  const { file } = await unlock(await answer(), { appraise: appraiseAsReal, sign });
  const said = JSON.parse(String(file)) as Record<"signature" | "encapsulated", string>;
  // 32 bytes leave two bits of the last character before the "=" that mean nothing; and "\u0173" ends in the byte of "s".
  const encapsulated = said.encapsulated.replace(
    /(.)=$/,
    (_, last: string) => `${String.fromCharCode(last.charCodeAt(0) + 1)}=`,
  );
  for (const change of [{ encapsulated }, { signature: said.signature.replace("s", "\u0173") }]) {
    const other = canonicalJson({ ...said, ...change });
    assert.throws(() => readReleaseFile(other), { code: "ATTEST_RELEASE_MALFORMED", message: /as it was written/ });
  }
});

test("the same question on another machine and at the stated time makes the receipt's verdict again", async () => {
  const question = await answer();
  const { receipt } = await unlock(question, { appraise, sign });
  const { challenge, evidence, collateral, policyBytes } = question;
  const again = (at: string, change: Partial<AttestationCase> = {}) =>
    verdictDigest(
      appraiseEvidence({
        challenge,
        evidence,
        collateral,
        policyBytes,
        nonce: null,
        time: { at, source: "option" },
        ...change,
      }),
    );
  assert.equal(again(receipt?.time ?? ""), receipt?.verdict);
  assert.notEqual(again("2026-07-01T00:00:01.000Z"), receipt?.verdict, "at another time it is another verdict");
  assert.notEqual(again(receipt?.time ?? "", { collateral: collateral.slice(1) }), receipt?.verdict);
});

test("simulated evidence gets a receipt that says so, and a key that is not the site's", async () => {
  const question = await answer();
  const { verdict, file } = await unlock(question, { appraise, sign });
  assert.equal(verdict.decision, "simulated");
  const { receipt, sealed } = readReleaseFile(file as Buffer);
  assert.equal(receipt.decision, "simulated");
  const opened = await openKey(sealed, question.transport.privateKey, sealedFor(receipt));
  assert.notDeepEqual(opened, UNLOCK_KEY);
});

test("a denial has a verdict and no file, and nothing was signed", async () => {
  const question = await answer(strict({ measurements: ["0b".repeat(48)], rootfs: ["0b".repeat(48)] }));
  const refuse = async (): Promise<Buffer> => assert.fail("nothing is signed for a denial");
  const { verdict, file } = await unlock(question, { appraise: appraiseAsReal, sign: refuse });
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(failures(verdict), {
    measurement: "ATTEST_MEASUREMENT_UNKNOWN",
    rootfs: "ATTEST_ROOTFS_UNMEASURED",
  });
  assert.equal(file, undefined);
});

test("no production policy releases a key to the simulator or to an impostor: the answer is denied", async () => {
  const production = canonicalJson({ ...LEAST_POLICY, measurements: [SIMULATED_MEASUREMENT.toString("hex")] });
  const { verdict, file } = await unlock(await answer(production), { appraise, sign });
  assert.deepEqual([verdict.decision, failures(verdict), file], ["deny", { chain: "ATTEST_ROOT_UNKNOWN" }, undefined]);
});

test("a key goes to no machine of which boot, root file system or site are not known", async () => {
  for (const change of [{ rootfs: "unchecked" }, { chips: "unchecked" }] as const) {
    const question = await answer(strict(change));
    await assert.rejects(unlock(question, { appraise: appraiseAsReal, sign }), coded("ATTEST_ASSURANCE_LOW"));
  }
});

test("another host key, evidence without keys and a challenge that names no site are refused", async () => {
  const means = { appraise: appraiseAsReal, sign };
  const question = await answer();
  await assert.rejects(unlock({ ...question, hostKey: digestOf("other") }, means), coded("ATTEST_HOST_KEY_OTHER"));
  const less = makeChallenge(digestOf(strict()), { ...SUBJECT, release: null }, NOW, 60);
  await assert.rejects(unlock({ ...question, challenge: less }, means), coded("ATTEST_CHALLENGE_INCOMPLETE"));
  // Without keys REPORT_DATA is another one, so the policy must not ask for a nonce to come this far.
  const policyBytes = strict({ nonce: "unchecked" });
  await assert.rejects(unlock(await answer(policyBytes, false), means), coded("ATTEST_KEYS_MISSING"));
});

test("every canary is refused for its own reason, and the control is not", async () => {
  const { control, canaries } = makeCanaries(strict(), NOW);
  assert.deepEqual(failures(await appraise(control)), {});
  for (const { name, question, code: want } of canaries) {
    const verdict = await appraise(question);
    assert.equal(verdict.decision, "deny", name);
    assert.ok(Object.values(failures(verdict)).includes(want), `${name}: ${JSON.stringify(failures(verdict))}`);
  }
  const names = await runCanaries(strict(), NOW, appraise);
  assert.ok(names.length >= 10 && names.includes("impostor") && names.includes("debug-on"));
});

test("an accepted canary stops everything, whichever it is", async () => {
  const made = makeCanaries(strict(), NOW);
  for (const [i, { name }] of made.canaries.entries()) {
    let asked = 0;
    // Takes what it must refuse, once: the i-th canary, behind the control.
    const gullible: Appraiser = async (one) => {
      const verdict = appraiseEvidence(one);
      asked += 1;
      return asked === i + 2 ? { ...verdict, decision: "allow" } : verdict;
    };
    const run = runCanaries(strict(), NOW, gullible, made);
    await assert.rejects(run, coded("ATTEST_CANARY_ACCEPTED"), name);
    assert.equal(asked, i + 2, "nothing is appraised after it");
  }
});

test("where a canary is accepted no evidence is looked at and nothing is signed", async () => {
  const question = await answer();
  const gullible: Appraiser = async (one) => {
    assert.ok(!one.challenge, "the real evidence is not appraised any more");
    const verdict = appraiseEvidence(one);
    return verdict.decision === "deny" ? { ...verdict, decision: "allow" } : verdict;
  };
  const refuse = async (): Promise<Buffer> => assert.fail("nothing is signed");
  await assert.rejects(unlock(question, { appraise: gullible, sign: refuse }), coded("ATTEST_CANARY_ACCEPTED"));
});

test("a verifier that refuses everything, or for another reason, is found out too", async () => {
  const made = makeCanaries(strict(), NOW);
  const refusesAll: Appraiser = async (one) => ({ ...appraiseEvidence(one), decision: "deny" });
  await assert.rejects(runCanaries(strict(), NOW, refusesAll, made), coded("ATTEST_CANARY_MISJUDGED"));
  const forNoReason: Appraiser = async (one) => {
    const verdict = appraiseEvidence(one);
    return verdict.decision === "deny" ? { ...verdict, findings: [] } : verdict;
  };
  await assert.rejects(runCanaries(strict(), NOW, forNoReason, made), coded("ATTEST_CANARY_MISJUDGED"));
});

test("a sealed key opens with its own challenge, verdict, site and transport key, and with nothing else", async () => {
  const transport = await makeTransportKey();
  const to = { challenge: digestOf("c"), verdict: digestOf("v"), siteId: SUBJECT.siteId };
  const sealed = await sealKey(UNLOCK_KEY, transport.publicKey, to);
  assert.deepEqual(await openKey(sealed, transport.privateKey, to), UNLOCK_KEY);
  const flipped = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(0) ^ 1, 0);
    return copy;
  };
  const fails: readonly (() => Promise<Buffer>)[] = [
    () => openKey(sealed, transport.privateKey, { ...to, challenge: digestOf("other") }),
    () => openKey(sealed, transport.privateKey, { ...to, verdict: digestOf("other") }),
    () => openKey(sealed, transport.privateKey, { ...to, siteId: "0".repeat(32) }),
    async () => openKey(sealed, (await makeTransportKey()).privateKey, to),
    () => openKey({ ...sealed, ciphertext: flipped(sealed.ciphertext) }, transport.privateKey, to),
    () => openKey({ ...sealed, encapsulated: flipped(sealed.encapsulated) }, transport.privateKey, to),
    () => openKey({ ...sealed, encapsulated: Buffer.alloc(0) }, transport.privateKey, to),
  ];
  for (const open of fails) await assert.rejects(open(), coded("ATTEST_RELEASE_UNOPENED"));
  await assert.rejects(sealKey(UNLOCK_KEY, Buffer.alloc(32), to), coded("ATTEST_RELEASE_MALFORMED"), "low order");
});

test("a release file that was changed anywhere is malformed, or its receipt is other bytes than were signed", async () => {
  const { file } = await unlock(await answer(), { appraise, sign });
  const good = file as Buffer;
  const { receiptBytes, receipt, sealed, signature } = readReleaseFile(good);
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("{}"),
    Buffer.concat([good, Buffer.from("\n")]),
    Buffer.alloc(200_000, 0x20),
    writeReleaseFile({ receiptBytes, signature, sealed: { ...sealed, ciphertext: Buffer.alloc(48) } }),
    writeReleaseFile({ receiptBytes, signature, sealed: { ...sealed, encapsulated: Buffer.alloc(32) } }),
    writeReleaseFile({
      receiptBytes: canonicalJson({ ...receipt, validUntil: "2026-02-30T00:00:00.000Z" }),
      signature,
      sealed,
    }),
    writeReleaseFile({ receiptBytes: canonicalJson({ ...receipt, extra: 1 }), signature, sealed }),
    writeReleaseFile({ receiptBytes: canonicalJson({ ...receipt, canaries: [] }), signature, sealed }),
  ]) {
    assert.throws(() => readReleaseFile(bytes), coded("ATTEST_RELEASE_MALFORMED"));
  }
});
