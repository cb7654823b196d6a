import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../../bundles/model/digest.ts";
import type { ReferenceValues } from "../../../verify/attestation/appraise.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import { makeChallenge } from "../../../verify/attestation/challenge.ts";
import {
  failures,
  SIMULATED_AT,
  SIMULATED_MEASUREMENT,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
} from "./evidence.ts";

const release: Digest = digestOf("a release");
const own = SIMULATED_MEASUREMENT.toString("hex");
const other = "0a".repeat(48);

function judge(
  policy: Partial<AttestationPolicy>,
  launchDigests: readonly string[] | null,
  challengeAbout: Digest | null = null,
): AttestationVerdict {
  const by = simulator();
  const policyBytes = canonicalJson(simulatedPolicy(by, policy));
  const reference: ReferenceValues | null = launchDigests && { release, launchDigests };
  const subject = { release: challengeAbout, siteId: null, ledgerHead: null };
  return appraiseEvidence({
    evidence: by.report({ measurement: SIMULATED_MEASUREMENT }),
    collateral: simulatedCollateral(by),
    policyBytes,
    nonce: null,
    ...(challengeAbout && {
      challenge: makeChallenge(digestOf(policyBytes), subject, new Date(SIMULATED_AT), 60),
    }),
    reference,
    time: { at: SIMULATED_AT, source: "option" },
  });
}

test("a policy can take its measurements from a release, and then needs one", () => {
  const good = judge({ measurements: "release" }, [other, own]);
  assert.deepEqual([failures(good), good.decision, good.reference], [{}, "simulated", release]);
  const measured = good.findings.find(({ check }) => check === "measurement");
  assert.match(measured?.message ?? "", new RegExp(`launch digest of release ${release}`));
  assert.deepEqual(failures(judge({ measurements: "release" }, [other])), {
    measurement: "ATTEST_MEASUREMENT_UNKNOWN",
  });
  assert.deepEqual(failures(judge({ measurements: "release" }, [])), { measurement: "ATTEST_MEASUREMENT_UNKNOWN" });
  const none = judge({ measurements: "release" }, null);
  assert.deepEqual([failures(none), none.reference], [{ measurement: "ATTEST_RELEASE_MISSING" }, null]);
});

test("where the policy and a release both list launch digests, it must be one of each", () => {
  assert.deepEqual(failures(judge({ measurements: [own] }, [own])), {});
  const unknown = { measurement: "ATTEST_MEASUREMENT_UNKNOWN" };
  assert.deepEqual(failures(judge({ measurements: [own] }, [other])), unknown);
  assert.deepEqual(failures(judge({ measurements: [other] }, [own])), unknown);
});

test("a challenge about one release is not answered by the launch digests of another", () => {
  const required = { measurements: "release", nonce: "required" } as const;
  assert.equal(failures(judge(required, [own], digestOf("another")))["nonce"], "ATTEST_CHALLENGE_RELEASE");
  // The report answers no challenge at all.
  assert.equal(failures(judge(required, [own], release))["nonce"], "ATTEST_NONCE_MISMATCH");
});
