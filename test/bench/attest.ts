/**
 * How long an appraisal takes: one report, and one TDX quote of a platform made here, warm, in one process; and `sealift attest verify` cold beside
 * `openssl verify` of the same chain, in interleaved rounds. Prints and writes test/evidence/attest-bench.json.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { appraiseEvidence } from "../../verify/attestation/appraise-evidence.ts";
import { TDX_AT } from "../support/tdx-platform.ts";
import { amdCollateral, judgeVector, LEAST_POLICY, vector, vectorFile } from "../verify/attestation/evidence.ts";
import { LEAST_TDX_POLICY, tdxPlatform } from "../verify/attestation/tdx-evidence.ts";

const WARM_ROUNDS = 200;
const COLD_ROUNDS = 9;
const root = fileURLToPath(new URL("../../", import.meta.url));

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const at = (values: readonly number[], share: number): number =>
  Math.round((sorted(values)[Math.floor((values.length - 1) * share)] as number) * 100) / 100;

function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Milliseconds of one run of a command, which must succeed. */
function cold(command: string, args: readonly string[]): number {
  return timed(() => {
    const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit ${status}\n${stderr}`);
  });
}

const row = vector("milan-v3-ms");
const collateral = [
  ...amdCollateral().filter(({ name }) => /milan_a(?:rk|sk)/.test(name)),
  { name: "vek", bytes: vectorFile(row.files.vek) },
];
for (let i = 0; i < 20; i += 1) judgeVector(row, {}, { collateral });
const warm = Array.from({ length: WARM_ROUNDS }, () => timed(() => judgeVector(row, {}, { collateral })));

const tdx = { evidence: tdxPlatform.quote({ version: 5 }), collateral: tdxPlatform.collateral() };
const judgeQuote = (): void => {
  const policyBytes = canonicalJson({ ...LEAST_TDX_POLICY, kind: "tdx-simulated", simulatedRoot: tdxPlatform.root });
  const verdict = appraiseEvidence({ ...tdx, policyBytes, nonce: null, time: { at: TDX_AT, source: "option" } });
  if (verdict.decision !== "simulated") throw new Error(`the quote is judged ${verdict.decision}`);
};
for (let i = 0; i < 20; i += 1) judgeQuote();
const warmTdx = Array.from({ length: WARM_ROUNDS }, () => timed(judgeQuote));

const directory = mkdtempSync(join(tmpdir(), "sealift-bench-"));
try {
  const path = (name: string): string => join(directory, name);
  mkdirSync(path("collateral"));
  for (const { name, bytes } of collateral) writeFileSync(path(`collateral/${name.replace("/", "-")}`), bytes);
  writeFileSync(path("evidence"), vectorFile(row.files.report));
  writeFileSync(path("policy.json"), JSON.stringify({ ...LEAST_POLICY, measurements: [row.measurement] }));
  const pem = (name: string, from: string): string => {
    execFileSync("openssl", ["x509", "-in", path(from), "-out", path(name)]);
    return path(name);
  };
  const ark = pem("ark.pem", "collateral/roots-milan_ark.der");
  const ask = pem("ask.pem", "collateral/roots-milan_ask.der");
  const vek = pem("vek.pem", "collateral/vek");
  const ours = ["attest", "verify", "--evidence", path("evidence"), "--collateral", path("collateral")];
  ours.push("--policy", path("policy.json"), "--at", row.verifyAt);
  const theirs = ["verify", "-no_check_time", "-CAfile", ark, "-untrusted", ask, vek];
  const rounds = Array.from({ length: COLD_ROUNDS }, () => ({
    sealift: cold(join(root, "sealift"), ours),
    openssl: cold("openssl", theirs),
  }));
  const result = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    node: process.version,
    cpu: cpus()[0]?.model,
    warm: { rounds: WARM_ROUNDS, medianMs: at(warm, 0.5), p95Ms: at(warm, 0.95) },
    warmTdx: { rounds: WARM_ROUNDS, medianMs: at(warmTdx, 0.5), p95Ms: at(warmTdx, 0.95) },
    cold: {
      rounds: COLD_ROUNDS,
      sealiftMs: at(
        rounds.map(({ sealift }) => sealift),
        0.5,
      ),
      opensslMs: at(
        rounds.map(({ openssl }) => openssl),
        0.5,
      ),
      note: "openssl checks three certificates; sealift starts two processes, checks them, the report and a policy",
    },
  };
  console.log(JSON.stringify(result, null, 2));
  writeFileSync(join(root, "test/evidence/attest-bench.json"), `${JSON.stringify(result, null, 2)}\n`);
} finally {
  rmSync(directory, { recursive: true });
}
