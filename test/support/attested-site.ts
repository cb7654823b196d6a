/** A site that requires attestation, its verifier, and a simulated processor that answers for its host. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type Answer, answerChallenge } from "../../installer/lifecycle/answer-challenge.ts";
import { headOf } from "../../installer/lifecycle/ledger.ts";
import { policyOfLedger } from "../../installer/lifecycle/policy-change.ts";
import type { Site } from "../../installer/lifecycle/site.ts";
import { signerLineFor } from "../../installer/site/allowed-signers.ts";
import { appraiseEvidence } from "../../verify/attestation/appraise-evidence.ts";
import type { AttestationPolicy } from "../../verify/attestation/attestation-policy.ts";
import { type Appraiser, makeCanaries } from "../../verify/attestation/canaries.ts";
import { makeChallenge } from "../../verify/attestation/challenge.ts";
import { ATTESTATION_NAMESPACE } from "../../verify/attestation/release-file.ts";
import { type UnlockQuestion, unlock } from "../../verify/attestation/unlock.ts";
import { DEFAULT_POLICY, type Policy } from "../../verify/policy.ts";
import {
  SIMULATED_MEASUREMENT,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
} from "../verify/attestation/evidence.ts";
import { importPolicy } from "./enrolled-site.ts";
import { makeSigner, sshSign, type TestSigner } from "./ssh-signer.ts";
import type { TestSite } from "./test-site.ts";

type AttestationMode = NonNullable<Policy["attestation"]>["mode"];

export const NEXT_RELEASE: Digest = digestOf("the release that shall be installed");
export const UNLOCK_KEY = Buffer.from("thirty-two bytes of a site's key");

/** A directory on a tmpfs, or undefined where this machine has none that we may write to. */
export function memoryDirectory(context: { after(work: () => void): void }): string {
  const directory = mkdtempSync("/dev/shm/sealift-test-");
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function strictPolicy(changes: Partial<AttestationPolicy> = {}): Buffer {
  return canonicalJson(
    simulatedPolicy(simulator(), {
      nonce: "required",
      rootfs: [SIMULATED_MEASUREMENT.toString("hex")],
      chips: [simulator().chipId.toString("hex")],
      ...changes,
    }),
  );
}

export interface Verifier {
  readonly principal: string;
  readonly signer: TestSigner;
}

export function makeVerifier(principal = "vera"): Verifier {
  return { principal, signer: makeSigner() };
}

/** A site's policy that asks for attestation by `policy`. */
export function sitePolicyFor(
  mode: AttestationMode,
  { principal, signer }: Verifier,
  version: number,
  policy: Buffer = strictPolicy(),
): Buffer {
  const line = signerLineFor(ATTESTATION_NAMESPACE, { principal, key: signer.key });
  const attestation = {
    mode,
    ...(mode !== "not-required" && { policy: digestOf(policy) }),
    ...(mode === "required" && { verifiers: [line] }),
  };
  return canonicalJson({ ...DEFAULT_POLICY, name: "site", version, attestation });
}

/** Puts it in force as the next version of the site's policy. */
export async function enrolMode(
  site: Site,
  signer: TestSigner,
  mode: AttestationMode,
  verifier: Verifier,
  policy?: Buffer,
): Promise<void> {
  const version = (policyOfLedger(site.ledger.entries).policy.version ?? 0) + 1;
  await importPolicy(site, sitePolicyFor(mode, verifier, version, policy), signer);
}

export interface ChallengeChanges {
  readonly siteId?: string;
  readonly ledgerHead?: Digest;
  readonly release?: Digest;
  readonly policy?: Buffer;
  readonly minutes?: number;
}

/** As `attest challenge` on the verifier's machine, told what the site is at. */
export function challengeFor(site: Site, changes: ChallengeChanges = {}): Buffer {
  const { siteId = site.siteId, ledgerHead = headOf(site.ledger), release = NEXT_RELEASE, minutes = 60 } = changes;
  const policy = digestOf(changes.policy ?? strictPolicy());
  return makeChallenge(policy, { release, siteId, ledgerHead }, site.clock().now, minutes);
}

/** As `attest collect`, with the simulator in the processor's place. */
export function collectFor(site: Site, run: string, challenge: Buffer): Promise<Answer> {
  return answerChallenge(site, run, challenge, (reportData) => ({
    provider: "simulator",
    report: simulator().report({ measurement: SIMULATED_MEASUREMENT, reportData }),
    certificateTable: Buffer.alloc(0),
    leftover: null,
  }));
}

/** An allow cannot be had without AMD's hardware: here the simulator is taken for it, but not by the canaries. */
const asReal: Appraiser = async (question) => {
  const verdict = appraiseEvidence(question);
  return verdict.decision === "simulated" && question.challenge ? { ...verdict, decision: "allow" } : verdict;
};
export const asSimulated: Appraiser = async (question) => appraiseEvidence(question);

/** Made once for all tests: their keys take a while. */
let canaries: ReturnType<typeof makeCanaries> | undefined;

export interface UnlockChanges extends Partial<UnlockQuestion> {
  readonly appraise?: Appraiser;
  readonly namespace?: string;
}

/** As `attest unlock`: the release file. */
export async function unlockFor(
  site: Site,
  { signer }: Verifier,
  challenge: Buffer,
  { evidence, hostKey }: Answer,
  changes: UnlockChanges = {},
): Promise<Buffer> {
  canaries ??= makeCanaries(strictPolicy(), site.clock().now);
  const { appraise = asReal, namespace = ATTESTATION_NAMESPACE, ...question } = changes;
  const { file, verdict } = await unlock(
    {
      challenge,
      evidence,
      collateral: simulatedCollateral(simulator()),
      policyBytes: strictPolicy(),
      hostKey: hostKey as Digest,
      unlockKey: UNLOCK_KEY,
      now: site.clock().now,
      validHours: 24,
      ...question,
    },
    { appraise, canaries, sign: async (receipt) => sshSign(signer, receipt, { namespace }) },
  );
  if (file === undefined)
    throw new Error(`denied: ${JSON.stringify(verdict.findings.filter((f) => f.status === "fail"))}`);
  return file;
}

export interface AttestedSite extends TestSite {
  readonly run: string;
  readonly keyOut: string;
  readonly verifier: Verifier;
}

/** A site on which attestation is required, by a simulated policy. */
export async function requiringSite(made: TestSite, context: { after(work: () => void): void }): Promise<AttestedSite> {
  const run = memoryDirectory(context);
  const verifier = makeVerifier();
  await enrolMode(made.open(), made.alice, "required", verifier);
  return { ...made, run, keyOut: join(run, "unlock.key"), verifier };
}
