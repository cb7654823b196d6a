/**
 * What verification found: a document, not a boolean. `decide` is the only place where findings become
 * a decision, and `allowRelease` (allowed-release.ts) the only one where a decision becomes the right to
 * deploy.
 */
import type { Digest } from "../bundles/model/digest.ts";
import type { Role } from "../bundles/model/signing-roles.ts";
import type { Policy } from "./policy.ts";

/** Every check, in the order of a report. `verify/checks/` has one file for each that does something. */
export const CHECKS = [
  "cage",
  "layout",
  "digests",
  "trust",
  "signatures",
  "release",
  "identity",
  "images",
  "sbom",
  "provenance",
  "compose",
  "scan",
  "rebuilt",
  "revocation",
  "attestation",
] as const;

export type Check = (typeof CHECKS)[number];
export type FindingStatus = "pass" | "fail" | "error" | "not-checked";

export interface Finding {
  readonly check: Check;
  /** What it is about: an image's name, a blob's digest, a role. Text from the bundle: escape it for display. */
  readonly subject: string;
  readonly status: FindingStatus;
  /** A code of runbooks/errors.md; empty when passed. */
  readonly code: string;
  readonly message: string;
  /** Why a check was not made; empty otherwise. */
  readonly reason: string;
}

/** A signature that holds, by a role that may give it. Whether there are enough of them is for the findings to say. */
export interface VerdictSignature {
  readonly subject: Digest;
  /** `release`, or the image's name in the release. */
  readonly name: string;
  readonly predicateType: string;
  readonly role: Role;
  /** Who holds the key, by the release trust. */
  readonly holder: string;
  /** The key's fingerprint (bundles/model/public-key.ts), or the identity's (certificate-identity.ts). */
  readonly key: string;
  /** Whom the certificate named, and when it was signed, RFC 3339; null if a key signed. */
  readonly certificate: { readonly identity: string; readonly issuer: string; readonly at: string } | null;
  /** The manifests of the signature objects in which it lies: one for each of cosign's forms. */
  readonly objects: readonly Digest[];
}

/** Provenance that holds: who says what a thing was made of, and how far that can be believed. */
export interface VerdictProvenance {
  /** `release`, or the image's name in the release. */
  readonly name: string;
  readonly subject: Digest;
  /** SLSA `builder.id` and `buildType`. */
  readonly builder: string;
  readonly buildType: string;
  /** How many it names, each by a strong digest, and how many of them the release itself or its lock accounts for. */
  readonly inputs: number;
  readonly locked: number;
  /** Of a release's: the builder's own program, `ALGORITHM:HEX`, and its Git commit if the builder knew it. */
  readonly source: { readonly digest: string; readonly commit: string | null } | null;
  /** The level of SLSA's build track that the evidence shows, and what a higher one would need. */
  readonly slsaBuildLevel: 1;
  readonly levelReason: string;
}

export interface Verdict {
  readonly schemaVersion: 1;
  readonly decision: "allow" | "deny";
  /** `site` only with an enrolled site's trust and policy at its own time; `advisory` authorizes nothing. */
  readonly scope: "site" | "advisory";
  /** `appliance` and `version` are null when the release could not be read or its signature does not hold. */
  readonly subject: {
    readonly digest: Digest | null;
    readonly appliance: string | null;
    readonly version: string | null;
  };
  readonly policy: { readonly digest: Digest };
  /** All null if the release trust does not hold. */
  readonly trust: {
    readonly rootVersion: number | null;
    readonly targetsVersion: number | null;
    /** SHA-256 of the first root, 64 hexadecimal digits: what the publisher's paper says. */
    readonly rootFingerprint: string | null;
    /** The earliest expiry of the metadata in use, RFC 3339. */
    readonly expires: string | null;
  };
  readonly time: { readonly at: string; readonly source: "host-clock" | "option" };
  readonly signatures: readonly VerdictSignature[];
  readonly provenance: readonly VerdictProvenance[];
  readonly findings: readonly Finding[];
}

/** A hostile bundle chooses the length of some names; a finding needs the beginning. */
const TEXT_MAX_LENGTH = 2048;
/** Of one check; a bundle with so much wrong is wrong enough. */
const FINDINGS_MAX = 2000;

/** Text from a bundle for a verdict, cut to a bounded length. */
export function bounded(text: string): string {
  return text.length > TEXT_MAX_LENGTH ? `${text.slice(0, TEXT_MAX_LENGTH)}…` : text;
}

export function passed(check: Check, subject: string, message: string): Finding {
  return { check, subject: bounded(subject), status: "pass", code: "", message: bounded(message), reason: "" };
}

export function failed(check: Check, subject: string, code: string, message: string): Finding {
  return { check, subject: bounded(subject), status: "fail", code, message: bounded(message), reason: "" };
}

/** A check that could not come to an end: a defect of ours, and it denies. */
export function erred(check: Check, subject: string, message: string): Finding {
  return { check, subject: bounded(subject), status: "error", code: "INTERNAL", message: bounded(message), reason: "" };
}

export function notChecked(check: Check, subject: string, reason: string): Finding {
  return { check, subject, status: "not-checked", code: "NOT_CHECKED", message: "not checked", reason };
}

/** In the order of CHECKS. Of a check with too many, the worst are kept, so that the decision stays the same. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  const rank = ({ status }: Finding): number => ["error", "fail", "not-checked", "pass"].indexOf(status);
  return CHECKS.flatMap((check) => {
    const own = findings.filter((finding) => finding.check === check);
    return own.length <= FINDINGS_MAX ? own : own.sort((a, b) => rank(a) - rank(b)).slice(0, FINDINGS_MAX);
  });
}

/**
 * Allows only if every check has at least one finding, none failed or erred, and each check that was not
 * made is one that the policy accepts unmade. A check that is missing from `findings` denies.
 */
export function decide(findings: readonly Finding[], policy: Policy): "allow" | "deny" {
  for (const check of CHECKS) {
    const own = findings.filter((finding) => finding.check === check);
    if (own.length === 0) return "deny";
    for (const { status } of own) {
      if (status === "pass") continue;
      if (status === "not-checked" && policy.acceptNotChecked.includes(check)) continue;
      return "deny";
    }
  }
  return "allow";
}
