/** The VM's answer to a challenge that may end in the release of a key: evidence that names this site's keys. */
import { sign } from "node:crypto";
import { digestOf } from "../../bundles/model/digest.ts";
import { isComplete, keyedReportData, readChallenge } from "../../verify/attestation/challenge.ts";
import type { CollectedReport } from "../../verify/attestation/collect-evidence.ts";
import { hostKeyMessage, writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { makeTransportKey } from "../../verify/attestation/sealed-key.ts";
import { lifecycleError } from "./error.ts";
import { headOf } from "./ledger.ts";
import type { Site } from "./site.ts";
import { keepAnswer, makeHostKey } from "./transport-key.ts";

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
  requireOurs(site, challenge);
  const host = makeHostKey(site.disk, site.paths);
  const transport = await makeTransportKey();
  keepAnswer(site.disk, run, site.siteId, { challenge, ...transport });
  const keys = { hostKey: host.spki, transportKey: transport.publicKey };
  const reportData = keyedReportData(challenge, keys);
  if (reportData === undefined) throw new TypeError("the challenge asks about no site");
  const collected = collect(reportData);
  const { provider, report, certificateTable } = collected;
  const signature = sign(null, hostKeyMessage(reportData), host.privateKey);
  const evidence = writeCollectedEvidence(provider, report, certificateTable, { ...keys, signature });
  return { evidence, collected, hostKey: digestOf(host.spki) };
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
