/**
 * Seeded mutants of a signed bundle in media parts with parity (test/support/part-mutants.ts): verified, repaired and
 * verified again. Allowed is only what was signed, byte for byte; nothing may crash, take longer than 10 s or more than
 * 250 MB. One in 50 goes through the real cage too, and one in ten lies on a medium that answers a second read with
 * other bytes. Writes test/evidence/part-mutants.json, and goes on from there if it was stopped.
 * SEALIFT_TEST_SEED (1) decides; another seed begins anew. SEALIFT_TEST_SECONDS ends the sitting after so long.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { type Campaign, countOne, saveEvidence, takeUp } from "../support/evidence-file.ts";
import { JudgeProcess, judgeInCage } from "../support/judge-process.ts";
import { unmutated } from "../support/mutants.ts";
import { tryPartMutant, tryShifting } from "../support/part-mutant-trial.ts";
import { layPartMutant, makePartMutant } from "../support/part-mutants.ts";
import { scratch } from "../support/scratch.ts";

const MUTANTS = 4_200;
const CAGED_EACH = 50;
const SHIFTING_EACH = 10;
/** Then a new process judges, so that its memory is that of few mutants. */
const ASKED_MAX = 100;
const SECONDS_MAX = 10;
const MEGABYTES_MAX = 250;
const EVIDENCE = fileURLToPath(new URL("../evidence/part-mutants.json", import.meta.url));
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const SITTING_MS = 1_000 * Number(process.env["SEALIFT_TEST_SECONDS"] ?? Number.POSITIVE_INFINITY);

interface Evidence extends Campaign {
  caged: number;
  shifting: number;
  slowestMs: number;
  /** The most that the process had which verifies and repairs, Node and all: it gets up to 100 mutants. */
  megabytes: number;
  readonly kinds: Record<string, number>;
  /** The code that refused, or "allowed": what was signed, to the last byte. */
  readonly verified: Record<string, number>;
  readonly repaired: Record<string, number>;
  readonly afterRepair: Record<string, number>;
}

const FRESH = { commits: [], isComplete: false, mutants: 0, caged: 0, shifting: 0, slowestMs: 0, megabytes: 0 };

/** The caged verifier allows what the judge alone allowed, and nothing else. */
async function requireSameInCage(path: string, verified: string): Promise<void> {
  const said = await judgeInCage(path, unmutated().trustFiles);
  if (typeof said === "string") assert.equal(said, verified);
  else assert.equal(said.decision, verified === "allowed" ? "allow" : "deny");
}

test(`${MUTANTS} mutants in media parts, seed ${SEED}`, async (t) => {
  const evidence = takeUp<Evidence>(EVIDENCE, {
    ...{ seed: SEED, ...FRESH },
    ...{ kinds: {}, verified: {}, repaired: {}, afterRepair: {} },
  });
  const path = join(await scratch(t), "parts");
  let judge = new JudgeProcess();
  t.after(() => judge.end());
  const end = performance.now() + SITTING_MS;
  for (let i = evidence.mutants; i < MUTANTS && performance.now() < end; i += 1) {
    const mutant = makePartMutant(SEED, i);
    try {
      if (i % ASKED_MAX === 0) {
        judge.end();
        judge = new JudgeProcess();
      }
      const { verified, repaired, after, ms, megabytes } = await tryPartMutant(judge, path, mutant);
      if (i % CAGED_EACH === 0) {
        layPartMutant(path, mutant);
        await requireSameInCage(path, verified);
        evidence.caged += 1;
      }
      if (i % SHIFTING_EACH === 0 && (await tryShifting(judge, path, mutant, i % (2 * SHIFTING_EACH) === 0))) {
        evidence.shifting += 1;
      }
      countOne(evidence.kinds, mutant.kind);
      countOne(evidence.verified, verified);
      countOne(evidence.repaired, repaired);
      countOne(evidence.afterRepair, after);
      evidence.slowestMs = Math.max(evidence.slowestMs, Math.round(ms));
      evidence.megabytes = Math.max(evidence.megabytes, megabytes);
      assert.ok(ms < 1000 * SECONDS_MAX, `${ms} ms`);
      assert.ok(megabytes <= MEGABYTES_MAX, `${megabytes} MB`);
    } catch (cause) {
      const kept = join(import.meta.dirname, "../evidence", "part-mutants.failed");
      layPartMutant(kept, mutant);
      throw new Error(`mutant ${i} of seed ${SEED}, kept in ${kept}: ${mutant.kind}: ${mutant.what}`, { cause });
    }
    evidence.mutants = i + 1;
    if (i % 100 === 0) saveEvidence(EVIDENCE, evidence);
  }
  evidence.isComplete = evidence.mutants === MUTANTS;
  saveEvidence(EVIDENCE, evidence);
  t.diagnostic(`${evidence.mutants} mutants, slowest ${evidence.slowestMs} ms, at most ${evidence.megabytes} MB`);
});
