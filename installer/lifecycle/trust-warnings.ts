/** What an operator should know about the site's release trust before it gets in the way of a change. */
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { EXPIRY_WARNING_DAYS } from "../../verify/verdict-facts.ts";
import { policyOfLedger } from "./policy-change.ts";
import type { Site } from "./site.ts";
import { enrolledTrust, trustOfLedger } from "./trust-change.ts";

const DAY_MS = 86_400_000;
const WAY = "ask the publisher for a newer one, then sealift trust import DIR";

/** One sentence if it expires soon, is or will soon be older than the policy takes, or does not hold. None of it stops what runs. */
export function trustWarnings(site: Site): string[] {
  const { entries } = site.ledger;
  if (!trustOfLedger(entries)) return [];
  const { now } = site.clock();
  try {
    const { expires, made } = loadTrust(enrolledTrust(site).files, now);
    const { maxTrustAgeDays } = policyOfLedger(entries).policy;
    const ends = [Date.parse(expires)];
    if (made !== undefined && maxTrustAgeDays !== undefined) ends.push(Date.parse(made) + maxTrustAgeDays * DAY_MS);
    const end = new Date(Math.min(...ends));
    const days = Math.floor((end.getTime() - now.getTime()) / DAY_MS);
    if (days > EXPIRY_WARNING_DAYS) return [];
    const date = end.toISOString().slice(0, 10);
    const when = days < 0 ? `since ${date}` : `after ${date}, in ${days} days,`;
    return [`the release trust grows old: ${when} no new release is accepted: ${WAY}`];
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return [`the release trust does not hold (${cause.code}), so no new release is accepted: ${WAY}`];
  }
}
