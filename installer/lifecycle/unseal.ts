/** The host's part of the release of its key: believe the receipt, open the sealed key, and only once. */
import { digestOf } from "../../bundles/model/digest.ts";
import { assuranceProblems } from "../../verify/attestation/attestation-verdict.ts";
import { readChallenge } from "../../verify/attestation/challenge.ts";
import { attestationError } from "../../verify/attestation/error.ts";
import { type Receipt, type ReleaseFile, readReleaseFile, sealedFor } from "../../verify/attestation/release-file.ts";
import { openKey } from "../../verify/attestation/sealed-key.ts";
import { CLOCK_TOLERANCE_MS, requireClock } from "../site/clock.ts";
import { removeDurably, writeWhole } from "../site/disk.ts";
import type { AttestationRule } from "./attestation-rule.ts";
import { ATTESTED, type AttestedData, attestationRuleOf } from "./attested.ts";
import type { Approval } from "./authorization.ts";
import { lifecycleError } from "./error.ts";
import { appendEntry, headOf } from "./ledger.ts";
import { clockFinding, type Site } from "./site.ts";
import { forgetAnswer, type PendingAnswer, readAnswer, readHostKey, requireInMemory } from "./transport-key.ts";
import { checkReceiptSignature } from "./verifier-signature.ts";

export interface Unsealed {
  readonly receipt: Receipt;
  readonly verifier: Approval;
}

/**
 * Opens the release in `bytes` and writes the key to `keyOut`, which must lie in memory. The order makes it once and
 * costs nobody a journey: key, then ledger, which spends the challenge, then the transport key goes. A crash before
 * the ledger's entry leaves all as it was; after it the key is there and the release is spent. Simulated: spent and
 * recorded as what it is, and no key is written.
 *
 * MUST be called under the site's lock.
 * @throws ATTEST_RELEASE_MALFORMED | ATTEST_RULE_OTHER | ATTEST_RECEIPT_SIGNATURE | ATTEST_VERIFIER_UNKNOWN |
 * ATTEST_RELEASE_SITE | ATTEST_RELEASE_POLICY | ATTEST_RELEASE_SPENT | ATTEST_TRANSPORT_GONE | ATTEST_RELEASE_OTHER |
 * ATTEST_HOST_KEY_OTHER | ATTEST_RELEASE_STALE | ATTEST_RELEASE_EXPIRED | ATTEST_ASSURANCE_LOW | ATTEST_RELEASE_UNOPENED |
 * ATTEST_RUN_NOT_MEMORY | CLOCK_BACKWARDS | CLOCK_JUMPED | STATE_…
 */
export async function unseal(site: Site, run: string, bytes: Buffer, keyOut: string): Promise<Unsealed> {
  const { disk, paths, siteId } = site;
  const release = readReleaseFile(bytes);
  const { receipt } = release;
  const rule = attestationRuleOf(site);
  if (rule.mode !== "required") {
    throw lifecycleError(
      "ATTEST_RULE_OTHER",
      `attestation is ${rule.mode} on this site, so no verifier's word counts`,
      {
        hints: ["a site policy with attestation required: sealift policy import FILE, which operators authorize"],
      },
    );
  }
  const { now } = site.clock();
  const verifier = await checkReceiptSignature(rule, release.receiptBytes, release.signature, now);
  requireOutsider(site, verifier);
  requireThisSite(site, rule, receipt);
  requireUnspent(site, run, receipt);
  const answer = readAnswer(run, siteId);
  requireThisAnswer(site, answer, receipt);
  requireNow(site, receipt, now);
  requireAssurance(receipt);
  requireInMemory(keyOut);
  const key = await openKey(release.sealed, answer.privateKey, sealedFor(receipt));
  const isReal = receipt.decision === "allow";
  if (isReal) writeWhole(disk, keyOut, key);
  try {
    appendEntry(disk, paths.ledger, ATTESTED, { ...entryOf(release, verifier) }, site.clock());
  } catch (cause) {
    if (isReal) removeDurably(disk, keyOut);
    throw cause;
  }
  forgetAnswer(disk, run, siteId);
  return { receipt, verifier };
}

function entryOf({ receipt, receiptBytes, signature }: ReleaseFile, verifier: Approval): AttestedData {
  return {
    by: "verifier",
    result: receipt.decision,
    challenge: receipt.challenge,
    policy: receipt.policy,
    verdict: receipt.verdict,
    release: receipt.release,
    validUntil: receipt.validUntil,
    receipt: receiptBytes.toString("utf8"),
    signature: signature.toString("latin1"),
    verifier: { ...verifier },
  };
}

/** Somebody may have become an operator after the policy had named them a verifier. */
function requireOutsider({ authority }: Site, { principal, fingerprint }: Approval): void {
  const { operators, reviewers, recoveryKey } = authority;
  const own = [...operators, ...reviewers].map(({ key }) => key.fingerprint);
  if (!own.includes(fingerprint) && recoveryKey?.fingerprint !== fingerprint) return;
  throw lifecycleError("ATTEST_VERIFIER_UNKNOWN", `receipt: ${principal} moves this site and cannot vouch for it`, {
    hints: ["enrol a verifier's key that has no other power: sealift policy import FILE"],
  });
}

function requireThisSite({ siteId }: Site, rule: AttestationRule, receipt: Receipt): void {
  if (receipt.siteId !== siteId) {
    throw lifecycleError("ATTEST_RELEASE_SITE", `release: is for site ${receipt.siteId}, this is ${siteId}`);
  }
  if (receipt.policy === rule.policy) return;
  throw lifecycleError("ATTEST_RELEASE_POLICY", `release: got policy ${receipt.policy}, want ${rule.policy}`, {
    hints: ["the verifier used another attestation policy than this site's; sealift policy show prints its digest"],
  });
}

/** A crash may have left the transport key of a challenge that is spent: it goes now. */
function requireUnspent({ ledger, disk, siteId }: Site, run: string, { challenge }: Receipt): void {
  const spent = ledger.entries.find(({ type, data }) => type === ATTESTED && data["challenge"] === challenge);
  if (!spent) return;
  forgetAnswer(disk, run, siteId);
  throw lifecycleError("ATTEST_RELEASE_SPENT", `release: its challenge was used at ledger entry ${spent.seq}`, {
    hints: ["a release opens once; for another make a new challenge and go the three ways again"],
  });
}

/** Everything that the receipt repeats of the question and of the answer's keys is as it was asked and answered. */
function requireThisAnswer({ paths }: Site, answer: PendingAnswer, receipt: Receipt): void {
  const other = (what: string): Error =>
    lifecycleError("ATTEST_RELEASE_OTHER", `release: it answers another question: ${what} differs`, {
      hints: ["was a newer challenge answered since? Only the last one's release can be opened"],
    });
  if (receipt.challenge !== digestOf(answer.challenge)) throw other("the challenge");
  const asked = readChallenge(answer.challenge);
  if (receipt.release !== asked.release) throw other("the appliance's release");
  if (receipt.ledgerHead !== asked.ledgerHead) throw other("the ledger head");
  if (receipt.transportKey !== digestOf(answer.publicKey)) throw other("the transport key");
  const hostKey = readHostKey(paths);
  if (hostKey && receipt.hostKey === digestOf(hostKey.spki)) return;
  throw attestationError("ATTEST_HOST_KEY_OTHER", `release: it is for host key ${receipt.hostKey}, this is another`);
}

function requireNow(site: Site, receipt: Receipt, now: Date): void {
  if (receipt.ledgerHead !== headOf(site.ledger)) {
    throw lifecycleError("ATTEST_RELEASE_STALE", "release: something happened on the site since the challenge", {
      hints: ["sealift ledger show says what; make a new challenge with the ledger head of now"],
    });
  }
  requireClock(clockFinding(site), []);
  if (now.getTime() >= Math.min(Date.parse(receipt.openUntil), Date.parse(receipt.validUntil))) {
    throw lifecycleError(
      "ATTEST_RELEASE_EXPIRED",
      `release: could be opened until ${receipt.openUntil}, it is ${now.toISOString()}`,
    );
  }
  if (Date.parse(receipt.time) > now.getTime() + CLOCK_TOLERANCE_MS) {
    throw lifecycleError("ATTEST_RELEASE_EXPIRED", `release: is of ${receipt.time}, it is only ${now.toISOString()}`, {
      hints: ["compare the clocks of this host and of the verifier's machine"],
    });
  }
}

/** The verifier looked at it too; the site does not rely on that. */
function requireAssurance({ assurance }: Receipt): void {
  const problems = assuranceProblems(assurance);
  if (problems.length > 0) throw attestationError("ATTEST_ASSURANCE_LOW", `release: ${problems.join("; ")}`);
}
