/**
 * Seeded mutants of a signed bundle (test/support/mutants.ts), none of which may be allowed, crash the verifier,
 * take longer than 10 s or more than 250 MB; what is said about them must not act on a terminal or a browser.
 * One in 200 goes through the real cage too, and one in ten lies on a medium that answers a second read with
 * other bytes. Writes test/evidence/verify-mutants.json, and goes on from there if it was stopped.
 * SEALIFT_TEST_SEED (1) decides; another seed begins anew. SEALIFT_TEST_SECONDS ends the sitting after so long.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { type Campaign, countOne, saveEvidence, takeUp } from "../support/evidence-file.ts";
import {
  JudgeProcess,
  judgeInCage,
  requireDenied,
  requireDeniedInCage,
  requireHarmless,
} from "../support/judge-process.ts";
import { layMutant, type Mutant, makeMutant, unmutated } from "../support/mutants.ts";
import { scratch } from "../support/scratch.ts";

const MUTANTS = 12_000;
const CAGED_EACH = 200;
const SHIFTING_EACH = 10;
/** Then a new process judges, so that its memory is that of few mutants; of a costly one, its own. */
const ASKED_MAX = 250;
const SECONDS_MAX = 10;
const MEGABYTES_MAX = 250;
const EVIDENCE = fileURLToPath(new URL("../evidence/verify-mutants.json", import.meta.url));
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const SITTING_MS = 1_000 * Number(process.env["SEALIFT_TEST_SECONDS"] ?? Number.POSITIVE_INFINITY);
interface Evidence extends Campaign {
  caged: number;
  shifting: number;
  slowestMs: number;
  /** The most that the verifier's process had, Node and all: a process judges up to 250 mutants. */
  megabytes: number;
  readonly kinds: Record<string, number>;
  /** How often each code was the first that denied. */
  readonly codes: Record<string, number>;
}

const FRESH = { commits: [], isComplete: false, mutants: 0, caged: 0, shifting: 0, slowestMs: 0, megabytes: 0 };

function isCostly({ kind }: Mutant): boolean {
  return kind === "documents too large or too deep";
}

/**
 * The medium answers with the mutant first and with the good bundle when all is hashed, or the other way
 * round. What is allowed then must be the good release, read as such: nothing of the mutant can be in it.
 */
async function judgeShifting(judge: JudgeProcess, path: string, mutant: Mutant, number: number): Promise<void> {
  const good = unmutated();
  const [first, then] = number % 2 === 0 ? [mutant.bytes, good.bytes] : [good.bytes, mutant.bytes];
  writeFileSync(path, first);
  writeFileSync(`${path}.then`, then);
  const answer = await judge.verify(path, mutant.trustFiles, { path, from: `${path}.then` });
  if (!("verdict" in answer)) return;
  const { verdict } = answer;
  if (verdict.decision === "allow") assert.equal(verdict.subject.digest, good.digest);
  requireHarmless(verdict);
}

test(`${MUTANTS} mutants, seed ${SEED}`, async (t) => {
  const evidence = takeUp<Evidence>(EVIDENCE, { seed: SEED, ...FRESH, kinds: {}, codes: {} });
  const path = join(await scratch(t), "bundle");
  let judge = new JudgeProcess();
  t.after(() => judge.end());
  const end = performance.now() + SITTING_MS;
  for (let i = evidence.mutants; i < MUTANTS && performance.now() < end; i += 1) {
    const mutant = makeMutant(SEED, i);
    try {
      layMutant(path, mutant);
      if (isCostly(mutant) || i % ASKED_MAX === 0) {
        judge.end();
        judge = new JudgeProcess();
      }
      const answer = await judge.verify(path, mutant.trustFiles);
      const { ms, megabytes } = answer;
      const code = "verdict" in answer ? requireDenied(answer.verdict) : answer.refused;
      if ("verdict" in answer) requireHarmless(answer.verdict);
      evidence.slowestMs = Math.max(evidence.slowestMs, Math.round(ms));
      if (i % CAGED_EACH === 0) {
        requireDeniedInCage(await judgeInCage(path, mutant.trustFiles));
        evidence.caged += 1;
      }
      if (i % SHIFTING_EACH === 0 && !mutant.directory) {
        await judgeShifting(judge, path, mutant, i / SHIFTING_EACH);
        evidence.shifting += 1;
      }
      countOne(evidence.kinds, mutant.kind);
      countOne(evidence.codes, code);
      assert.ok(ms < 1000 * SECONDS_MAX, `${ms} ms`);
      assert.ok(megabytes <= MEGABYTES_MAX, `${megabytes} MB`);
      evidence.megabytes = Math.max(evidence.megabytes, megabytes);
    } catch (cause) {
      const kept = join(import.meta.dirname, "../evidence", "verify-mutants.failed");
      layMutant(kept, mutant);
      throw new Error(`mutant ${i} of seed ${SEED}, kept in ${kept}: ${mutant.kind}: ${mutant.what}`, { cause });
    }
    evidence.mutants = i + 1;
    if (i % 100 === 0) saveEvidence(EVIDENCE, evidence);
  }
  evidence.isComplete = evidence.mutants === MUTANTS;
  saveEvidence(EVIDENCE, evidence);
  t.diagnostic(`${evidence.mutants} mutants, slowest ${evidence.slowestMs} ms, at most ${evidence.megabytes} MB`);
});
