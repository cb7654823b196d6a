/** A text that the service knows, and what it must find in it: asked before a release may serve. */
import { scanText } from "./scan.ts";

const TEXT =
  "Write to ana.canary@example.com or call +44 20 7946 0958; card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, " +
  "SSN 123-45-6789, release 10.2.33, build 5f2b9c1e.";
const EXPECTED = [
  ["email", "ana.canary@example.com"],
  ["phone", "+44 20 7946 0958"],
  ["payment-card", "4111 1111 1111 1111"],
  ["iban", "DE89 3704 0044 0532 0130 00"],
  ["us-ssn", "123-45-6789"],
];

export function canaryHolds(): boolean {
  const found = scanText(TEXT).map((finding) => [finding.class, TEXT.slice(finding.start, finding.end)]);
  return JSON.stringify(found) === JSON.stringify(EXPECTED);
}
