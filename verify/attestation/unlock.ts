/**
 * The verifier's part of the release of a site's key: canaries, appraisal, what a site may rely on, and only then
 * the sealed key with a signed receipt. Runs on the verifier's machine, never on the host that is judged.
 */
import { randomBytes } from "node:crypto";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { AttestationCase } from "./appraise-evidence.ts";
import { type AttestationVerdict, assuranceProblems } from "./attestation-verdict.ts";
import { type Appraiser, type makeCanaries, runCanaries } from "./canaries.ts";
import { type Challenge, type CompleteChallenge, isComplete, readChallenge } from "./challenge.ts";
import { attestationError } from "./error.ts";
import { type BoundKeys, readEvidence } from "./evidence.ts";
import { type Receipt, sealedDigest, verdictDigest, writeReleaseFile } from "./release-file.ts";
import { sealKey } from "./sealed-key.ts";

const HOUR_MS = 3_600_000;
/** What stands in for the site's key where evidence is simulated: made up on the spot and known to nobody. */
const NO_KEY_BYTES = 32;

export interface UnlockQuestion {
  readonly challenge: Buffer;
  readonly evidence: Buffer;
  readonly collateral: AttestationCase["collateral"];
  readonly policyBytes: Buffer;
  /** SHA-256 of the host key (SubjectPublicKeyInfo) that the verifier knows of this site. */
  readonly hostKey: Digest;
  readonly unlockKey: Buffer;
  readonly now: Date;
  /** How long the site counts as attested, from now on. */
  readonly validHours: number;
  /** As in an `AttestationCase`. */
  readonly reference?: AttestationCase["reference"];
}

export interface UnlockMeans {
  readonly appraise: Appraiser;
  /** Tests show some that were made before; else they are made in each run. */
  readonly canaries?: ReturnType<typeof makeCanaries> | undefined;
  /** An OpenSSH signature over the bytes, in `ATTESTATION_NAMESPACE`. */
  readonly sign: (receipt: Buffer) => Promise<Buffer>;
}

export interface Unlocked {
  readonly verdict: AttestationVerdict;
  /** Undefined if the verdict denies. */
  readonly receipt?: Receipt;
  readonly file?: Buffer;
}

/**
 * A denial is in the verdict, and then there is no file. For simulated evidence there is one, so that the way can be
 * tried, with a key that opens nothing.
 * @throws ATTEST_CANARY_ACCEPTED | ATTEST_CANARY_MISJUDGED | ATTEST_CHALLENGE_MALFORMED | ATTEST_CHALLENGE_INCOMPLETE |
 * ATTEST_EVIDENCE_MALFORMED | ATTEST_KEYS_MISSING | ATTEST_HOST_KEY_OTHER | ATTEST_ASSURANCE_LOW | ATTEST_POLICY_MALFORMED |
 * ATTEST_POLICY_WEAK | CAGE_FAILED, and what `sign` throws
 */
export async function unlock(
  question: UnlockQuestion,
  { appraise, canaries: made, sign }: UnlockMeans,
): Promise<Unlocked> {
  const challenge = completeChallenge(question.challenge);
  const { evidence, collateral, policyBytes, now } = question;
  const canaries = await runCanaries(policyBytes, now, appraise, made);
  const verdict = await appraise({
    evidence,
    collateral,
    policyBytes,
    nonce: null,
    challenge: question.challenge,
    reference: question.reference ?? null,
    time: { at: now.toISOString(), source: "host-clock" },
  });
  const { decision, subject } = verdict;
  if (decision === "deny" || subject.report === null) return { verdict };
  // Read outside the cage only now: it is a genuine machine's, or our own simulator's.
  const keys = requireKeys(evidence, question.hostKey);
  requireAssurance(verdict);
  const unlockKey = decision === "allow" ? question.unlockKey : randomBytes(NO_KEY_BYTES);
  const to = { challenge: digestOf(question.challenge), verdict: verdictDigest(verdict), siteId: challenge.siteId };
  const sealed = await sealKey(unlockKey, keys.transportKey, to);
  const receipt: Receipt = {
    schemaVersion: 1,
    kind: "sealift-attestation-receipt",
    decision,
    ...to,
    release: challenge.release as Digest,
    ledgerHead: challenge.ledgerHead as Digest,
    policy: verdict.policy.digest,
    evidence: subject.evidence,
    report: subject.report,
    collateral: verdict.collateral,
    assurance: verdict.assurance,
    canaries,
    hostKey: digestOf(keys.hostKey),
    transportKey: digestOf(keys.transportKey),
    time: now.toISOString(),
    openUntil: challenge.expires,
    validUntil: new Date(now.getTime() + question.validHours * HOUR_MS).toISOString(),
    sealed: sealedDigest(sealed),
  };
  const receiptBytes = canonicalJson(receipt);
  const signature = await sign(receiptBytes);
  return { verdict, receipt, file: writeReleaseFile({ receiptBytes, signature, sealed }) };
}

function completeChallenge(bytes: Buffer): Challenge & CompleteChallenge {
  const challenge = readChallenge(bytes);
  if (isComplete(challenge)) return challenge;
  throw attestationError("ATTEST_CHALLENGE_INCOMPLETE", "challenge: it names no release, site or ledger head", {
    hints: ["sealift attest challenge --release DIGEST --site ID --ledger-head DIGEST"],
  });
}

function requireKeys(evidence: Buffer, hostKey: Digest): BoundKeys {
  const { keys } = readEvidence(evidence);
  if (keys === null) {
    throw attestationError("ATTEST_KEYS_MISSING", "evidence: it brings no key to which a secret could be sealed", {
      hints: [
        "on the site: sealift attest collect --challenge FILE, with a challenge that names release, site and ledger",
      ],
    });
  }
  const got = digestOf(keys.hostKey);
  if (got !== hostKey) {
    throw attestationError("ATTEST_HOST_KEY_OTHER", `evidence: got host key ${got}, want ${hostKey}`, {
      hints: ["another machine answered, or the site was made anew: ask its operators by another way than this medium"],
    });
  }
  return keys;
}

/** Whatever the policy leaves unchecked: a key goes only to a machine that is known this well. */
function requireAssurance({ assurance }: AttestationVerdict): void {
  const problems = assuranceProblems(assurance);
  if (problems.length === 0) return;
  throw attestationError("ATTEST_ASSURANCE_LOW", `the verdict allows, but no key is released: ${problems.join("; ")}`);
}
