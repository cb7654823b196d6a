/** What a policy makes of findings: which count, what is decided, and the text with markers in it. */
import { markerOf, type PiiClass } from "./classes.ts";
import { type Channel, FLAG_SCORE, type Policy, type Rule } from "./policy.ts";
import type { Finding } from "./scan.ts";

export type Action = "flag" | "redact" | "deny";
export type Decision = "allow" | "redact" | "deny";

export interface JudgedFinding {
  readonly class: PiiClass;
  readonly start: number;
  readonly end: number;
  readonly score: number;
  readonly action: Action;
  readonly continues?: true;
}

const ACTIONS = { flag: "flag", redact: "redact", strict: "deny" } as const;

/**
 * Those that the policy has a say about, in the order of the text. One whose score is too low to redact or to
 * block for is flagged if it would be flagged anywhere.
 */
export function judge(
  findings: readonly Finding[],
  policy: Policy,
  tenant: string,
  channel: Channel,
): readonly JudgedFinding[] {
  return findings.flatMap((finding) => {
    const action = actionOn(finding.score, policy.rule(tenant, channel, finding.class));
    return action ? [{ ...finding, action }] : [];
  });
}

function actionOn(score: number, { mode, minScore }: Rule): Action | undefined {
  if (mode === "off") return undefined;
  if (score >= minScore) return ACTIONS[mode];
  return mode !== "flag" && score >= FLAG_SCORE ? "flag" : undefined;
}

const DECISIONS = { flag: "allow", redact: "redact", deny: "deny" } as const;

export function decide(findings: readonly JudgedFinding[]): Decision {
  return strictest(findings.map(({ action }) => DECISIONS[action]));
}

export function strictest(decisions: readonly Decision[]): Decision {
  if (decisions.includes("deny")) return "deny";
  return decisions.includes("redact") ? "redact" : "allow";
}

/** The first `consumed` code units, each redacted finding a marker: one for a finding that goes over windows. */
export function redact(text: string, consumed: number, findings: readonly JudgedFinding[]): string {
  let redacted = "";
  let at = 0;
  for (const { class: piiClass, start, end, action, continues } of findings) {
    if (action !== "redact") continue;
    redacted += text.slice(at, start) + (continues ? "" : markerOf(piiClass));
    at = end;
  }
  return redacted + text.slice(at, consumed);
}
