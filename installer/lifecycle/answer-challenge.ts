/** The VM's answer to a challenge that may end in the release of a key: evidence that names this site's keys. */
import { sign } from "node:crypto";
import { digestOf } from "../../bundles/model/digest.ts";
import { isComplete, keyedReportData, readChallenge } from "../../verify/attestation/challenge.ts";
import type { CollectedReport } from "../../verify/attestation/collect-evidence.ts";
import { type BoundKeys, hostKeyMessage, writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { makeTransportKey } from "../../verify/attestation/sealed-key.ts";
import { lifecycleError } from "./error.ts";
import { headOf } from "./ledger.ts";
import type { Site } from "./site.ts";
import { keepAnswer, makeHostKey, readAnswer } from "./transport-key.ts";

export interface Answer {
  readonly evidence: Buffer;
  readonly collected: CollectedReport;
  /** SHA-256 of the host key, which the verifier must know. */
  readonly hostKey: string;
}

/** A challenge that asks about a site, so that the site must be there to answer. */
export function asksSite(challenge: Buffer): boolean {
  return isComplete(readChallenge(challenge));
}

/**
 * Evidence for exactly this challenge at exactly this site now; `collect` asks the processor. The transport key is
 * kept before the evidence exists, so no evidence is ever about without its key. MUST be called under the site's lock.
 * @throws ATTEST_CHALLENGE_SITE | ATTEST_CHALLENGE_STALE | ATTEST_RUN_NOT_MEMORY | STATE_… and what `collect` throws
 */
export async function answerChallenge(
  site: Site,
  run: string,
  challenge: Buffer,
  collect: (reportData: Buffer) => CollectedReport,
): Promise<Answer> {
  const reportData = await beginAnswer(site, run, challenge);
  const collected = collect(reportData);
  const { provider, report, certificateTable } = collected;
  const { keys, hostKey } = boundKeys(site, run, challenge);
  return { evidence: writeCollectedEvidence(provider, report, certificateTable, keys), collected, hostKey };
}

/**
 * Keeps a new transport key for this challenge, and returns what the processor or the vTPM must be asked with. For whoever
 * asks it elsewhere and comes back with the answer: `boundKeys`. MUST be called under the site's lock.
 * @throws ATTEST_CHALLENGE_SITE | ATTEST_CHALLENGE_STALE | ATTEST_RUN_NOT_MEMORY | STATE_…
 */
export async function beginAnswer(site: Site, run: string, challenge: Buffer): Promise<Buffer> {
  requireOurs(site, challenge);
  const host = makeHostKey(site.disk, site.paths);
  const transport = await makeTransportKey();
  keepAnswer(site.disk, run, site.siteId, { challenge, ...transport });
  return reportDataFor(challenge, { hostKey: host.spki, transportKey: transport.publicKey });
}

/**
 * The keys that evidence for this challenge names, with the host key's signature. MUST be called under the site's lock.
 * @throws ATTEST_CHALLENGE_SITE | ATTEST_CHALLENGE_STALE | ATTEST_TRANSPORT_GONE if the challenge was not begun, or another since
 */
export function boundKeys(
  site: Site,
  run: string,
  challenge: Buffer,
): { readonly keys: BoundKeys; readonly hostKey: string } {
  requireOurs(site, challenge);
  const pending = readAnswer(run, site.siteId);
  if (!pending.challenge.equals(challenge)) {
    throw lifecycleError("ATTEST_TRANSPORT_GONE", "the transport key is of another challenge, which came later", {
      hints: ["answer one challenge after the other"],
    });
  }
  const host = makeHostKey(site.disk, site.paths);
  const named = { hostKey: host.spki, transportKey: pending.publicKey };
  const signature = sign(null, hostKeyMessage(reportDataFor(challenge, named)), host.privateKey);
  return { keys: { ...named, signature }, hostKey: digestOf(host.spki) };
}

function reportDataFor(challenge: Buffer, keys: Omit<BoundKeys, "signature">): Buffer {
  const reportData = keyedReportData(challenge, keys);
  if (reportData === undefined) throw new TypeError("the challenge asks about no site");
  return reportData;
}

function requireOurs({ siteId, ledger }: Site, bytes: Buffer): void {
  const challenge = readChallenge(bytes);
  if (challenge.siteId !== siteId) {
    throw lifecycleError("ATTEST_CHALLENGE_SITE", `challenge: is for site ${challenge.siteId}, this is ${siteId}`);
  }
  const head = headOf(ledger);
  if (challenge.ledgerHead !== head) {
    throw lifecycleError("ATTEST_CHALLENGE_STALE", `challenge: got ledger head ${challenge.ledgerHead}, want ${head}`, {
      hints: [`make a new one: sealift attest challenge --site ${siteId} --ledger-head ${head}`],
    });
  }
}
