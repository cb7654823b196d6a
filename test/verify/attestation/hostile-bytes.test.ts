import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import { writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import {
  judgeVector,
  SIMULATED_AT,
  SIMULATED_MEASUREMENT,
  SKIP,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
  vector,
  vectorFile,
} from "./evidence.ts";
import { judgeTdx, tdxPlatform } from "./tdx-evidence.ts";

const ROUNDS = 300;

/** A seeded generator (mulberry32), so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** One of: some bytes changed, cut, doubled, a run overwritten with high bytes. */
function mangled(bytes: Buffer, next: (below: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  const at = next(copy.length);
  switch (next(4)) {
    case 0:
      for (let i = 0; i <= next(4); i += 1) copy[next(copy.length)] = next(256);
      return copy;
    case 1:
      return copy.subarray(0, at);
    case 2:
      return Buffer.concat([copy.subarray(0, at), copy]);
    default:
      return copy.fill(0xff, at, Math.min(copy.length, at + 8));
  }
}

test("whatever a host or a courier does to the files, the answer is a verdict, and never an allow", () => {
  const by = simulator();
  const list = by.revocationList({ number: 3, thisUpdate: new Date("2026-06-01"), nextUpdate: new Date("2026-08-01") });
  const report = by.report({ measurement: SIMULATED_MEASUREMENT });
  const evidences = [report, writeCollectedEvidence("sev_guest", report, Buffer.alloc(0))];
  const files = [...simulatedCollateral(by), { name: "ark.crl", bytes: list }];
  const policyBytes = canonicalJson(simulatedPolicy(by, { revocation: { graceDays: 0 } }));
  const next = random(20_260_701);
  const decisions = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const which = next(files.length + 2);
    const evidence = evidences[round % 2] as Buffer;
    const verdict = appraiseEvidence({
      evidence: which >= files.length ? mangled(evidence, next) : report,
      collateral: files.map((file, i) => (i === which ? { ...file, bytes: mangled(file.bytes, next) } : file)),
      policyBytes,
      nonce: null,
      time: { at: SIMULATED_AT, source: "option" },
    });
    decisions.set(verdict.decision, (decisions.get(verdict.decision) ?? 0) + 1);
  }
  assert.ok(!decisions.has("allow"));
  // Bytes that are overwritten with themselves, and a report's twin, are all that may pass.
  assert.ok((decisions.get("deny") ?? 0) > ROUNDS * 0.95, JSON.stringify([...decisions]));
});

test("whatever is done to a quote and what comes with it, the answer is a verdict, and never an allow", () => {
  const quote = tdxPlatform.quote({ version: 5 });
  const evidences = [quote, writeCollectedEvidence("tdx_guest", quote, Buffer.alloc(0))];
  const files = tdxPlatform.collateral();
  const next = random(20_260_701);
  let allowed = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const which = next(files.length + 2);
    const evidence = evidences[round % 2] as Buffer;
    const mangledFile = files[which];
    const verdict = judgeTdx({
      evidence: mangledFile ? evidence : mangled(evidence, next),
      policy: { revocation: { graceDays: 0 } },
      files: mangledFile ? { [mangledFile.name]: mangled(mangledFile.bytes, next) } : {},
    });
    if (verdict.decision !== "deny") allowed += 1;
  }
  // Bytes that are overwritten with themselves may pass.
  assert.ok(allowed < ROUNDS * 0.05, `${allowed} of ${ROUNDS}`);
});

/** The order of P-384 (FIPS 186-5). */
const ORDER = BigInt(
  "0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
);

test("a signature's twin (r, n−s) holds as well, and is the same report to whoever looks at the verdict", {
  skip: SKIP,
}, () => {
  const row = vector("milan-v2");
  const evidence = vectorFile(row.files.report);
  const S_OFFSET = 0x2a0 + 72;
  const s = BigInt(
    `0x${Buffer.from(evidence.subarray(S_OFFSET, S_OFFSET + 48))
      .reverse()
      .toString("hex")}`,
  );
  const twin = Buffer.from(evidence);
  Buffer.from((ORDER - s).toString(16).padStart(96, "0"), "hex")
    .reverse()
    .copy(twin, S_OFFSET);
  const [one, other] = [judgeVector(row), judgeVector(row, {}, { evidence: twin })];
  assert.deepEqual([one.decision, other.decision], ["allow", "allow"]);
  assert.notEqual(one.subject.evidence, other.subject.evidence);
  assert.equal(one.subject.report, other.subject.report);
});
