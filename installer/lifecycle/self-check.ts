/**
 * A host that judges itself. It finds a wrong firmware or a machine that is none of AMD's by accident; against a host
 * that lies it finds nothing, because the host is asked. Everything that it writes says so.
 */
import { randomBytes } from "node:crypto";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { AttestationCase } from "../../verify/attestation/appraise-evidence.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import type { Appraiser } from "../../verify/attestation/canaries.ts";
import type { CollectedReport } from "../../verify/attestation/collect-evidence.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { verdictDigest } from "../../verify/attestation/release-file.ts";
import { reportDataOf } from "../../verify/attestation/report-data.ts";
import { requireClock } from "../site/clock.ts";
import { ATTESTED, type AttestedData, attestationRuleOf, SELF_CHECK } from "./attested.ts";
import { lifecycleError } from "./error.ts";
import { appendEntry } from "./ledger.ts";
import { clockFinding, type Site } from "./site.ts";

const NONCE_BYTES = 32;
const HOUR_MS = 3_600_000;

export interface SelfCheckMeans {
  readonly collect: (reportData: Buffer) => CollectedReport;
  readonly appraise: Appraiser;
}

/**
 * Asks the processor with a nonce of its own, appraises by the policy that the site's policy names, and writes the
 * outcome, a denial too, into the ledger. MUST be called under the site's lock.
 * @throws ATTEST_RULE_OTHER | ATTEST_RELEASE_POLICY if it is another policy | CLOCK_… | STATE_…, and what the means throw
 */
export async function selfCheck(
  site: Site,
  policyBytes: Buffer,
  collateral: AttestationCase["collateral"],
  validHours: number,
  { collect, appraise }: SelfCheckMeans,
): Promise<AttestationVerdict> {
  requireAsked(site, digestOf(policyBytes));
  requireClock(clockFinding(site), []);
  const nonce = randomBytes(NONCE_BYTES);
  const { provider, report, certificateTable } = collect(reportDataOf(nonce));
  const { now } = site.clock();
  const verdict = await appraise({
    evidence: writeCollectedEvidence(provider, report, certificateTable),
    collateral,
    policyBytes,
    nonce,
    time: { at: now.toISOString(), source: "host-clock" },
  });
  const data: AttestedData = {
    by: SELF_CHECK,
    result: verdict.decision,
    challenge: null,
    policy: verdict.policy.digest,
    verdict: verdictDigest(verdict),
    release: null,
    validUntil: new Date(now.getTime() + validHours * HOUR_MS).toISOString(),
    receipt: null,
    signature: null,
    verifier: null,
  };
  appendEntry(site.disk, site.paths.ledger, ATTESTED, { ...data }, site.clock());
  return verdict;
}

function requireAsked(site: Site, policy: Digest): void {
  const rule = attestationRuleOf(site);
  if (rule.mode !== "self-check") {
    throw lifecycleError("ATTEST_RULE_OTHER", `the site's policy asks for attestation ${rule.mode}, not self-check`, {
      hints: ["sealift policy show"],
    });
  }
  if (rule.policy === policy) return;
  throw lifecycleError(
    "ATTEST_RELEASE_POLICY",
    `attestation policy: got ${policy}, the site's policy names ${rule.policy}`,
  );
}
