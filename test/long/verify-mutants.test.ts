/**
 * Seeded mutants of a signed bundle (test/support/mutants.ts), none of which may be allowed, crash the verifier,
 * take longer than 10 s or more than 250 MB; what is said about them must not act on a terminal or a browser.
 * One in 200 goes through the real cage too, and one in ten lies on a medium that answers a second read with
 * other bytes. Writes test/evidence/verify-mutants.json, and goes on from there if it was stopped.
 * SEALIFT_TEST_SEED (1) decides; another seed begins anew. SEALIFT_TEST_SECONDS ends the sitting after so long.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { verifyInCage } from "../../verify/cage/run-cage.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { renderVerdictHtml } from "../../verify/verdict-html.ts";
import { renderVerdictSarif } from "../../verify/verdict-sarif.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import type { JudgeAnswer, JudgeQuestion } from "../support/judge-worker.ts";
import { layMutant, type Mutant, makeMutant, unmutated } from "../support/mutants.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW } from "../support/signed-bundle.ts";

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
/** Control and format characters, but for the end of a line. */
const ACTING = /[^\P{Cc}\n]|\p{Cf}/u;

interface Evidence {
  readonly seed: number;
  readonly commits: string[];
  isComplete: boolean;
  mutants: number;
  caged: number;
  shifting: number;
  slowestMs: number;
  /** The most that the verifier's process had, Node and all: a process judges up to 250 mutants. */
  megabytes: number;
  readonly kinds: Record<string, number>;
  /** How often each code was the first that denied. */
  readonly codes: Record<string, number>;
}

function begin(): Evidence {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  const fresh = { mutants: 0, caged: 0, shifting: 0, slowestMs: 0, megabytes: 0, kinds: {}, codes: {} };
  const before = existsSync(EVIDENCE) ? (JSON.parse(readFileSync(EVIDENCE, "utf8")) as Evidence) : undefined;
  const evidence: Evidence =
    before?.seed === SEED && !before.isComplete ? before : { seed: SEED, commits: [], isComplete: false, ...fresh };
  if (evidence.commits.at(-1) !== commit) evidence.commits.push(commit);
  return evidence;
}

function save(evidence: Evidence): void {
  writeFileSync(`${EVIDENCE}.new`, `${JSON.stringify(evidence, null, 2)}\n`);
  renameSync(`${EVIDENCE}.new`, EVIDENCE);
}

function requireDenied(verdict: Verdict): string {
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(
    verdict.findings.filter(({ status }) => status === "error"),
    [],
  );
  const code = verdict.findings.find(({ status }) => status === "fail")?.code ?? "";
  assert.notEqual(code, "");
  return code;
}

function requireHarmless(verdict: Verdict): void {
  assert.doesNotMatch(renderVerdictText(verdict).join("\n"), ACTING);
  assert.doesNotMatch(renderVerdictHtml(verdict, "0"), ACTING);
  assert.doesNotMatch(renderVerdictHtml(verdict, "0"), /<script>alert|<img/);
  assert.doesNotMatch(JSON.stringify(renderVerdictSarif(verdict, "0")), ACTING);
}

async function judgeInCage(path: string, { trustFiles }: Mutant): Promise<Verdict> {
  const store = openStore(path);
  try {
    return await verifyInCage({
      store,
      trustFiles,
      policyBytes: undefined,
      time: { at: SMALL_NOW, source: "option" },
      scope: "advisory",
      sealiftVersion: "0.1.0",
      onProgress: () => {},
    });
  } finally {
    closeStore(store);
  }
}

/** No verdict is no permission either: what is not even a layout has a code of its own. */
async function requireDeniedInCage(path: string, mutant: Mutant): Promise<void> {
  try {
    requireDenied(await judgeInCage(path, mutant));
  } catch (cause) {
    if (!(cause instanceof SealiftError && cause.code.startsWith("LAYOUT_"))) throw cause;
  }
}

function isCostly({ kind }: Mutant): boolean {
  return kind === "documents too large or too deep";
}

/** The verifier in a process of its own. */
class Judge {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "../support/judge-worker.ts"));
  }

  async ask(path: string, { trustFiles }: Mutant, then?: string) {
    const files = Object.fromEntries([...trustFiles].map(([name, bytes]) => [name, bytes.toString("base64")]));
    const question: JudgeQuestion = { path, trustFiles: files, ...(then !== undefined && { then }) };
    const settled = new AbortController();
    const { signal } = settled;
    const answered = once(this.#child, "message", { signal }) as Promise<[JudgeAnswer]>;
    const ended = once(this.#child, "exit", { signal }).then(() => assert.fail("the verifier ended"));
    this.#child.send(question);
    const [answer] = await Promise.race([answered, ended]);
    ended.catch(() => {});
    settled.abort();
    if ("thrown" in answer) assert.fail(answer.thrown);
    return answer;
  }

  end(): void {
    this.#child.kill();
  }
}

/**
 * The medium answers with the mutant first and with the good bundle when all is hashed, or the other way
 * round. What is allowed then must be the good release, read as such: nothing of the mutant can be in it.
 */
async function judgeShifting(judge: Judge, path: string, mutant: Mutant, number: number): Promise<void> {
  const good = unmutated();
  const [first, then] = number % 2 === 0 ? [mutant.bytes, good.bytes] : [good.bytes, mutant.bytes];
  writeFileSync(path, first);
  writeFileSync(`${path}.then`, then);
  const answer = await judge.ask(path, mutant, `${path}.then`);
  if ("refused" in answer) return;
  const { verdict } = answer;
  if (verdict.decision === "allow") assert.equal(verdict.subject.digest, good.digest);
  requireHarmless(verdict);
}

test(`${MUTANTS} mutants, seed ${SEED}`, async (t) => {
  const evidence = begin();
  const path = join(await scratch(t), "bundle");
  let judge = new Judge();
  t.after(() => judge.end());
  const end = performance.now() + SITTING_MS;
  for (let i = evidence.mutants; i < MUTANTS && performance.now() < end; i += 1) {
    const mutant = makeMutant(SEED, i);
    try {
      layMutant(path, mutant);
      if (isCostly(mutant) || i % ASKED_MAX === 0) {
        judge.end();
        judge = new Judge();
      }
      const answer = await judge.ask(path, mutant);
      const { ms, megabytes } = answer;
      const code = "refused" in answer ? answer.refused : requireDenied(answer.verdict);
      if ("verdict" in answer) requireHarmless(answer.verdict);
      evidence.slowestMs = Math.max(evidence.slowestMs, Math.round(ms));
      if (i % CAGED_EACH === 0) {
        await requireDeniedInCage(path, mutant);
        evidence.caged += 1;
      }
      if (i % SHIFTING_EACH === 0 && !mutant.directory) {
        await judgeShifting(judge, path, mutant, i / SHIFTING_EACH);
        evidence.shifting += 1;
      }
      evidence.kinds[mutant.kind] = (evidence.kinds[mutant.kind] ?? 0) + 1;
      evidence.codes[code] = (evidence.codes[code] ?? 0) + 1;
      assert.ok(ms < 1000 * SECONDS_MAX, `${ms} ms`);
      assert.ok(megabytes <= MEGABYTES_MAX, `${megabytes} MB`);
      evidence.megabytes = Math.max(evidence.megabytes, megabytes);
    } catch (cause) {
      const kept = join(import.meta.dirname, "../evidence", "verify-mutants.failed");
      layMutant(kept, mutant);
      throw new Error(`mutant ${i} of seed ${SEED}, kept in ${kept}: ${mutant.kind}: ${mutant.what}`, { cause });
    }
    evidence.mutants = i + 1;
    if (i % 100 === 0) save(evidence);
  }
  evidence.isComplete = evidence.mutants === MUTANTS;
  save(evidence);
  t.diagnostic(`${evidence.mutants} mutants, slowest ${evidence.slowestMs} ms, at most ${evidence.megabytes} MB`);
});
