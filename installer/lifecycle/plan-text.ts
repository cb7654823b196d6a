/** A plan as a person reads it before signing. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { PlanSubject } from "./authorization.ts";

/** The plan in lines, safe to show: names and details come from files. */
export function planLines(subject: PlanSubject): string[] {
  const { action, from, to, configDigest, policyDigest, trustVersion, details } = subject;
  const rows: [string, string | number | null][] = [
    ["from", from],
    ["to", to],
    ["config", configDigest],
    ["policy", policyDigest],
    ["trust version", trustVersion],
  ];
  return [
    `plan: ${action}`,
    ...rows.flatMap(([name, value]) => (value === null ? [] : [`  ${name.padEnd(13)} ${value}`])),
    ...details.map((line) => `  - ${plain(line)}`),
  ];
}
