/** A policy in words, a line for each thing that it demands: for the people who sign for it. */
import { type Policy, type PolicyHolder, parsePolicy, policyKey } from "./policy.ts";

/** @throws POLICY_MALFORMED */
export function policyLines(bytes: Buffer): string[] {
  const { policy } = parsePolicy(bytes);
  const { schemaVersion: _, name, version, approvals, rebuilds, attestation, scan, ...demands } = policy;
  return [
    `policy ${name}${version === undefined ? "" : `, version ${version}`}`,
    ...Object.entries(demands).flatMap(([member, value]) => demandLines(member, value)),
    ...approvalLines(approvals),
    ...rebuildLines(rebuilds),
    ...attestationLines(attestation),
    ...scanLines(scan),
  ];
}

function demandLines(member: string, value: unknown): string[] {
  if (!Array.isArray(value)) return [`${member}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
  if (value.length === 0) return [`${member}: none`];
  return value.map((item) => `${member}: ${typeof item === "string" ? item : JSON.stringify(item)}`);
}

function attestationLines(attestation: Policy["attestation"]): string[] {
  if (attestation === undefined) return [];
  const { mode, policy, verifiers = [] } = attestation;
  return [
    `attestation of the host: ${mode}${mode === "self-check" ? ", which is no proof" : ""}`,
    ...(policy === undefined ? [] : [`attestation policy ${policy}`]),
    ...verifiers.map((line) => `verifier ${line}`),
  ];
}

function scanLines(scan: Policy["scan"]): string[] {
  if (scan === undefined) return ["scan for known vulnerabilities: none judged"];
  const { vulnerabilities, acceptNotCovered, maxDatabaseAgeDays, requireSignedDatabase, maxWaiverDays } = scan;
  const rules = Object.entries(vulnerabilities).map(([level, rule]) => `${level} ${rule}`);
  return [
    `scan for known vulnerabilities: ${rules.join(", ")}`,
    `scan: records ${maxDatabaseAgeDays === undefined ? "of any age" : `at most ${maxDatabaseAgeDays} days old`}, ${requireSignedDatabase ? "signed" : "signed or not"}; waivers for at most ${maxWaiverDays} days`,
    ...acceptNotCovered.map((pattern) => `scan: need not be covered: ${pattern}`),
  ];
}

function approvalLines(approvals: Policy["approvals"]): string[] {
  if (approvals === undefined) return ["approvals: none demanded"];
  const { threshold, reviewers, maxAgeDays } = approvals;
  const age = maxAgeDays === undefined ? "" : `, each at most ${maxAgeDays} days old`;
  return [`approvals: ${threshold} of ${reviewers.length} reviewers${age}`, ...holderLines("reviewer", reviewers)];
}

function rebuildLines(rebuilds: Policy["rebuilds"]): string[] {
  if (rebuilds === undefined) return ["independent rebuilds: none demanded"];
  const { threshold, rebuilders } = rebuilds;
  return [
    `independent rebuilds: ${threshold} of ${rebuilders.length} rebuilders`,
    ...holderLines("rebuilder", rebuilders),
  ];
}

function holderLines(what: string, holders: readonly PolicyHolder[]): string[] {
  return holders.map((one) => `${what} ${one.holder}, key ${policyKey(one).fingerprint}`);
}
