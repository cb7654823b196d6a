import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { beginAnswer, boundKeys } from "../../installer/lifecycle/answer-challenge.ts";
import { requireAttested } from "../../installer/lifecycle/attested.ts";
import { unseal } from "../../installer/lifecycle/unseal.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { qualifyingData } from "../../verify/attestation/verify-vtpm.ts";
import {
  challengeFor,
  enrolMode,
  NEXT_RELEASE,
  requiringSite,
  strictPolicy,
  UNLOCK_KEY,
  unlockFor,
} from "../support/attested-site.ts";
import { AzureMachine, PCR_VALUES } from "../support/azure-machine.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";
import { SIMULATED_MEASUREMENT, simulator } from "../verify/attestation/evidence.ts";

const boot = { measurement: SIMULATED_MEASUREMENT };

test("a VM of Azure answers a challenge through its vTPM: the quote binds the site's keys, and the key is released to them", async (t) => {
  const made = makeTestSite(await scratch(t));
  const { run, keyOut, verifier, open, alice } = await requiringSite(made, t);
  const machine = new AzureMachine(simulator());
  const kernel = (PCR_VALUES[4] as Buffer).toString("hex");
  const policy = strictPolicy({ vtpm: { pcrs: { "4": [kernel] } } });
  await enrolMode(open(), alice, "required", verifier, policy);
  const challenge = challengeFor(open(), { policy });
  const reportData = await beginAnswer(open(), run, challenge);
  const vtpm = machine.quote({ extraData: qualifyingData(reportData) });
  const { keys, hostKey } = boundKeys(open(), run, challenge);
  const evidence = writeCollectedEvidence("azure_hcl", machine.envelope(boot), Buffer.alloc(0), keys, vtpm);
  const answer = { evidence, hostKey } as Parameters<typeof unlockFor>[3];
  const other = writeCollectedEvidence("azure_hcl", machine.envelope(boot), Buffer.alloc(0), keys, machine.quote());
  await assert.rejects(
    unlockFor(open(), verifier, challenge, { ...answer, evidence: other }, { policyBytes: policy }),
    /ATTEST_NONCE_MISMATCH/,
  );
  const release = await unlockFor(open(), verifier, challenge, answer, { policyBytes: policy });
  await unseal(open(), run, release, keyOut);
  assert.deepEqual(readFileSync(keyOut), UNLOCK_KEY);
  requireAttested(open(), NEXT_RELEASE);
});

test("keys are bound only for the challenge that was begun last", async (t) => {
  const { run, open } = await requiringSite(makeTestSite(await scratch(t)), t);
  const [first, second] = [challengeFor(open()), challengeFor(open())];
  assert.throws(() => boundKeys(open(), run, first), coded("ATTEST_TRANSPORT_GONE"));
  await beginAnswer(open(), run, first);
  await beginAnswer(open(), run, second);
  assert.throws(() => boundKeys(open(), run, first), coded("ATTEST_TRANSPORT_GONE"));
  assert.ok(boundKeys(open(), run, second).keys);
});
