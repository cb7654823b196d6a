import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import { lintPolicy } from "../../../verify/attestation/attestation-policy.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import { readEvidence, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import { reportDataOf } from "../../../verify/attestation/report-data.ts";
import { parseTpmQuote, readQuoteSignature } from "../../../verify/attestation/tpm-quote.ts";
import { qualifyingData, verifyVtpm } from "../../../verify/attestation/verify-vtpm.ts";
import { AzureMachine, PCR_VALUES, type QuoteChanges, tpmQuote } from "../../support/azure-machine.ts";
import { coded } from "../../support/test-trust.ts";
import {
  failures,
  judgeSimulated,
  LEAST_POLICY,
  SIMULATED_MEASUREMENT,
  simulatedPolicy,
  simulator,
} from "./evidence.ts";

const NONCE = Buffer.alloc(32, 0x4e);
const machine = new AzureMachine(simulator());
const boot = { measurement: SIMULATED_MEASUREMENT };
const answer: QuoteChanges = { extraData: qualifyingData(reportDataOf(NONCE)) };
const pcr = (i: number): string => (PCR_VALUES[i] as Buffer).toString("hex");
const vtpm: AttestationPolicy["vtpm"] = { pcrs: { "4": [pcr(1), pcr(4)], "7": [pcr(7)], "11": [pcr(11)] } };
const MALFORMED = coded("ATTEST_EVIDENCE_MALFORMED");

function judge(
  evidence: Buffer,
  policy: Partial<AttestationPolicy> = {},
  nonce: Buffer | null = NONCE,
): AttestationVerdict {
  const asked = { vtpm, nonce: "required", ...policy } as const;
  return judgeSimulated({ evidence, policy: asked, ...(nonce && { nonce }) });
}

test("a quote of the vTPM that the report names brings the nonce and the PCRs, and only together with them a boot is measured", () => {
  const good = judge(machine.evidence(boot, machine.quote(answer)));
  assert.deepEqual([good.decision, failures(good), good.assurance.bootMeasured], ["simulated", {}, true]);
  const quote = good.findings.find(({ check }) => check === "vtpm-quote");
  assert.match(quote?.message ?? "", /of PCRs 0, 1, 2, 3, 4, 5, 6, 7, 11, 14; resets 3, restarts 5/);
  const unlooked = judge(machine.evidence(boot, machine.quote(answer)), { vtpm: "unchecked" });
  assert.deepEqual(failures(unlooked), {});
  assert.equal(unlooked.assurance.bootMeasured, false, "the launch digest is the paravisor's");
  const stale = judge(machine.evidence(boot, machine.quote({ ...answer, extraData: Buffer.alloc(32) })));
  assert.deepEqual(failures(stale), { nonce: "ATTEST_NONCE_MISMATCH" });
});

test("a quote by another key, other PCRs than quoted or wanted, and no quote at all deny", () => {
  const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const other = new AzureMachine(simulator());
  const good = machine.quote(answer);
  const swapped = Buffer.concat([good.pcrValues.subarray(32), good.pcrValues.subarray(0, 32)]);
  const invalid = {
    nonce: "ATTEST_VTPM_INVALID",
    "vtpm-quote": "ATTEST_VTPM_INVALID",
    "vtpm-pcrs": "ATTEST_PCR_UNKNOWN",
  };
  const cases: readonly (readonly [string, Buffer, Record<string, string>])[] = [
    ["another key", machine.evidence(boot, machine.quote(answer, stranger)), invalid],
    ["another machine's quote", machine.evidence(boot, other.quote(answer)), invalid],
    ["other PCRs", machine.evidence(boot, { ...good, pcrValues: swapped }), invalid],
    ["fewer PCRs", machine.evidence(boot, { ...good, pcrValues: good.pcrValues.subarray(32) }), invalid],
    [
      "a PCR that was not quoted",
      machine.evidence(boot, machine.quote({ ...answer, pcrs: [4, 7] })),
      { "vtpm-pcrs": "ATTEST_PCR_UNKNOWN" },
    ],
    [
      "no quote",
      machine.envelope(boot),
      { nonce: "ATTEST_NONCE_MISSING", "vtpm-quote": "ATTEST_VTPM_MISSING", "vtpm-pcrs": "ATTEST_PCR_UNKNOWN" },
    ],
  ];
  for (const [what, evidence, expected] of cases) assert.deepEqual(failures(judge(evidence)), expected, what);
  const unknown = judge(machine.evidence(boot, good), { vtpm: { pcrs: { "4": [pcr(5)] } } });
  assert.deepEqual(failures(unknown), { "vtpm-pcrs": "ATTEST_PCR_UNKNOWN" });
  const forged = judge(machine.evidence(boot, machine.quote(answer, stranger)), {
    vtpm: "unchecked",
    nonce: "unchecked",
  });
  assert.deepEqual(failures(forged), { "vtpm-quote": "ATTEST_VTPM_INVALID" }, "what was brought is looked at");
});

test("runtime data without exactly one key of the vTPM is refused, and so is a quote without the envelope", () => {
  const broken = (change: (data: Record<string, unknown>) => void): string | undefined => {
    const data = machine.runtimeData(change);
    return failures(judge(machine.evidence(boot, machine.quote(answer), data)))["vtpm-quote"];
  };
  const keys = (data: Record<string, unknown>) => data["keys"] as Record<string, unknown>[];
  const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" });
  for (const change of [
    (data) => (data["keys"] = []),
    (data) => (data["keys"] = "none"),
    (data) => keys(data).push(keys(data)[0] as Record<string, unknown>),
    (data) => (keys(data)[0] = { ...keys(data)[0], kty: "EC" }),
    (data) => (keys(data)[0] = { ...keys(data)[0], e: "Aw" }),
    (data) => (keys(data)[0] = { ...keys(data)[0], n: small.n }),
    (data) => (keys(data)[0] = { ...keys(data)[0], n: "" }),
    (data) => (keys(data)[0] = { ...keys(data)[0], n: "?" }),
    (data) => (keys(data)[0] = { ...keys(data)[0], n: 7 }),
  ] satisfies ((data: Record<string, unknown>) => unknown)[]) {
    assert.equal(broken(change), "ATTEST_EVIDENCE_MALFORMED", String(change));
  }
  const bare = writeCollectedEvidence("x", simulator().report(boot), Buffer.alloc(0), null, machine.quote(answer));
  assert.deepEqual(failures(judge(bare)), { evidence: "ATTEST_EVIDENCE_MALFORMED" });
});

test("every change of a bit of quote, signature, PCR values and runtime data is refused", () => {
  const runtimeData = machine.runtimeData();
  const good = machine.quote(answer);
  const envelope = machine.envelope(boot);
  const accepts = (quoted: typeof good, from: Buffer = envelope): boolean => {
    try {
      const { vtpm: read } = readEvidence(writeCollectedEvidence("azure_hcl", from, Buffer.alloc(0), null, quoted));
      return read !== null && verifyVtpm(read).quote.extraData.equals(answer.extraData as Buffer);
    } catch (cause) {
      if (cause instanceof SealiftError) return false;
      throw cause;
    }
  };
  assert.ok(accepts(good));
  let refused = 0;
  const each = (bytes: Buffer, tries: (changed: Buffer) => boolean, bits = 8): void => {
    for (let i = 0; i < bytes.length * bits; i += 1) {
      const changed = Buffer.from(bytes);
      const at = Math.floor(i / bits);
      changed[at] = (changed[at] as number) ^ (1 << ((i + at) % 8));
      assert.equal(tries(changed), false, `byte ${at} of ${bytes.length}`);
      refused += 1;
    }
  };
  each(good.quote, (quote) => accepts({ ...good, quote }));
  each(good.signature, (signature) => accepts({ ...good, signature }));
  each(good.pcrValues, (pcrValues) => accepts({ ...good, pcrValues }), 2);
  const start = envelope.indexOf(runtimeData);
  const around = (middle: Buffer) =>
    Buffer.concat([envelope.subarray(0, start), middle, envelope.subarray(start + middle.length)]);
  each(runtimeData, (changed) => accepts(good, around(changed)), 1);
  assert.equal(refused, 8 * (good.quote.length + 256) + 2 * good.pcrValues.length + runtimeData.length);
});

test("what is no quote as a TPM writes it is refused", () => {
  assert.deepEqual(parseTpmQuote(tpmQuote()).pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 11, 14]);
  const whole = tpmQuote();
  const bad: readonly Buffer[] = [
    tpmQuote({ magic: 0xff544348 }),
    tpmQuote({ type: 0x8017 }),
    tpmQuote({ bank: 0x0004 }),
    tpmQuote({ banks: 2 }),
    tpmQuote({ banks: 0 }),
    tpmQuote({ extraData: Buffer.alloc(67) }),
    tpmQuote({ pcrDigest: Buffer.alloc(20) }),
    tpmQuote({ pcrDigest: Buffer.alloc(33) }),
    tpmQuote({ tail: Buffer.from([0]) }),
    Buffer.alloc(2000),
    ...Array.from({ length: whole.length }, (_, i) => whole.subarray(0, i)),
  ];
  for (const bytes of bad) assert.throws(() => parseTpmQuote(bytes), MALFORMED);
  const unsafe = Buffer.from(whole);
  unsafe[6 + 36 + 34 + 16] = 2;
  assert.throws(() => parseTpmQuote(unsafe), MALFORMED);
});

test("a signature is taken alone and as tpm2_quote writes it, and by another hash not", () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const signature = sign("sha256", Buffer.from("x"), privateKey);
  const wrapped = (scheme: string): Buffer =>
    Buffer.concat([Buffer.from(scheme, "hex"), Buffer.from([1, 0]), signature]);
  assert.ok(readQuoteSignature(signature).equals(signature));
  assert.ok(readQuoteSignature(wrapped("0014000b")).equals(signature));
  assert.throws(() => readQuoteSignature(wrapped("00140004")), MALFORMED);
  assert.throws(() => readQuoteSignature(Buffer.alloc(1025)), MALFORMED);
});

test("a policy that looks at PCRs says what was started, and at values that something was measured into", () => {
  const problems = (pcrs: Record<string, string[]>): string[] =>
    lintPolicy({ ...LEAST_POLICY, vtpm: { pcrs } }).map((line) => line.split(":")[0] ?? "");
  assert.deepEqual(lintPolicy(simulatedPolicy(simulator(), { vtpm })), []);
  assert.deepEqual(problems({ "7": [pcr(7)] }), ["vtpm.pcrs"], "Secure Boot alone starts any signed kernel");
  assert.deepEqual(problems({ "4": ["00".repeat(32)] }), ["vtpm.pcrs.4"]);
  assert.deepEqual(problems({ "11": ["ff".repeat(32)] }), ["vtpm.pcrs.11"]);
});

test("a quote that swtpm made and tpm2_quote wrote is taken as it is", () => {
  const file = (name: string): Buffer => readFileSync(new URL(`../../vectors/tpm/${name}`, import.meta.url));
  const elsewhere = new AzureMachine(simulator(), createPublicKey(file("key.pem")));
  const quoted = { quote: file("quote.msg"), signature: file("quote.sig"), pcrValues: file("pcrs.bin") };
  const extended = quoted.pcrValues.toString("hex", 4 * 32, 5 * 32);
  const verdict = judge(elsewhere.evidence(boot, quoted), { vtpm: { pcrs: { "4": [extended] } } });
  assert.deepEqual([verdict.decision, failures(verdict)], ["simulated", {}]);
  assert.deepEqual(parseTpmQuote(quoted.quote).pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
});
