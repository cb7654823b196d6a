import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { failed, type Verdict } from "../../verify/verdict.ts";
import { judge } from "../support/judge.ts";
import { layMutant, makeMutant, mutantSeed } from "../support/mutants.ts";
import { scratch } from "../support/scratch.ts";
import { writeTrustFiles } from "../support/signed-bundle.ts";

const MUTANTS = 1000;

/** What is no layout at all is refused before there is a verdict, with a code too. */
function refusedBefore(cause: unknown): Pick<Verdict, "decision" | "findings"> {
  if (!(cause instanceof SealiftError)) throw cause;
  return { decision: "deny", findings: [failed("layout", "bundle", cause.code, cause.message)] };
}

test(`allows none of ${MUTANTS} seeded mutants, and finds a code for each`, async (t) => {
  const seed = mutantSeed();
  t.diagnostic(`SEALIFT_SEED=${seed}`);
  const path = join(await scratch(t), "bundle");
  const byKind = new Map<string, number>();
  for (let i = 0; i < MUTANTS; i += 1) {
    const mutant = makeMutant(seed, i);
    byKind.set(mutant.kind, (byKind.get(mutant.kind) ?? 0) + 1);
    layMutant(path, mutant);
    try {
      const { decision, findings } = await judge(path, mutant).catch(refusedBefore);
      assert.equal(decision, "deny");
      assert.deepEqual(
        findings.filter(({ status }) => status === "error"),
        [],
      );
      assert.ok(findings.some(({ status, code }) => status === "fail" && code !== ""));
    } catch (cause) {
      const kept = await mkdtemp(join(tmpdir(), "sealift-mutant-"));
      layMutant(join(kept, "bundle"), mutant);
      await writeTrustFiles(join(kept, "trust"), mutant.trustFiles);
      throw new Error(`mutant ${i} of SEALIFT_SEED=${seed}, kept in ${kept}: ${mutant.kind}: ${mutant.what}`, {
        cause,
      });
    }
  }
  t.diagnostic([...byKind].map(([kind, count]) => `${count} ${kind}`).join(", "));
});
