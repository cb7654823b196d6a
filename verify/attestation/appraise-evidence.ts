/** From the bytes of evidence, collateral and policy to a verdict: parse, verify, appraise, in this order. */
import { createPublicKey, verify } from "node:crypto";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { type AppraisalQuestion, appraise, notAppraised, type ReferenceValues, usableUntil } from "./appraise.ts";
import { appraiseTdx, type TdxQuestion, tdxNotAppraised, tdxUsableUntil } from "./appraise-tdx.ts";
import { type AnyPolicy, type AttestationPolicy, isTdxPolicy, parseAttestationPolicy } from "./attestation-policy.ts";
import {
  type AttestationCheck,
  type AttestationFinding,
  type AttestationVerdict,
  assuranceOf,
  attestationFailed,
  attestationPassed,
  attestationUnchecked,
  decideAttestation,
  GENUINENESS_CHECKS,
  TDX_GENUINENESS_CHECKS,
} from "./attestation-verdict.ts";
import { readCertificates } from "./certificate.ts";
import { challengeReportData, keyedReportData, readChallenge, releaseAsked } from "./challenge.ts";
import { snpClaims, tdxClaims } from "./claims.ts";
import type { Ending } from "./ending.ts";
import { attestationError } from "./error.ts";
import { type BoundKeys, type Evidence, type EvidenceKind, hostKeyMessage, readEvidence } from "./evidence.ts";
import { type Collateral, type CollateralFile, readCollateral } from "./read-collateral.ts";
import { reportDataOf } from "./report-data.ts";
import { parseSnpReport, SNP_SIGNED_BYTES, type SnpReport } from "./snp-report.ts";
import type { TdxPolicy } from "./tdx-policy.ts";
import { parseTdxQuote, type TdxQuote } from "./tdx-quote.ts";
import { snpAuthorityOf, verifySnpReport } from "./verify-snp.ts";
import { tdxAuthorityOf, verifyTdxQuote } from "./verify-tdx.ts";
import { type VtpmEvidence, verifyVtpm } from "./verify-vtpm.ts";

export interface AttestationCase {
  readonly evidence: Buffer;
  /** Certificates and revocation lists, DER or PEM; for TDX also Intel's signed documents. */
  readonly collateral: readonly CollateralFile[];
  readonly policyBytes: Buffer;
  /** 16 to 64 bytes, of which REPORT_DATA is made by `reportDataOf`. */
  readonly nonce: Buffer | null;
  /** A challenge's bytes, instead of a nonce. */
  readonly challenge?: Buffer | null;
  /** A verified release's launch digests: the report's must be one of them, whatever the policy lists. */
  readonly reference?: ReferenceValues | null;
  readonly time: AttestationVerdict["time"];
}

/** @throws ATTEST_POLICY_MALFORMED | ATTEST_POLICY_WEAK | ATTEST_CHALLENGE_MALFORMED. Whatever is wrong with the evidence is a finding. */
export function appraiseEvidence(question: AttestationCase): AttestationVerdict {
  const { policy, digest } = parseAttestationPolicy(question.policyBytes);
  const judged = judge(question, policy, digest);
  return {
    schemaVersion: 1,
    decision: decideAttestation(judged.findings, policy),
    scope: "advisory",
    subject: { report: judged.report, evidence: digestOf(question.evidence) },
    policy: { name: policy.name, digest },
    reference: question.reference?.release ?? null,
    collateral: question.collateral.map(({ name, bytes }) => ({ name, digest: digestOf(bytes) })),
    time: question.time,
    cage: null,
    usableUntil: judged.usableUntil?.at.toISOString() ?? null,
    endsFirst: judged.usableUntil?.what ?? null,
    claims: judged.claims,
    assurance: assuranceOf(judged.findings, releaseAsked(question.challenge)),
    findings: judged.findings,
  };
}

interface Judged {
  readonly findings: readonly AttestationFinding[];
  readonly report: AttestationVerdict["subject"]["report"];
  readonly usableUntil: Ending | null;
  readonly claims: AttestationVerdict["claims"];
}

/** What the evidence must answer, apart from the policy. */
type Asked = Omit<TdxQuestion, "policy">;
type AskedSnp = Omit<AppraisalQuestion, "policy">;

function judge(question: AttestationCase, policy: AnyPolicy, policyDigest: Digest): Judged {
  const [evidence, unread] = attempt(() => evidenceOf(question, policy));
  if (evidence === undefined) return unjudged(policy, unread);
  const asked: Asked = {
    at: new Date(question.time.at),
    reportData: wantedReportData(question, evidence, policyDigest),
    reference: question.reference ?? null,
  };
  const [judged, unparsed] = attempt(() => {
    const collateral = readCollateral(question.collateral);
    return isTdxPolicy(policy)
      ? judgeTdx(parseTdxQuote(evidence.report), collateral, policy, asked)
      : judgeSnp(parseSnpReport(evidence.report), withHosts(collateral, evidence), policy, {
          ...asked,
          vtpm: evidence.vtpm === null ? null : judgeQuote(evidence.vtpm),
        });
  });
  return judged ?? unjudged(policy, unparsed);
}

/** The result of `work`, or the finding that says why there is none. */
function attempt<T>(work: () => T): readonly [T, undefined] | readonly [undefined, AttestationFinding] {
  try {
    return [work(), undefined];
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return [undefined, attestationFailed("evidence", cause.code, cause.message)];
  }
}

function unjudged(policy: AnyPolicy, failure: AttestationFinding): Judged {
  const checks: readonly AttestationCheck[] = isTdxPolicy(policy) ? TDX_GENUINENESS_CHECKS : GENUINENESS_CHECKS;
  const unmade = checks.slice(1).map((name) => attestationUnchecked(name, "the evidence cannot be read"));
  const unappraised = isTdxPolicy(policy) ? tdxNotAppraised() : notAppraised();
  return { findings: [failure, ...unmade, ...unappraised], report: null, usableUntil: null, claims: null };
}

/** @throws ATTEST_EVIDENCE_MALFORMED, and ATTEST_EVIDENCE_KIND for a policy of another processor */
function evidenceOf({ evidence: bytes }: AttestationCase, policy: AnyPolicy): Evidence {
  const evidence = readEvidence(bytes);
  const wanted: EvidenceKind = isTdxPolicy(policy) ? "tdx" : "sev-snp";
  if (evidence.kind === wanted) return evidence;
  throw attestationError("ATTEST_EVIDENCE_KIND", `evidence: got ${evidence.kind}, want ${wanted} for this policy`);
}

/** With the certificates that the host gave. */
function withHosts(collateral: Collateral, { certificates }: Evidence): Collateral {
  const given = certificates.flatMap((bytes) => readCertificates(bytes));
  return { ...collateral, certificates: [...collateral.certificates, ...given] };
}

function judgeSnp(report: SnpReport, collateral: Collateral, policy: AttestationPolicy, asked: AskedSnp): Judged {
  const { findings, genuine } = verifySnpReport(report, collateral, asked.at, snpAuthorityOf(policy));
  const read = attestationPassed("evidence", `SEV-SNP report, version ${report.version}`);
  return {
    findings: [read, ...findings, ...(genuine ? appraise(genuine, { ...asked, policy }) : notAppraised())],
    report: digestOf(report.bytes.subarray(0, SNP_SIGNED_BYTES)),
    usableUntil: genuine && usableUntil(genuine, policy),
    claims: genuine && snpClaims(genuine),
  };
}

function judgeQuote(evidence: VtpmEvidence): AskedSnp["vtpm"] {
  const [genuine, failure] = attempt(() => verifyVtpm(evidence));
  return genuine ?? [failure.code, failure.message];
}

function judgeTdx(quote: TdxQuote, collateral: Collateral, policy: TdxPolicy, asked: Asked): Judged {
  const { findings, genuine } = verifyTdxQuote(quote, collateral, asked.at, tdxAuthorityOf(policy));
  const read = attestationPassed("evidence", `TDX quote, version ${quote.version}`);
  return {
    findings: [read, ...findings, ...(genuine ? appraiseTdx(genuine, { ...asked, policy }) : tdxNotAppraised())],
    report: digestOf(quote.signed),
    usableUntil: genuine && tdxUsableUntil(genuine, policy),
    claims: genuine && tdxClaims(genuine),
  };
}

/** What the report must carry, or why no report can answer the question. */
function wantedReportData(
  { nonce, challenge = null, reference = null, time }: AttestationCase,
  { reportDataTaken, keys }: Evidence,
  policyDigest: Digest,
): AppraisalQuestion["reportData"] {
  if (reportDataTaken !== null) return ["ATTEST_NONCE_MISSING", `report: it may be old: ${reportDataTaken}`];
  if (challenge === null) {
    if (nonce !== null) return reportDataOf(nonce);
    return ["ATTEST_NONCE_MISSING", "report: it may be old and shown again: no nonce was asked for"];
  }
  const { policy, release, created, expires } = readChallenge(challenge);
  if (policy !== policyDigest) {
    return ["ATTEST_CHALLENGE_POLICY", `challenge: it is for policy ${policy}, got ${policyDigest}`];
  }
  if (reference !== null && release !== null && release !== reference.release) {
    return ["ATTEST_CHALLENGE_RELEASE", `challenge: it is about release ${release}, got ${reference.release}`];
  }
  const at = Date.parse(time.at);
  if (at < Date.parse(created) || at > Date.parse(expires)) {
    return ["ATTEST_CHALLENGE_EXPIRED", `challenge: it counts from ${created} to ${expires}, not at ${time.at}`];
  }
  return keys === null ? challengeReportData(challenge) : answerWithKeys(challenge, keys);
}

function answerWithKeys(challenge: Buffer, keys: BoundKeys): AppraisalQuestion["reportData"] {
  const reportData = keyedReportData(challenge, keys);
  if (reportData === undefined) {
    return [
      "ATTEST_CHALLENGE_INCOMPLETE",
      "challenge: it names no release, site or ledger, but the evidence brings keys",
    ];
  }
  const key = createPublicKey({ key: keys.hostKey, format: "der", type: "spki" });
  if (verify(null, hostKeyMessage(reportData), key, keys.signature)) return reportData;
  return ["ATTEST_HOST_KEY_UNPROVEN", "evidence: the host key that it names has not signed this answer"];
}
