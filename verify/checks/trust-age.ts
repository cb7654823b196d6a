/**
 * Part of check `trust`: how old the publisher's word is for which trust is the newest, and whether this host's clock
 * can be right. The time in it is signed by the root keys, so it is the one time that nobody at the site can set back.
 */
import type { Policy } from "../policy.ts";
import type { Trust } from "../trust/trust.ts";
import { type Finding, failed, type Verdict } from "../verdict.ts";

const DAY_MS = 86_400_000;
/** Clocks of publisher and site may differ by this much. */
const TOLERANCE_MS = DAY_MS;
const SUBJECT = "release trust";

/** Nothing if there is nothing against it. With `--at` a reviewer asks about another time, and the clock is no matter. */
export function checkTrustAge(
  { made }: Trust,
  { maxTrustAgeDays }: Policy,
  { at, source }: Verdict["time"],
): Finding[] {
  const findings: Finding[] = [];
  const ageMs = made === undefined ? undefined : Date.parse(at) - Date.parse(made);
  if (ageMs !== undefined && ageMs < -TOLERANCE_MS && source === "host-clock") {
    const message = `the root keys signed at ${made}, but this machine's clock says ${at}`;
    findings.push(failed("trust", SUBJECT, "TRUST_AHEAD_OF_CLOCK", message));
  }
  if (maxTrustAgeDays === undefined) return findings;
  if (ageMs === undefined) {
    const message = `the policy wants it at most ${maxTrustAgeDays} days old, and it does not say when it was made`;
    findings.push(failed("trust", SUBJECT, "TRUST_STALE", message));
  } else if (ageMs > maxTrustAgeDays * DAY_MS) {
    const message = `it was made at ${made}; the policy wants it at most ${maxTrustAgeDays} days old`;
    findings.push(failed("trust", SUBJECT, "TRUST_STALE", message));
  }
  return findings;
}
