/**
 * What the appraisal of evidence found (RFC 9334: the verifier's appraisal, and what it says to a relying
 * party). Like a release's verdict (../verdict.ts) it lists every check as passed, failed or not checked.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { type AnyPolicy, isTdxPolicy, uncheckedBy } from "./attestation-policy.ts";

/**
 * Every check, in the order of a report. Up to `revocation` they say whether the evidence is AMD's own word;
 * a policy cannot leave them out. Those after it compare that word with the policy.
 */
export const GENUINENESS_CHECKS = [
  "evidence",
  "chain",
  "signer",
  "product",
  "chip",
  "tcb-certified",
  "signature",
  "revocation",
] as const;
export const POLICY_CHECKS = [
  "revocation-fresh",
  "revoked-here",
  "nonce",
  "vtpm-quote",
  "report-version",
  "signing-key",
  "product-allowed",
  "tcb-reported",
  "tcb-current",
  "tcb-committed",
  "tcb-launch",
  "measurement",
  "rootfs",
  "vtpm-pcrs",
  "debug",
  "migration",
  "smt",
  "single-socket",
  "cxl",
  "memory-aes-256-xts",
  "rapl",
  "ciphertext-hiding",
  "page-swap",
  "abi",
  "vmpl",
  "guest-svn",
  "host-data",
  "id-key",
  "author-key",
  "chip-allowed",
  "platform-alias-check",
  "platform-smt",
  "platform-tsme",
  "platform-ecc",
  "platform-rapl",
  "platform-ciphertext-hiding",
  "mitigations-launch",
  "mitigations-current",
  "firmware",
  "firmware-provisional",
] as const;
export const ATTESTATION_CHECKS = [...GENUINENESS_CHECKS, ...POLICY_CHECKS] as const;

/** The same for Intel TDX; what means the same has the same name. */
export const TDX_GENUINENESS_CHECKS = [
  "evidence",
  "chain",
  "collateral",
  "quoting-enclave",
  "signature",
  "tdx-module",
  "tcb-certified",
  "revocation",
] as const;
export const TDX_POLICY_CHECKS = [
  "revocation-fresh",
  "collateral-fresh",
  "revoked-here",
  "nonce",
  "report-version",
  "product-allowed",
  "tcb-status",
  "tcb-advisories",
  "tcb-evaluation",
  "tcb-minimum",
  "tdx-module-build",
  "measurement",
  "rootfs",
  "debug",
  "migration",
  "sept-ve-disable",
  "perfmon",
  "key-locker",
  "attributes",
  "xfam",
  "host-data",
  "owner",
  "owner-config",
  "service-td",
  "chip-allowed",
  "platform-smt",
] as const;
export const TDX_CHECKS = [...TDX_GENUINENESS_CHECKS, ...TDX_POLICY_CHECKS] as const;
const ALL_CHECKS = [...new Set([...ATTESTATION_CHECKS, ...TDX_CHECKS])];

export type PolicyCheck = (typeof POLICY_CHECKS)[number];
export type TdxPolicyCheck = (typeof TDX_POLICY_CHECKS)[number];
export type AttestationCheck = (typeof ALL_CHECKS)[number];

export interface AttestationFinding {
  readonly check: AttestationCheck;
  readonly status: "pass" | "fail" | "not-checked";
  /** A code of runbooks/errors.md; empty when passed. */
  readonly code: string;
  readonly message: string;
  /** Why a check was not made; empty otherwise. */
  readonly reason: string;
}

/** What was shown, apart from the decision: these are three different things, and none stands for another. */
export interface Assurance {
  /**
   * The report is genuine, and what the machine was started from is one of the policy's: the launch digest, and where a
   * vTPM has quoted also the PCRs, because there the launch digest is the paravisor's alone.
   */
  readonly bootMeasured: boolean;
  /** That start also fixes the root file system, as the policy's author says. */
  readonly rootfsMeasured: boolean;
  /** The release that the challenge named. The VM says yes to it; nothing has measured it. Null: none was asserted. */
  readonly releaseAsserted: Digest | null;
  /** What ties the report to one machine or site rather than to all that run the same software. */
  readonly boundBy: readonly ("chip" | "host-data" | "id-key")[];
}

/** `simulated`: as `allow`, of evidence by the simulator. It is no allow, and nothing is released for it. */
export type AttestationDecision = "allow" | "deny" | "simulated";

export interface AttestationVerdict {
  readonly schemaVersion: 1;
  readonly decision: AttestationDecision;
  /** A verdict made from options authorizes nothing on a site. */
  readonly scope: "advisory";
  readonly subject: {
    /** SHA-256 of the signed part of the report: of two files with the same, only padding differs. */
    readonly report: Digest | null;
    /** SHA-256 of the evidence as it was given. */
    readonly evidence: Digest;
  };
  readonly policy: { readonly name: string; readonly digest: Digest };
  /** The release of whose launch digests the report's had to be one; null if none was given. */
  readonly reference: Digest | null;
  /** Of each file that was looked at. */
  readonly collateral: readonly { readonly name: string; readonly digest: Digest }[];
  readonly time: { readonly at: string; readonly source: "host-clock" | "option" };
  /** What stood around the process that read the evidence (../cage/run-cage.ts); null if it was none of its own. */
  readonly cage: { readonly network: boolean; readonly user: boolean } | null;
  /** Until when the same collateral will do (RFC 3339): fetch it again before. Null unless the report is genuine. */
  readonly usableUntil: string | null;
  /** What of it ends then; null exactly if `usableUntil` is. */
  readonly endsFirst: string | null;
  /** What the report says, readable; null unless it is proven to be genuine. */
  readonly claims: Readonly<Record<string, string | number | boolean>> | null;
  readonly assurance: Assurance;
  readonly findings: readonly AttestationFinding[];
}

/** Evidence chooses some texts; a finding needs the beginning. */
const TEXT_MAX_LENGTH = 2048;

const bounded = (text: string): string => (text.length > TEXT_MAX_LENGTH ? `${text.slice(0, TEXT_MAX_LENGTH)}…` : text);

export function attestationPassed(check: AttestationCheck, message: string): AttestationFinding {
  return { check, status: "pass", code: "", message: bounded(message), reason: "" };
}

export function attestationFailed(check: AttestationCheck, code: string, message: string): AttestationFinding {
  return { check, status: "fail", code, message: bounded(message), reason: "" };
}

export function attestationUnchecked(check: AttestationCheck, reason: string): AttestationFinding {
  return { check, status: "not-checked", code: "NOT_CHECKED", message: "not checked", reason };
}

/**
 * Allows only if every check has exactly one finding, none failed, and each that was not made is one that the
 * policy itself calls `unchecked`. The only place where findings become a decision.
 */
export function decideAttestation(findings: readonly AttestationFinding[], policy: AnyPolicy): AttestationDecision {
  const mayStayUnchecked = uncheckedBy(policy);
  const checks: readonly AttestationCheck[] = isTdxPolicy(policy) ? TDX_CHECKS : ATTESTATION_CHECKS;
  const holds = checks.every((check) => {
    const [own, ...more] = findings.filter((finding) => finding.check === check);
    if (own === undefined || more.length > 0) return false;
    return own.status === "pass" || (own.status === "not-checked" && mayStayUnchecked.has(check));
  });
  if (!holds) return "deny";
  return policy.kind === "sev-snp" || policy.kind === "tdx" ? "allow" : "simulated";
}

/** Of findings by `appraiseEvidence`; `release` is what the challenge named, or null. */
export function assuranceOf(findings: readonly AttestationFinding[], release: Digest | null): Assurance {
  const holds = (check: AttestationCheck): boolean =>
    findings.some((finding) => finding.check === check && finding.status === "pass");
  const bootMeasured = holds("measurement") && (holds("vtpm-pcrs") || !holds("vtpm-quote"));
  const bindings = { chip: "chip-allowed", "host-data": "host-data", "id-key": "id-key" } as const;
  return {
    bootMeasured,
    rootfsMeasured: bootMeasured && holds("rootfs"),
    releaseAsserted: holds("nonce") ? release : null,
    boundBy: (["chip", "host-data", "id-key"] as const).filter((name) => holds(bindings[name])),
  };
}

/**
 * What is missing before a site may rely on it (site policy `required`, and each release of a key): the first
 * two and one binding. Empty if nothing is. Says nothing about the decision.
 */
export function assuranceProblems({ bootMeasured, rootfsMeasured, boundBy }: Assurance): string[] {
  return [
    ...(bootMeasured ? [] : ["what the machine was started from is not measured"]),
    ...(rootfsMeasured ? [] : ["its root file system is not measured (rootfs in the policy)"]),
    ...(boundBy.length > 0 ? [] : ["nothing ties it to one machine or site (chips, hostData or idKeys in the policy)"]),
  ];
}

const text = { type: "string", maxLength: 4096 };
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const closed = (properties: Record<string, object>): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

/** Published as `sealift schema attestation-verdict`. */
export const attestationVerdictSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation verdict",
  ...closed({
    schemaVersion: { const: 1 },
    decision: { enum: ["allow", "deny", "simulated"] },
    scope: { const: "advisory" },
    subject: closed({ report: { anyOf: [digest, { type: "null" }] }, evidence: digest }),
    policy: closed({ name: text, digest }),
    reference: { anyOf: [digest, { type: "null" }] },
    collateral: { type: "array", maxItems: 64, items: closed({ name: text, digest }) },
    time: closed({ at: text, source: { enum: ["host-clock", "option"] } }),
    cage: { anyOf: [closed({ network: { type: "boolean" }, user: { type: "boolean" } }), { type: "null" }] },
    usableUntil: { anyOf: [text, { type: "null" }] },
    endsFirst: { anyOf: [text, { type: "null" }] },
    claims: {
      anyOf: [
        {
          type: "object",
          maxProperties: 64,
          additionalProperties: { anyOf: [text, { type: "number" }, { type: "boolean" }] },
        },
        { type: "null" },
      ],
    },
    assurance: closed({
      bootMeasured: { type: "boolean" },
      rootfsMeasured: { type: "boolean" },
      releaseAsserted: { anyOf: [digest, { type: "null" }] },
      boundBy: { type: "array", uniqueItems: true, items: { enum: ["chip", "host-data", "id-key"] } },
    }),
    findings: {
      type: "array",
      maxItems: ALL_CHECKS.length,
      items: closed({
        check: { enum: ALL_CHECKS },
        status: { enum: ["pass", "fail", "not-checked"] },
        code: text,
        message: text,
        reason: text,
      }),
    },
  }),
};

/** What is wrong with `value` as a verdict, or undefined. */
export function attestationVerdictProblem(value: unknown): string | undefined {
  return schemaProblem(attestationVerdictSchema, value);
}
