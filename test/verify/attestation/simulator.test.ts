import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import { readCertificates } from "../../../verify/attestation/certificate.ts";
import { Simulator } from "../../../verify/attestation/simulator.ts";
import {
  amdCollateral,
  failures,
  LEAST_POLICY,
  SIMULATED_AT,
  SIMULATED_FROM,
  SIMULATED_MEASUREMENT,
  SKIP,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
  vector,
  vectorFile,
} from "./evidence.ts";

const production: AttestationPolicy = { ...LEAST_POLICY, measurements: [SIMULATED_MEASUREMENT.toString("hex")] };

function judge(by: Simulator, policy: AttestationPolicy, more: readonly { name: string; bytes: Buffer }[] = []) {
  return appraiseEvidence({
    evidence: by.report({ measurement: SIMULATED_MEASUREMENT }),
    collateral: [...simulatedCollateral(by), ...more],
    policyBytes: canonicalJson(policy),
    nonce: null,
    time: { at: SIMULATED_AT, source: "option" },
  });
}

test("no production policy takes the simulator's evidence", () => {
  const verdict = judge(simulator(), production);
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(failures(verdict), { chain: "ATTEST_ROOT_UNKNOWN" });
  assert.equal(verdict.claims, null);
});

test("an impostor with AMD's names is kept out by nothing but the pinned key", () => {
  const impostor = new Simulator({ impostor: true, rsaBits: 2048, notBefore: SIMULATED_FROM });
  const names = simulatedCollateral(impostor)
    .flatMap(({ bytes }) => readCertificates(bytes))
    .map(({ commonName }) => commonName);
  assert.deepEqual(names, ["ARK-Milan", "SEV-Milan", "SEV-VCEK"]);
  const verdict = judge(impostor, production);
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(failures(verdict), { chain: "ATTEST_ROOT_UNKNOWN" });
  assert.match(verdict.findings.find(({ check }) => check === "chain")?.message ?? "", /not the pinned one/);
  const named = judge(impostor, simulatedPolicy(impostor));
  assert.deepEqual(
    failures(named),
    { chain: "ATTEST_ROOT_UNKNOWN" },
    "nor does a simulation policy that names its root",
  );
});

test("an impostor beside AMD's own certificates is refused too", { skip: SKIP }, () => {
  const impostor = new Simulator({ impostor: true, rsaBits: 2048, notBefore: SIMULATED_FROM });
  assert.equal(judge(impostor, production, amdCollateral()).decision, "deny");
});

test("a simulation policy takes its own root's evidence, calls it simulated, and no other's", () => {
  const by = simulator();
  assert.equal(judge(by, simulatedPolicy(by)).decision, "simulated");
  const other = judge(by, { ...simulatedPolicy(by), simulatedRoot: simulator("Genoa").root });
  assert.deepEqual(failures(other), { chain: "ATTEST_ROOT_UNKNOWN" });
});

test("a simulation policy refuses genuine evidence", { skip: SKIP }, () => {
  const row = vector("milan-v3-ms");
  const verdict = appraiseEvidence({
    evidence: vectorFile(row.files.report),
    collateral: [...amdCollateral(), { name: "vek", bytes: vectorFile(row.files.vek) }],
    policyBytes: canonicalJson({ ...simulatedPolicy(simulator()), measurements: [row.measurement] }),
    nonce: null,
    time: { at: row.verifyAt, source: "option" },
  });
  assert.equal(verdict.decision, "deny");
});

test("the simulator's authorities say in their names what they are, and each run has keys of its own", () => {
  const names = simulatedCollateral(simulator()).flatMap(({ bytes }) => readCertificates(bytes));
  assert.deepEqual(
    names.map(({ commonName }) => commonName),
    ["SIMULATED – NOT AMD ARK-Milan", "SIMULATED – NOT AMD SEV-Milan", "SEV-VCEK"],
  );
  assert.notEqual(simulator("Milan").root, simulator("Genoa").root);
});
