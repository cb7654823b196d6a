import assert from "node:assert/strict";
import { generateKeyPairSync, sign as signWith } from "node:crypto";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestOf } from "../../../bundles/model/digest.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import { assuranceProblems } from "../../../verify/attestation/attestation-verdict.ts";
import { type Appraiser, makeCanaries, runCanaries } from "../../../verify/attestation/canaries.ts";
import { keyedReportData, makeChallenge } from "../../../verify/attestation/challenge.ts";
import { hostKeyMessage, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import { readReleaseFile, sealedFor } from "../../../verify/attestation/release-file.ts";
import { makeTransportKey, openKey } from "../../../verify/attestation/sealed-key.ts";
import { simulatedTdxPolicyFor } from "../../../verify/attestation/simulated-tdx-policy.ts";
import type { TdxPolicy } from "../../../verify/attestation/tdx-policy.ts";
import { TdxSimulator } from "../../../verify/attestation/tdx-simulator.ts";
import { type UnlockQuestion, unlock } from "../../../verify/attestation/unlock.ts";
import { failures } from "./evidence.ts";
import { LEAST_TDX_POLICY } from "./tdx-evidence.ts";

const POLICY = canonicalJson(LEAST_TDX_POLICY);
const AT = new Date("2026-05-05T05:05:05.678Z");

test("before a TDX policy releases a key it is shown quotes that it must refuse, and one that it must not", async () => {
  const shown = await runCanaries(POLICY, AT, async (question) => appraiseEvidence(question));
  assert.equal(shown.length, 10);
  const { control, canaries } = makeCanaries(POLICY, AT);
  const verdict = appraiseEvidence(control);
  assert.deepEqual([verdict.decision, failures(verdict)], ["simulated", {}]);
  assert.deepEqual(assuranceProblems(verdict.assurance), []);
  for (const { name, question, code } of canaries) {
    // Other software is also of a root file system that nobody knows.
    const { rootfs: _, ...failed } = failures(appraiseEvidence(question));
    assert.deepEqual(Object.values(failed), [code], name);
  }
});

test("a verifier that takes a known-bad quote, or refuses everything, is found out", async () => {
  const blind = async (question: Parameters<typeof appraiseEvidence>[0]) => {
    const verdict = appraiseEvidence(question);
    const { signature: _, ...others } = failures(verdict);
    return Object.keys(others).length === 0 ? { ...verdict, decision: "simulated" as const } : verdict;
  };
  await assert.rejects(runCanaries(POLICY, AT, blind), { code: "ATTEST_CANARY_ACCEPTED" });
  const refusing = async (question: Parameters<typeof appraiseEvidence>[0]) => ({
    ...appraiseEvidence(question),
    decision: "deny" as const,
  });
  await assert.rejects(runCanaries(POLICY, AT, refusing), { code: "ATTEST_CANARY_MISJUDGED" });
});

const SUBJECT = { release: digestOf("release"), siteId: "5".repeat(32), ledgerHead: digestOf("ledger") };
const UNLOCK_KEY = Buffer.from("the site's key, 32 bytes long...");
/** As if the simulated platform were Intel's: there is no hardware here with which an allow could be had. */
const appraiseAsReal: Appraiser = async (question) => {
  const verdict = appraiseEvidence(question);
  const isCanary = question.challenge === undefined || question.challenge === null;
  return verdict.decision === "simulated" && !isCanary ? { ...verdict, decision: "allow" } : verdict;
};
const sign = async (receipt: Buffer): Promise<Buffer> => Buffer.from(`signature of ${digestOf(receipt)}`);

/** A TD's answer to a challenge under a policy that leaves nothing out; `mrTd` is what it was started from. */
async function answer(changes: Partial<TdxPolicy> = {}, mrTd?: Buffer) {
  const by = new TdxSimulator({ notBefore: new Date(AT.getTime() - 60_000) });
  const policyBytes = canonicalJson({ ...simulatedTdxPolicyFor(by, true), ...changes });
  const challenge = makeChallenge(digestOf(policyBytes), SUBJECT, AT, 60);
  const transport = await makeTransportKey();
  const host = generateKeyPairSync("ed25519");
  const hostKey = host.publicKey.export({ type: "spki", format: "der" });
  const reportData = keyedReportData(challenge, { hostKey, transportKey: transport.publicKey }) as Buffer;
  const signature = signWith(null, hostKeyMessage(reportData), host.privateKey);
  const bound = { hostKey, transportKey: transport.publicKey, signature };
  const quote = by.quote({ version: 5, reportData, ...(mrTd && { mrTd }) });
  const question: UnlockQuestion = {
    challenge,
    evidence: writeCollectedEvidence("tdx_guest", quote, Buffer.alloc(0), bound),
    collateral: by.collateral(),
    policyBytes,
    hostKey: digestOf(hostKey),
    unlockKey: UNLOCK_KEY,
    now: AT,
    validHours: 24,
  };
  return { question, transport };
}

test("a TD that is allowed gets the site's key, sealed for its transport key", async () => {
  const { question, transport } = await answer();
  const { verdict, file } = await unlock(question, { appraise: appraiseAsReal, sign });
  assert.equal(verdict.decision, "allow", JSON.stringify(failures(verdict)));
  const { receipt, sealed } = readReleaseFile(file as Buffer);
  assert.deepEqual(receipt.assurance.boundBy, ["chip"]);
  assert.deepEqual(await openKey(sealed, transport.privateKey, sealedFor(receipt)), UNLOCK_KEY);
});

test("a TD that was started otherwise, or of which too little is known, gets none", async () => {
  const other = await answer({}, Buffer.alloc(48, 7));
  const denied = await unlock(other.question, { appraise: appraiseAsReal, sign });
  assert.deepEqual([denied.verdict.decision, denied.file], ["deny", undefined]);
  const loose: readonly Partial<TdxPolicy>[] = [{ chips: "unchecked" }, { rootfs: "unchecked" }];
  for (const changes of loose) {
    const { question } = await answer(changes);
    await assert.rejects(unlock(question, { appraise: appraiseAsReal, sign }), { code: "ATTEST_ASSURANCE_LOW" });
  }
});
