/**
 * Appraises evidence in a caged process, because its parsers read bytes that a hostile host has chosen. What
 * comes back is believed only as far as it can be checked out here.
 */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { digestOf } from "../../bundles/model/digest.ts";
import { Cage } from "../cage/run-cage.ts";
import { verifyError } from "../error.ts";
import type { AttestationCase } from "./appraise-evidence.ts";
import { parseAttestationPolicy } from "./attestation-policy.ts";
import {
  type AttestationVerdict,
  assuranceOf,
  attestationVerdictProblem,
  decideAttestation,
} from "./attestation-verdict.ts";
import { releaseAsked } from "./challenge.ts";

/** Parent → judge, one line. Bytes are base64. */
export interface CagedCase {
  readonly id: string;
  readonly evidence: string;
  readonly collateral: readonly { readonly name: string; readonly base64: string }[];
  readonly policy: string;
  readonly nonce: string | null;
  readonly challenge: string | null;
  readonly reference: AttestationCase["reference"];
  readonly time: AttestationVerdict["time"];
}

/** An appraisal takes some milliseconds; a parser that hangs must not hold the verifier. */
const JUDGE_MAX_MS = 60_000;
const NO_FILES = { kind: "directory", location: "", files: [] } as const;

/** @throws ATTEST_POLICY_MALFORMED | ATTEST_POLICY_WEAK | ATTEST_CHALLENGE_MALFORMED, and CAGE_FAILED if the process does not answer as it must. */
export async function appraiseInCage(question: AttestationCase, judgeScript = "judge.ts"): Promise<AttestationVerdict> {
  // Policy and challenge are the relying party's own files, so they may be parsed outside.
  const { policy, digest } = parseAttestationPolicy(question.policyBytes);
  const release = releaseAsked(question.challenge);
  const cage = new Cage(NO_FILES);
  try {
    const id = randomUUID();
    const judge = cage.start(`../attestation/${judgeScript}`);
    judge.send({
      id,
      evidence: question.evidence.toString("base64"),
      collateral: question.collateral.map(({ name, bytes }) => ({ name, base64: bytes.toString("base64") })),
      policy: question.policyBytes.toString("base64"),
      nonce: question.nonce?.toString("base64") ?? null,
      challenge: question.challenge?.toString("base64") ?? null,
      reference: question.reference ?? null,
      time: question.time,
    } satisfies CagedCase);
    const verdict = parseAnswer(await judge.next(JUDGE_MAX_MS), id);
    const own = {
      decision: decideAttestation(verdict.findings, policy),
      assurance: assuranceOf(verdict.findings, release),
      policy: { name: policy.name, digest },
      reference: question.reference?.release ?? null,
      time: question.time,
      collateral: question.collateral.map(({ name, bytes }) => ({ name, digest: digestOf(bytes) })),
      subject: { ...verdict.subject, evidence: digestOf(question.evidence) },
    };
    if (!isDeepStrictEqual({ ...verdict, ...own }, verdict)) {
      throw verifyError("CAGE_FAILED", "the caged verifier's verdict contradicts itself or its question");
    }
    return { ...verdict, cage: cage.walls };
  } finally {
    cage.close();
  }
}

function parseAnswer(line: string, id: string): AttestationVerdict {
  let answer: { readonly id?: unknown; readonly verdict?: unknown };
  try {
    answer = JSON.parse(line) as typeof answer;
  } catch {
    throw verifyError("CAGE_FAILED", "the caged verifier's answer is not JSON");
  }
  if (answer.id !== id) throw verifyError("CAGE_FAILED", "the caged verifier's verdict answers another question");
  const problem = attestationVerdictProblem(answer.verdict);
  if (problem !== undefined) throw verifyError("CAGE_FAILED", `the caged verifier's verdict: ${problem}`);
  return answer.verdict as AttestationVerdict;
}
