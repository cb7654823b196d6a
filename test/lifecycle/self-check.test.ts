import assert from "node:assert/strict";
import test from "node:test";
import { attestationFindings, requireAttested, SELF_CHECK } from "../../installer/lifecycle/attested.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import { selfCheck } from "../../installer/lifecycle/self-check.ts";
import type { Site } from "../../installer/lifecycle/site.ts";
import type { Appraiser } from "../../verify/attestation/canaries.ts";
import { asSimulated, enrolMode, makeVerifier, NEXT_RELEASE, strictPolicy } from "../support/attested-site.ts";
import { scratch } from "../support/scratch.ts";
import { HOUR_MS, makeTestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";
import { SIMULATED_MEASUREMENT, simulatedCollateral, simulator } from "../verify/attestation/evidence.ts";

const collect = (measurement: Buffer) => (reportData: Buffer) => ({
  provider: "simulator",
  report: simulator().report({ measurement, reportData }),
  certificateTable: Buffer.alloc(0),
  leftover: null,
});
const asReal: Appraiser = async (question) => {
  const verdict = await asSimulated(question);
  return verdict.decision === "simulated" ? { ...verdict, decision: "allow" } : verdict;
};
const check = (site: Site, appraise = asReal, measurement = SIMULATED_MEASUREMENT) =>
  selfCheck(site, strictPolicy(), simulatedCollateral(simulator()), 24, { collect: collect(measurement), appraise });

test("a host that judged itself opens the gate of a site that asks for no more, and it says everywhere that it is no proof", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  await assert.rejects(check(open()), coded("ATTEST_RULE_OTHER"), "nobody asked for it");
  await enrolMode(open(), alice, "self-check", makeVerifier());
  assert.throws(() => requireAttested(open(), NEXT_RELEASE), coded("ATTEST_REQUIRED"));
  await check(open());
  requireAttested(open(), NEXT_RELEASE);
  const [finding] = attestationFindings(open(), NEXT_RELEASE);
  assert.equal(finding?.status, "pass");
  assert.match(finding?.message ?? "", /^self-check, not proof: the host judged itself/);
  const entry = open().ledger.entries.at(-1);
  assert.deepEqual([entry?.type, entry?.data["by"], entry?.data["receipt"]], ["attested", SELF_CHECK, null]);
  assert.deepEqual((await auditLedger(open().ledger)).findings, []);
  clock.pass(24 * HOUR_MS);
  assert.throws(() => requireAttested(open(), NEXT_RELEASE), coded("ATTEST_OUTDATED"));
});

test("a self-check is never what a site requires, and another policy or a denial opens nothing", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  await enrolMode(open(), alice, "self-check", makeVerifier());
  await check(open());
  await enrolMode(open(), alice, "required", makeVerifier());
  assert.throws(() => requireAttested(open(), NEXT_RELEASE), coded("ATTEST_REQUIRED"));
  await assert.rejects(check(open()), coded("ATTEST_RULE_OTHER"));
  await enrolMode(open(), alice, "self-check", makeVerifier(), strictPolicy({ name: "other" }));
  await assert.rejects(check(open()), coded("ATTEST_RELEASE_POLICY"));
  await enrolMode(open(), alice, "self-check", makeVerifier());
  requireAttested(open(), NEXT_RELEASE);
  const denied = await check(open(), asReal, Buffer.alloc(48, 8));
  assert.equal(denied.decision, "deny");
  assert.throws(() => requireAttested(open(), NEXT_RELEASE), coded("ATTEST_REQUIRED"), "the newest counts");
  await check(open(), asSimulated);
  assert.throws(() => requireAttested(open(), NEXT_RELEASE), coded("ATTEST_SIMULATED"));
});
