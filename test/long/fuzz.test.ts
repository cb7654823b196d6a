/**
 * Coverage-guided fuzzing of every parser in test/support/fuzz-targets.ts with Jazzer.js (libFuzzer), in turns,
 * the one with the least time first, until each had a minute. SEALIFT_TEST_SECONDS ends the sitting after so long,
 * and the next one goes on; SEALIFT_FUZZ names the only targets, with commas between them: each has one more turn.
 * What the fuzzer has learnt (the corpus) is kept outside the tree. Adds to test/evidence/fuzz.json; a finding ends
 * the test, and its input is kept beside the evidence.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { fuzzTargets } from "../support/fuzz-targets.ts";
import { requirePeer, skipWithout, testCache } from "../support/peers.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FUZZER = join(import.meta.dirname, "fuzzer");
const EVIDENCE = join(ROOT, "test/evidence/fuzz.json");
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const ONLY = process.env["SEALIFT_FUZZ"]?.split(",");
const SITTING_MS = 1_000 * Number(process.env["SEALIFT_TEST_SECONDS"] ?? Number.POSITIVE_INFINITY);
const [TURN_SECONDS, SECONDS_EACH] = [40, 60];
/** One input may not take longer, nor the fuzzer more memory: its own grows by a kilobyte with each input, ours does not. */
const [INPUT_MAX_SECONDS, MEGABYTES_MAX, INPUT_MAX_BYTES] = [10, 4096, 65_536];
/** What is instrumented, by a part of its path. */
const INSTRUMENTED = ["bundles", "sbom", "verify", "installer", "compose"].map((area) => join(ROOT, area, "/"));
const PARSING_PACKAGES = [
  "node_modules/@sigstore/",
  "node_modules/@tufjs/",
  "node_modules/packageurl-js/",
  "node_modules/age-encryption/",
  "node_modules/spdx-expression-parse/",
  "node_modules/yaml/",
];
const FINDING = 77;
const FOUND = join(ROOT, "test/evidence/fuzz.found-");

interface Fuzzed {
  executions: number;
  seconds: number;
  /** Edges of our code and of the packages that parse for us, reached by the corpus. */
  edges: number;
  corpus: number;
}

interface Evidence {
  readonly fuzzer: string;
  readonly commits: string[];
  isComplete: boolean;
  executions: number;
  /** None may be left: what was found is corrected and has a test of its own. */
  findings: number;
  readonly targets: Record<string, Fuzzed>;
}

/** A line for each commit, since corrections in between are what fuzzing is for. */
function readEvidence(): Evidence {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: ROOT }).trim();
  const { dependencies } = JSON.parse(readFileSync(join(FUZZER, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const [fuzzer] = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`) as [string];
  const before = existsSync(EVIDENCE) ? (JSON.parse(readFileSync(EVIDENCE, "utf8")) as Evidence) : undefined;
  const evidence = before ?? { fuzzer, commits: [], isComplete: false, executions: 0, findings: 0, targets: {} };
  if (evidence.commits.at(-1) !== commit) evidence.commits.push(commit);
  return evidence;
}

function nextTarget({ targets }: Evidence): string | undefined {
  const seconds = (name: string): number => targets[name]?.seconds ?? 0;
  const [least] = Object.keys(fuzzTargets).sort((a, b) => seconds(a) - seconds(b));
  return least === undefined || seconds(least) >= SECONDS_EACH ? undefined : least;
}

function save(evidence: Evidence): void {
  evidence.isComplete = nextTarget(evidence) === undefined;
  evidence.executions = Object.values(evidence.targets).reduce((sum, { executions }) => sum + executions, 0);
  writeFileSync(`${EVIDENCE}.new`, `${JSON.stringify(evidence, null, 2)}\n`);
  renameSync(`${EVIDENCE}.new`, EVIDENCE);
}

/** Jazzer.js from its lock, outside the tree: it is no part of this project. */
function bringFuzzer(): string {
  const home = join(testCache(), "fuzzer");
  mkdirSync(home, { recursive: true });
  const [lock, stamp] = [join(FUZZER, "package-lock.json"), join(home, "installed")];
  if (!existsSync(stamp) || !readFileSync(stamp).equals(readFileSync(lock))) {
    for (const name of ["package.json", "package-lock.json"]) cpSync(join(FUZZER, name), join(home, name));
    execFileSync("npm", ["ci", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund"], { stdio: "ignore" });
    cpSync(lock, stamp);
  }
  return join(home, "node_modules/@jazzer.js/core/dist/cli.js");
}

/** The directory in which a target's inputs are kept; target.mjs puts its seeds there. */
function corpusOf(name: string): string {
  const directory = join(testCache(), "fuzz-corpus", name.replaceAll(/[^A-Za-z0-9]+/g, "-"));
  mkdirSync(directory, { recursive: true });
  return directory;
}

function numberIn(output: string, pattern: RegExp): number {
  return Number([...output.matchAll(pattern)].at(-1)?.[1] ?? Number.NaN);
}

function fuzz(cli: string, name: string, evidence: Evidence): void {
  const corpus = corpusOf(name);
  const before = evidence.targets[name] ?? { executions: 0, seconds: 0, edges: 0, corpus: 0 };
  const wanting = SECONDS_EACH - before.seconds;
  const seconds = wanting > 0 ? Math.min(TURN_SECONDS, wanting) : TURN_SECONDS;
  const includes = [...INSTRUMENTED, ...PARSING_PACKAGES].flatMap((part) => ["-i", part]);
  const node = [process.execPath, "--no-warnings", "--import", join(FUZZER, "preload.mjs")];
  const limits = [`-max_total_time=${seconds}`, `-timeout=${INPUT_MAX_SECONDS}`, `-max_len=${INPUT_MAX_BYTES}`];
  const mode = fuzzTargets[name]?.isAsync ? [] : ["--sync"];
  const options = [...limits, `-rss_limit_mb=${MEGABYTES_MAX}`, `-seed=${SEED}`, `-artifact_prefix=${FOUND}`];
  const { status, stderr, stdout } = spawnSync(
    requirePeer("newer-libc"),
    [...node, cli, join(FUZZER, "target.mjs"), corpus, ...mode, ...includes, "--", ...options],
    {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], SEALIFT_FUZZ: name, SEALIFT_FUZZ_CORPUS: corpus },
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const output = `${stdout}${stderr}`;
  const executions = numberIn(output, /^#(\d+)\s+DONE/gm);
  if (status === FINDING) evidence.findings += 1;
  assert.equal(status, 0, output.slice(-4000));
  assert.ok(executions > 0, output.slice(-4000));
  evidence.targets[name] = {
    executions: before.executions + executions,
    seconds: before.seconds + seconds,
    edges: numberIn(output, /cov: (\d+)/g),
    corpus: readdirSync(corpus).length,
  };
}

test("fuzzes each parser", { skip: skipWithout("newer-libc") }, (t) => {
  const cli = bringFuzzer();
  const evidence = readEvidence();
  const end = performance.now() + SITTING_MS;
  try {
    for (const name of ONLY ?? []) {
      fuzz(cli, name, evidence);
      save(evidence);
    }
    for (let name = nextTarget(evidence); name !== undefined && ONLY === undefined && performance.now() < end; ) {
      fuzz(cli, name, evidence);
      save(evidence);
      name = nextTarget(evidence);
    }
  } finally {
    save(evidence);
  }
  t.diagnostic(`${evidence.executions} executions, ${evidence.isComplete ? "complete" : "not complete yet"}`);
});
