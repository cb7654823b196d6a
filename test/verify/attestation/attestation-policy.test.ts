import assert from "node:assert/strict";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import {
  attestationPolicySchema,
  lintPolicy,
  parseAttestationPolicy,
  uncheckedBy,
} from "../../../verify/attestation/attestation-policy.ts";
import {
  ATTESTATION_CHECKS,
  attestationPassed,
  attestationUnchecked,
  attestationVerdictSchema,
  decideAttestation,
  GENUINENESS_CHECKS,
} from "../../../verify/attestation/attestation-verdict.ts";
import { collectedEvidenceSchema } from "../../../verify/attestation/evidence.ts";
import { coded } from "../../support/test-trust.ts";
import { LEAST_POLICY } from "./evidence.ts";

const parse = (value: unknown) => parseAttestationPolicy(canonicalJson(value));
test("a policy is read, and its digest is that of its bytes", () => {
  assert.deepEqual(parse(LEAST_POLICY).policy, LEAST_POLICY);
});

test("every member must be written: what is left out is not unchecked but malformed", () => {
  const removeAt = (value: unknown, path: readonly string[]): unknown => {
    const [name = "", ...rest] = path;
    const copy = { ...(value as Record<string, unknown>) };
    if (rest.length === 0) delete copy[name];
    else copy[name] = removeAt(copy[name], rest);
    return copy;
  };
  const members = Object.entries(LEAST_POLICY).flatMap(([name, value]) =>
    ["guest", "platform", "mitigations", "firmware", "revoked"].includes(name)
      ? [[name], ...Object.keys(value as object).map((inner) => [name, inner])]
      : [[name]],
  );
  assert.ok(members.length > 35);
  for (const path of members) {
    assert.throws(() => parse(removeAt(LEAST_POLICY, path)), coded("ATTEST_POLICY_MALFORMED"), path.join("."));
  }
});

test("unknown members, empty lists and values that say something else are malformed", () => {
  for (const change of [
    { extra: 1 },
    { hostData: [] },
    { measurements: ["AA".repeat(48)] },
    { products: {} },
    { products: { Rome: LEAST_POLICY.products.Milan } },
    { nonce: "no" },
    { guest: { ...LEAST_POLICY.guest, smt: false } },
    { firmware: { provisional: "refused", minimum: "1.55" } },
    { reportVersions: [6] },
    { kind: "sev" },
  ]) {
    assert.throws(
      () => parse({ ...LEAST_POLICY, ...change }),
      coded("ATTEST_POLICY_MALFORMED"),
      JSON.stringify(change),
    );
  }
  assert.throws(() => parseAttestationPolicy(Buffer.from("{")), coded("ATTEST_POLICY_MALFORMED"));
});

test("a policy that would let everything through is refused, with every reason", () => {
  const noTcb = { minimumTcb: "unchecked", minimumListNumber: 0 } as const;
  const zeroTcb = { minimumTcb: { bootloader: 0, tee: 0, snp: 0, microcode: 0 }, minimumListNumber: 0 };
  const weak: readonly (readonly [object, RegExp])[] = [
    [{ measurements: "unchecked" }, /measurements: there is none/],
    [{ measurements: [] }, /measurements: there is none/],
    [{ measurements: ["00".repeat(48)] }, /all zeros/],
    [{ rootfs: ["22".repeat(48)] }, /rootfs: 2222/],
    [{ products: { Milan: noTcb } }, /products\.Milan\.minimumTcb/],
    [{ products: { Milan: zeroTcb } }, /products\.Milan\.minimumTcb/],
    [{ guest: { ...LEAST_POLICY.guest, debug: "unchecked" } }, /guest\.debug/],
    [{ kind: "sev-snp-simulated" }, /simulatedRoot/],
    [{ simulatedRoot: `sha256:${"0".repeat(64)}` }, /simulatedRoot/],
  ];
  for (const [change, reason] of weak) {
    assert.throws(() => parse({ ...LEAST_POLICY, ...change }), coded("ATTEST_POLICY_WEAK"));
    assert.match(lintPolicy({ ...LEAST_POLICY, ...change }).join("\n"), reason);
  }
  assert.deepEqual(lintPolicy(LEAST_POLICY), []);
});

test("a verdict allows only what was checked or what the policy itself leaves unchecked", () => {
  const all = ATTESTATION_CHECKS.map((check) => attestationPassed(check, "well"));
  assert.equal(decideAttestation(all, LEAST_POLICY), "allow");
  const unchecked = uncheckedBy(LEAST_POLICY);
  for (const [i, check] of ATTESTATION_CHECKS.entries()) {
    assert.equal(decideAttestation(all.toSpliced(i, 1), LEAST_POLICY), "deny", `${check} missing`);
    const unmade = all.toSpliced(i, 1, attestationUnchecked(check, "not looked at"));
    assert.equal(decideAttestation(unmade, LEAST_POLICY), unchecked.has(check) ? "allow" : "deny", check);
  }
  assert.equal(decideAttestation([...all, ...all.slice(0, 1)], LEAST_POLICY), "deny", "a check twice");
  assert.ok(GENUINENESS_CHECKS.every((check) => check === "revocation" || !unchecked.has(check)));
  const strict = { ...LEAST_POLICY, revocation: { graceDays: 0 } };
  assert.ok(!uncheckedBy(strict).has("revocation"));
});

test("the published schemas are JSON Schema 2020-12", () => {
  for (const schema of [attestationPolicySchema, attestationVerdictSchema, collectedEvidenceSchema]) {
    assert.ok(new Ajv2020({ strict: true }).validateSchema(schema));
  }
});
