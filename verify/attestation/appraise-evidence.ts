/** From the bytes of evidence, collateral and policy to a verdict: parse, verify, appraise, in this order. */
import { createPublicKey, verify } from "node:crypto";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { type AppraisalQuestion, appraise, notAppraised, type ReferenceValues, usableUntil } from "./appraise.ts";
import { type AttestationPolicy, parseAttestationPolicy } from "./attestation-policy.ts";
import {
  type AttestationFinding,
  type AttestationVerdict,
  assuranceOf,
  attestationFailed,
  attestationPassed,
  attestationUnchecked,
  decideAttestation,
  GENUINENESS_CHECKS,
} from "./attestation-verdict.ts";
import { type ReadCertificate, type RevocationList, readCertificates, readRevocationList } from "./certificate.ts";
import { challengeReportData, keyedReportData, readChallenge, releaseAsked } from "./challenge.ts";
import { attestationError } from "./error.ts";
import { type BoundKeys, type Evidence, hostKeyMessage, readEvidence } from "./evidence.ts";
import { reportDataOf } from "./report-data.ts";
import { parseSnpReport, SNP_SIGNED_BYTES, type SnpReport } from "./snp-report.ts";
import { type Authority, type GenuineReport, type SnpCollateral, tcbText, verifySnpReport } from "./verify-snp.ts";

/** A site with some machines has a certificate for each chip and firmware. */
export const COLLATERAL_FILES_MAX = 64;

export interface AttestationCase {
  readonly evidence: Buffer;
  /** Certificates and revocation lists, DER or PEM. */
  readonly collateral: readonly { readonly name: string; readonly bytes: Buffer }[];
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
    usableUntil: judged.genuine && usableUntil(judged.genuine, policy).toISOString(),
    claims: judged.genuine && claimsOf(judged.genuine),
    assurance: assuranceOf(judged.findings, releaseAsked(question.challenge)),
    findings: judged.findings,
  };
}

interface Judged {
  readonly findings: readonly AttestationFinding[];
  readonly report: AttestationVerdict["subject"]["report"];
  readonly genuine: GenuineReport | null;
}

function judge(question: AttestationCase, policy: AttestationPolicy, policyDigest: Digest): Judged {
  const parsed = parseAll(question);
  if ("failure" in parsed) {
    const unmade = GENUINENESS_CHECKS.slice(1).map((name) => attestationUnchecked(name, "the evidence cannot be read"));
    return { findings: [parsed.failure, ...unmade, ...notAppraised()], report: null, genuine: null };
  }
  const { report, evidence, collateral } = parsed;
  const at = new Date(question.time.at);
  const { findings, genuine } = verifySnpReport(report, collateral, at, authorityOf(policy));
  const asked: AppraisalQuestion = {
    policy,
    at,
    reportData: wantedReportData(question, evidence, policyDigest),
    reference: question.reference ?? null,
  };
  const read = attestationPassed("evidence", `SEV-SNP report, version ${report.version}`);
  return {
    findings: [read, ...findings, ...(genuine ? appraise(genuine, asked) : notAppraised())],
    report: digestOf(report.bytes.subarray(0, SNP_SIGNED_BYTES)),
    genuine,
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

/** The only place where it is said whose root counts, and it takes no word for it but the policy's kind. */
function authorityOf({ kind, simulatedRoot }: AttestationPolicy): Authority {
  return kind === "sev-snp-simulated" && simulatedRoot !== undefined
    ? { kind: "simulated", root: simulatedRoot }
    : { kind: "amd" };
}

type Parsed =
  | { readonly failure: AttestationFinding }
  | { readonly report: SnpReport; readonly evidence: Evidence; readonly collateral: SnpCollateral };

function parseAll(question: AttestationCase): Parsed {
  try {
    const evidence = readEvidence(question.evidence);
    return {
      evidence,
      report: parseSnpReport(evidence.report),
      collateral: readCollateral(question.collateral, evidence),
    };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    return { failure: attestationFailed("evidence", cause.code, cause.message) };
  }
}

function readCollateral(files: AttestationCase["collateral"], evidence: Evidence): SnpCollateral {
  if (files.length > COLLATERAL_FILES_MAX) {
    throw attestationError(
      "ATTEST_EVIDENCE_MALFORMED",
      `collateral: got ${files.length} files, want at most ${COLLATERAL_FILES_MAX}`,
    );
  }
  const certificates: ReadCertificate[] = [];
  const revocationLists: RevocationList[] = [];
  for (const { name, bytes } of files) {
    const read = readCollateralFile(name, bytes);
    certificates.push(...read.certificates);
    revocationLists.push(...read.revocationLists);
  }
  const given = evidence.certificates.flatMap((bytes) => readCertificates(bytes));
  return { certificates: [...certificates, ...given], revocationLists };
}

/** By what it holds, not by its name. */
function readCollateralFile(name: string, bytes: Buffer): SnpCollateral {
  try {
    return { certificates: readCertificates(bytes), revocationLists: [] };
  } catch (notCertificate) {
    try {
      return { certificates: [], revocationLists: [readRevocationList(bytes)] };
    } catch (notList) {
      const reason = /\.crl(?:\.pem)?$/i.test(name) ? notList : notCertificate;
      if (!(reason instanceof SealiftError)) throw reason;
      throw new SealiftError(reason.code, reason.exit, `collateral ${JSON.stringify(name)}: ${reason.message}`);
    }
  }
}

/** What a person wants to know of a genuine report, and what a policy is written from. */
function claimsOf({ report, product, tcb }: GenuineReport): NonNullable<AttestationVerdict["claims"]> {
  const { guestPolicy, firmware, mitigations } = report;
  const hex = (bytes: Buffer): string => bytes.toString("hex");
  const text = (version: { major: number; minor: number; build: number }): string =>
    `${version.major}.${version.minor}.${version.build}`;
  return {
    product,
    reportVersion: report.version,
    signer: report.signer,
    measurement: hex(report.measurement),
    reportData: hex(report.reportData),
    hostData: hex(report.hostData),
    chipId: hex(report.chipId),
    reportId: hex(report.reportId),
    familyId: hex(report.familyId),
    imageId: hex(report.imageId),
    idKeyDigest: hex(report.idKeyDigest),
    authorKeyDigest: hex(report.authorKeyDigest),
    vmpl: report.vmpl,
    guestSvn: report.guestSvn,
    guestAbi: `${guestPolicy.abiMajor}.${guestPolicy.abiMinor}`,
    debugAllowed: guestPolicy.debugAllowed,
    migrationAllowed: guestPolicy.migrationAllowed,
    smtAllowed: guestPolicy.smtAllowed,
    platformInfo: `0x${report.platform.raw.toString(16)}`,
    firmwareCurrent: text(firmware.current),
    firmwareCommitted: text(firmware.committed),
    tcbReported: tcbText(product, tcb.reported),
    tcbCurrent: tcbText(product, tcb.current),
    tcbCommitted: tcbText(product, tcb.committed),
    tcbLaunch: tcbText(product, tcb.launch),
    ...(mitigations && {
      mitigationsLaunch: `0x${mitigations.launch.toString(16)}`,
      mitigationsCurrent: `0x${mitigations.current.toString(16)}`,
    }),
  };
}
