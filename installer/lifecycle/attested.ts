/**
 * What the ledger says about this host's attestation, and whether it is enough to move the site. An attestation
 * counts for one boot of the host, under the rule in force, until it expires.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import type { Receipt } from "../../verify/attestation/release-file.ts";
import { type Finding, failed, passed } from "../../verify/verdict.ts";
import { CLOCK_TOLERANCE_MS } from "../site/clock.ts";
import { readDeployments } from "../site/deployment.ts";
import { type AttestationRule, ruleOfPolicy } from "./attestation-rule.ts";
import { lifecycleError } from "./error.ts";
import type { LedgerEntry } from "./ledger.ts";
import { policyOfLedger } from "./policy-change.ts";
import type { Site } from "./site.ts";

export const ATTESTED = "attested";
export const SELF_CHECK = "self-check, not proof";

/** In the ledger's entry. The receipt and its signature are there whole: a reviewer checks them with ssh-keygen. */
export interface AttestedData {
  readonly by: "verifier" | typeof SELF_CHECK;
  readonly result: Receipt["decision"] | "deny";
  readonly challenge: Digest | null;
  readonly policy: Digest;
  readonly verdict: Digest;
  /** What was asserted; a self-check asserts nothing. */
  readonly release: Digest | null;
  readonly validUntil: string;
  readonly receipt: string | null;
  readonly signature: string | null;
  /** Principal and fingerprint of the key. */
  readonly verifier: { readonly principal: string; readonly fingerprint: string } | null;
}

/** The newest entry about this host's attestation. */
export function lastAttested(entries: readonly LedgerEntry[]): LedgerEntry | undefined {
  return entries.findLast(({ type }) => type === ATTESTED);
}

/** What the site's policy asks for now. @throws STATE_DAMAGED */
export function attestationRuleOf({ ledger }: Pick<Site, "ledger">): AttestationRule {
  return ruleOfPolicy(policyOfLedger(ledger.entries).policy);
}

type Problem = readonly [code: Parameters<typeof lifecycleError>[0], message: string];

/** What a site with a rule adds to a release's verdict; nothing where nobody asks for attestation. */
export function attestationFindings(site: Site, release: Digest | null): Finding[] {
  const rule = attestationRuleOf(site);
  if (rule.mode === "not-required") return [];
  const subject = `site ${site.siteId}`;
  const problem = attestationProblem(site, rule, release);
  return [
    problem ? failed("attestation", subject, ...problem) : passed("attestation", subject, attestedText(site, rule)),
  ];
}

/** @throws ATTEST_REQUIRED | ATTEST_OUTDATED | ATTEST_OTHER_RELEASE | ATTEST_SIMULATED unless the site's rule is met now */
export function requireAttested(site: Site, release: Digest): void {
  const rule = attestationRuleOf(site);
  const problem = rule.mode === "not-required" ? undefined : attestationProblem(site, rule, release);
  if (problem) throw lifecycleError(problem[0], problem[1], { hints: [NEXT[rule.mode]] });
}

const NEXT = {
  required: "make a challenge on the verifier's machine: runbooks/attestation.md, The three ways",
  "self-check": "sealift attest self-check --collateral DIR",
  "not-required": "",
} as const;

function attestedText({ ledger }: Site, { mode }: AttestationRule): string {
  const { verifier, validUntil } = dataOf(lastAttested(ledger.entries) as LedgerEntry);
  if (mode === "self-check") return `${SELF_CHECK}: the host judged itself; counts until ${validUntil}`;
  return `verifier ${verifier?.principal} allowed this boot of the host; counts until ${validUntil}`;
}

function attestationProblem(site: Site, rule: AttestationRule, release: Digest | null): Problem | undefined {
  const entry = lastAttested(site.ledger.entries);
  const wanted = rule.mode === "required" ? "verifier" : SELF_CHECK;
  const data = entry && dataOf(entry);
  if (!entry || !data || data.by !== wanted) {
    return ["ATTEST_REQUIRED", `attestation: ${rule.mode}, and this host has none`];
  }
  return decisionProblem(data, rule) ?? timeProblem(site, entry, data) ?? releaseProblem(site, data, rule, release);
}

function decisionProblem({ result, policy, verifier }: AttestedData, rule: AttestationRule): Problem | undefined {
  if (result === "simulated") return ["ATTEST_SIMULATED", "attestation: SIMULATED – NOT AMD, which allows nothing"];
  if (result !== "allow") return ["ATTEST_REQUIRED", "attestation: the last one was denied"];
  if (policy !== rule.policy) {
    return ["ATTEST_OUTDATED", `attestation: was made by policy ${policy}, the site's is ${rule.policy}`];
  }
  if (verifier && !rule.verifiers.some(({ key }) => key.fingerprint === verifier.fingerprint)) {
    return ["ATTEST_OUTDATED", `attestation: verifier ${verifier.principal} is not one of this site's any more`];
  }
  return undefined;
}

function timeProblem({ clock }: Site, entry: LedgerEntry, { validUntil }: AttestedData): Problem | undefined {
  const { now, bootId } = clock();
  if (bootId === "" || entry.bootId !== bootId) {
    return ["ATTEST_OUTDATED", `attestation: was of another boot; that of ${entry.time} says nothing about this one`];
  }
  if (now.getTime() >= Date.parse(validUntil)) {
    return ["ATTEST_OUTDATED", `attestation: counted until ${validUntil}, it is ${now.toISOString()}`];
  }
  if (now.getTime() < Date.parse(entry.time) - CLOCK_TOLERANCE_MS) {
    return ["ATTEST_OUTDATED", `attestation: is of ${entry.time}, it is only ${now.toISOString()}`];
  }
  return undefined;
}

/** A release that runs here or ran before was asserted then; a new one must be the one that the verifier was told. */
function releaseProblem(
  { paths }: Site,
  data: AttestedData,
  { mode }: AttestationRule,
  release: Digest | null,
): Problem | undefined {
  if (mode !== "required" || release === null || data.release === release) return undefined;
  const { current, previous } = readDeployments(paths);
  if ([current, previous].some((one) => one?.release === release)) return undefined;
  return ["ATTEST_OTHER_RELEASE", `attestation: is for release ${data.release}, not for ${release}`];
}

function dataOf({ data }: LedgerEntry): AttestedData {
  return data as unknown as AttestedData;
}
