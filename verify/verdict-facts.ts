/** What every form of a verdict says beside its findings, in words. Text from the bundle is not escaped here. */
import type { Check, Verdict } from "./verdict.ts";

/** What each check asks. */
export const CHECK_QUESTIONS: Readonly<Record<Check, string>> = {
  cage: "Was the verifier itself kept from files, network and other processes?",
  layout: "Does the bundle hold exactly the files that the release and its signatures account for?",
  digests: "Does every blob hash to its name?",
  trust: "Does the release trust hold, signed by enough of its root keys and not expired?",
  signatures: "Did enough distinct keys and holders of each role sign the release?",
  release: "Can the release manifest be read, and does it follow its schema?",
  identity: "Is it the appliance, channel and version that trust and policy allow?",
  images: "Is each image well formed and signed by the builder?",
  sbom: "Has each image an SBOM about it, signed by the builder?",
  provenance: "Has each image SLSA provenance, signed by a builder that the policy accepts?",
  compose: "Does the Compose template start only images of the release, by the rules?",
  scan: "Was the release scanned for known vulnerabilities, and are they accounted for?",
  rebuilt: "Did an independent build come to the same manifest digest?",
  revocation: "Are no keys, holders, releases or chips in use that were revoked?",
  attestation: "Has the release reference values for a confidential VM?",
};

export function releaseName({ subject }: Verdict): string {
  return subject.appliance === null ? "unread release" : `${subject.appliance} ${subject.version}`;
}

export function clockName({ time }: Verdict): string {
  return time.source === "option" ? "given with --at" : "this machine's clock";
}

/** How many of each; `wrong` are failed or broken. */
export function countFindings({ findings }: Verdict) {
  const wrong = findings.filter(({ status }) => status === "fail" || status === "error").length;
  const unmade = findings.filter(({ status }) => status === "not-checked").length;
  return { wrong, unmade, passed: findings.length - wrong - unmade };
}

const DAY_MS = 86_400_000;
/** Longer than it takes to carry a newer trust to most sites. */
export const EXPIRY_WARNING_DAYS = 60;

/** A warning if the release trust will soon expire, as of the verdict's time. After that nothing new is accepted. */
export function expiryWarning({ trust, time }: Verdict): string | undefined {
  if (trust.expires === null) return undefined;
  const days = Math.floor((Date.parse(trust.expires) - Date.parse(time.at)) / DAY_MS);
  if (days > EXPIRY_WARNING_DAYS) return undefined;
  return `the release trust expires on ${trust.expires}, in ${days} days: ask the publisher for a newer one`;
}
