/** A policy in words, a line for each thing that it demands: for the people who sign for it. */
import { keyFingerprint, parsePublicKey } from "../bundles/model/public-key.ts";
import { type Policy, parsePolicy } from "./policy.ts";

/** @throws POLICY_MALFORMED */
export function policyLines(bytes: Buffer): string[] {
  const { policy } = parsePolicy(bytes);
  const { schemaVersion: _, name, version, approvals, ...demands } = policy;
  return [
    `policy ${name}${version === undefined ? "" : `, version ${version}`}`,
    ...Object.entries(demands).flatMap(([member, value]) => demandLines(member, value)),
    ...approvalLines(approvals),
  ];
}

function demandLines(member: string, value: unknown): string[] {
  if (!Array.isArray(value)) return [`${member}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
  if (value.length === 0) return [`${member}: none`];
  return value.map((item) => `${member}: ${typeof item === "string" ? item : JSON.stringify(item)}`);
}

function approvalLines(approvals: Policy["approvals"]): string[] {
  if (approvals === undefined) return ["approvals: none demanded"];
  const { threshold, reviewers } = approvals;
  return [
    `approvals: ${threshold} of ${reviewers.length} reviewers`,
    ...reviewers.map(
      ({ holder, publicKey }) => `reviewer ${holder}, key ${keyFingerprint(parsePublicKey(publicKey, holder))}`,
    ),
  ];
}
