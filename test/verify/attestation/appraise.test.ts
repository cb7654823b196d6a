import assert from "node:assert/strict";
import test from "node:test";
import type { AttestationPolicy } from "../../../verify/attestation/attestation-policy.ts";
import { ATTESTATION_CHECKS, assuranceProblems } from "../../../verify/attestation/attestation-verdict.ts";
import { reportDataOf } from "../../../verify/attestation/report-data.ts";
import { SIMULATED_GUEST_POLICY, SIMULATED_TCB, type SimulatedFields } from "../../../verify/attestation/simulator.ts";
import { qualifyingData } from "../../../verify/attestation/verify-vtpm.ts";
import { AzureMachine, PCR_VALUES } from "../../support/azure-machine.ts";
import {
  failures,
  judgeSimulated,
  LEAST_POLICY,
  SIMULATED_AT,
  SIMULATED_MEASUREMENT,
  type Simulation,
  simulatedCollateral,
  simulator,
} from "./evidence.ts";

const guest = (changes: Partial<AttestationPolicy["guest"]>): Partial<AttestationPolicy> => ({
  guest: { ...LEAST_POLICY.guest, ...changes },
});
const platform = (changes: Partial<AttestationPolicy["platform"]>): Partial<AttestationPolicy> => ({
  platform: { ...LEAST_POLICY.platform, ...changes },
});
const bit = (n: number): bigint => SIMULATED_GUEST_POLICY | (1n << BigInt(n));
const hex = (bytes: Buffer): string => bytes.toString("hex");
const OTHER_MEASUREMENT = "0b".repeat(48);

test("a simulated report that meets every rule passes every check, and is still no allow", () => {
  const by = simulator("Turin");
  const nonce = Buffer.alloc(32, 9);
  const keyDigest = Buffer.alloc(48, 3);
  const tcb = { ...SIMULATED_TCB, fmc: 2 };
  const all: AttestationPolicy["guest"] = {
    debug: "refused",
    migration: "refused",
    smt: "refused",
    cxl: "refused",
    singleSocket: "required",
    memoryAes256Xts: "required",
    raplDisabled: "required",
    ciphertextHiding: "required",
    pageSwapDisabled: "required",
    minimumAbi: "1.31",
    maximumVmpl: 0,
    minimumSvn: 4,
  };
  const list = { number: 7, thisUpdate: new Date("2026-06-01"), nextUpdate: new Date("2026-08-01") };
  const fields: SimulatedFields = {
    measurement: SIMULATED_MEASUREMENT,
    version: 5,
    tcb,
    guestPolicy: 0x3d2_011fn,
    platformInfo: 0x3en,
    guestSvn: 5,
    hostData: Buffer.alloc(32, 5),
    mitigations: 0x7n,
    edit: (report) => {
      keyDigest.copy(report, 0xe0);
      keyDigest.copy(report, 0x110);
      report.writeUInt32LE(1, 0x48);
    },
  };
  const machine = new AzureMachine(by);
  const quote = machine.quote({ extraData: qualifyingData(reportDataOf(nonce)) });
  const verdict = judgeSimulated({
    by,
    nonce,
    collateral: [...simulatedCollateral(by, tcb), { name: "amd.crl", bytes: by.revocationList(list) }],
    evidence: machine.evidence(fields, quote),
    policy: {
      products: { Turin: { minimumTcb: tcb, minimumListNumber: 7 } },
      revocation: { graceDays: 0 },
      nonce: "required",
      rootfs: [hex(SIMULATED_MEASUREMENT)],
      vtpm: { pcrs: { "4": [hex(PCR_VALUES[4] as Buffer)] } },
      guest: all,
      hostData: [hex(Buffer.alloc(32, 5))],
      idKeys: [hex(keyDigest)],
      authorKeys: [hex(keyDigest)],
      chips: [hex(by.chipId)],
      platform: {
        aliasCheck: "required",
        smt: "refused",
        tsme: "required",
        ecc: "required",
        raplDisabled: "required",
        ciphertextHiding: "required",
      },
      mitigations: { launch: "0x3", current: "0x5" },
      firmware: { provisional: "refused", minimum: "1.55.29" },
    },
  });
  assert.deepEqual(
    verdict.findings.filter(({ status }) => status !== "pass"),
    [],
  );
  assert.deepEqual(
    verdict.findings.map(({ check }) => check),
    ATTESTATION_CHECKS,
  );
  assert.equal(verdict.decision, "simulated");
  const { assurance } = verdict;
  assert.deepEqual(assurance.boundBy, ["chip", "host-data", "id-key"]);
  assert.deepEqual([assurance.bootMeasured, assurance.rootfsMeasured, assurance.releaseAsserted], [true, true, null]);
  assert.deepEqual(assuranceProblems(assurance), []);
});

test("boot, root file system and a binding to the site are told apart, and a site that requires it needs all three", () => {
  const rootfs = [hex(SIMULATED_MEASUREMENT)];
  const chips = [hex(simulator().chipId)];
  const of = (policy: Partial<AttestationPolicy>, fields: SimulatedFields = {}) => {
    const { assurance } = judgeSimulated({ policy, fields });
    return assuranceProblems(assurance).map((problem) => /rootfs|machine or site|started from/.exec(problem)?.[0]);
  };
  assert.deepEqual(of({ rootfs, chips }), []);
  assert.deepEqual(of({ chips }), ["rootfs"], "the policy says unchecked");
  assert.deepEqual(of({ rootfs }), ["machine or site"]);
  assert.deepEqual(of({}), ["rootfs", "machine or site"]);
  const other = of({ rootfs, chips }, { measurement: Buffer.alloc(48, 8) });
  assert.deepEqual(other, ["started from", "rootfs"]);
});

/** Evidence or a policy with one thing wrong → the one check that fails, and its code. */
const NEGATIVES: readonly (readonly [name: string, Simulation, check: string, code: string])[] = [
  [
    "another launch digest",
    { fields: { measurement: Buffer.alloc(48, 8) } },
    "measurement",
    "ATTEST_MEASUREMENT_UNKNOWN",
  ],
  [
    "a start that does not fix the root file system",
    {
      policy: { measurements: [SIMULATED_MEASUREMENT.toString("hex"), OTHER_MEASUREMENT], rootfs: [OTHER_MEASUREMENT] },
    },
    "rootfs",
    "ATTEST_ROOTFS_UNMEASURED",
  ],
  ["debugging allowed", { fields: { guestPolicy: bit(19) } }, "debug", "ATTEST_DEBUG_ALLOWED"],
  [
    "migration allowed",
    { fields: { guestPolicy: bit(18) }, policy: guest({ migration: "refused" }) },
    "migration",
    "ATTEST_GUEST_POLICY",
  ],
  ["SMT allowed", { policy: guest({ smt: "refused" }) }, "smt", "ATTEST_GUEST_POLICY"],
  [
    "CXL allowed",
    { fields: { guestPolicy: bit(21) }, policy: guest({ cxl: "refused" }) },
    "cxl",
    "ATTEST_GUEST_POLICY",
  ],
  ["several sockets", { policy: guest({ singleSocket: "required" }) }, "single-socket", "ATTEST_GUEST_POLICY"],
  [
    "weaker encryption",
    { policy: guest({ memoryAes256Xts: "required" }) },
    "memory-aes-256-xts",
    "ATTEST_GUEST_POLICY",
  ],
  ["RAPL", { policy: guest({ raplDisabled: "required" }) }, "rapl", "ATTEST_GUEST_POLICY"],
  [
    "no ciphertext hiding",
    { policy: guest({ ciphertextHiding: "required" }) },
    "ciphertext-hiding",
    "ATTEST_GUEST_POLICY",
  ],
  ["page swap", { policy: guest({ pageSwapDisabled: "required" }) }, "page-swap", "ATTEST_GUEST_POLICY"],
  ["an old ABI", { policy: guest({ minimumAbi: "1.31" }) }, "abi", "ATTEST_GUEST_POLICY"],
  ["a higher VMPL", { fields: { vmpl: 1 }, policy: guest({ maximumVmpl: 0 }) }, "vmpl", "ATTEST_VMPL"],
  ["an old guest", { fields: { guestSvn: 1 }, policy: guest({ minimumSvn: 2 }) }, "guest-svn", "ATTEST_GUEST_POLICY"],
  ["other host data", { policy: { hostData: ["22".repeat(32)] } }, "host-data", "ATTEST_HOST_DATA"],
  ["another ID key", { policy: { idKeys: ["22".repeat(48)] } }, "id-key", "ATTEST_ID_KEY"],
  ["no author key", { policy: { authorKeys: ["00".repeat(48)] } }, "author-key", "ATTEST_AUTHOR_KEY"],
  ["another chip", { policy: { chips: ["22".repeat(64)] } }, "chip-allowed", "ATTEST_CHIP_REFUSED"],
  [
    "a chip revoked here",
    { policy: { revoked: { chips: [hex(simulator().chipId)], keys: [] } } },
    "revoked-here",
    "ATTEST_CHIP_REVOKED",
  ],
  [
    "a key revoked here",
    { policy: { revoked: { chips: [], keys: [simulator().root] } } },
    "revoked-here",
    "ATTEST_KEY_REVOKED",
  ],
  ["another report version", { policy: { reportVersions: [5] } }, "report-version", "ATTEST_REPORT_VERSION"],
  ["another kind of key", { policy: { signers: ["vlek"] } }, "signing-key", "ATTEST_SIGNER_REFUSED"],
  [
    "memory aliases not checked",
    { fields: { platformInfo: 5n }, policy: platform({ aliasCheck: "required" }) },
    "platform-alias-check",
    "ATTEST_PLATFORM",
  ],
  ["SMT on", { policy: platform({ smt: "refused" }) }, "platform-smt", "ATTEST_PLATFORM"],
  ["no TSME", { policy: platform({ tsme: "required" }) }, "platform-tsme", "ATTEST_PLATFORM"],
  [
    "no ECC",
    { fields: { platformInfo: 0n }, policy: platform({ ecc: "required" }) },
    "platform-ecc",
    "ATTEST_PLATFORM",
  ],
  ["RAPL on", { policy: platform({ raplDisabled: "required" }) }, "platform-rapl", "ATTEST_PLATFORM"],
  [
    "ciphertext visible",
    { policy: platform({ ciphertextHiding: "required" }) },
    "platform-ciphertext-hiding",
    "ATTEST_PLATFORM",
  ],
  [
    "mitigations not told",
    { policy: { mitigations: { launch: "0x1", current: "unchecked" } } },
    "mitigations-launch",
    "ATTEST_MITIGATION_MISSING",
  ],
  [
    "a mitigation missing",
    { fields: { version: 5, mitigations: 1n }, policy: { mitigations: { launch: "unchecked", current: "0x3" } } },
    "mitigations-current",
    "ATTEST_MITIGATION_MISSING",
  ],
  [
    "old firmware",
    { policy: { firmware: { provisional: "unchecked", minimum: "1.55.30" } } },
    "firmware",
    "ATTEST_FIRMWARE_OLD",
  ],
  [
    "old committed firmware",
    {
      fields: { edit: (report) => report.writeUInt8(28, 0x1ec) },
      policy: { firmware: { provisional: "unchecked", minimum: "1.55.29" } },
    },
    "firmware",
    "ATTEST_FIRMWARE_OLD",
  ],
  [
    "provisional firmware",
    {
      fields: { edit: (report) => report.writeUInt8(28, 0x1ec) },
      policy: { firmware: { provisional: "refused", minimum: "unchecked" } },
    },
    "firmware-provisional",
    "ATTEST_FIRMWARE_PROVISIONAL",
  ],
  ["no nonce asked", { policy: { nonce: "required" } }, "nonce", "ATTEST_NONCE_MISSING"],
  ["an old report", { nonce: Buffer.alloc(32, 1), policy: { nonce: "required" } }, "nonce", "ATTEST_NONCE_MISMATCH"],
  ["a hidden chip", { fields: { chipId: Buffer.alloc(64) } }, "chip", "ATTEST_CHIP_MASKED"],
  ["another chip's certificate", { fields: { chipId: Buffer.alloc(64, 1) } }, "chip", "ATTEST_CHIP_MISMATCH"],
  [
    "another product's CPUID",
    { fields: { edit: (report) => report.writeUInt8(0x11, 0x189) } },
    "product",
    "ATTEST_PRODUCT_MISMATCH",
  ],
  [
    "an unknown processor",
    { fields: { edit: (report) => report.writeUInt8(0x55, 0x188) } },
    "evidence",
    "ATTEST_PRODUCT_UNKNOWN",
  ],
  ["an unknown version", { fields: { version: 6 } }, "evidence", "ATTEST_REPORT_VERSION"],
  ["a masked key", { fields: { edit: (report) => report.writeUInt8(2, 0x48) } }, "evidence", "ATTEST_KEY_MASKED"],
  [
    "no signing key",
    { fields: { edit: (report) => report.writeUInt8(7 << 2, 0x48) } },
    "evidence",
    "ATTEST_KEY_MASKED",
  ],
  ["a reserved bit of the guest policy", { fields: { guestPolicy: bit(26) } }, "evidence", "ATTEST_REPORT_MALFORMED"],
  ["a guest policy without bit 17", { fields: { guestPolicy: 1n << 16n } }, "evidence", "ATTEST_REPORT_MALFORMED"],
  [
    "a byte in a reserved field",
    { fields: { edit: (report) => report.writeUInt8(1, 0x1f8) } },
    "evidence",
    "ATTEST_REPORT_MALFORMED",
  ],
  ["a VMPL that does not exist", { fields: { vmpl: 4 } }, "evidence", "ATTEST_REPORT_MALFORMED"],
  [
    "a report that says VLEK, with a VCEK",
    { fields: { edit: (report) => report.writeUInt8(4, 0x48) } },
    "signer",
    "ATTEST_SIGNER_MISMATCH",
  ],
  [
    "a certificate for another TCB",
    { fields: { tcb: { ...SIMULATED_TCB, snp: 25 } }, collateral: simulatedCollateral(simulator()) },
    "tcb-certified",
    "ATTEST_TCB_MISMATCH",
  ],
  ["a time before the certificates", { at: "2025-12-31T23:59:59Z" }, "chain", "ATTEST_CERTIFICATE_EXPIRED"],
];

for (const [name, simulation, check, code] of NEGATIVES) {
  test(`refused, and only for this: ${name}`, () => {
    const verdict = judgeSimulated(simulation);
    assert.deepEqual(failures(verdict), { [check]: code });
    assert.equal(verdict.decision, "deny");
  });
}

test("each part of each TCB is compared by itself, so that a high one makes up for no low one", () => {
  const minimum = { bootloader: 4, tee: 1, snp: 24, microcode: 219 };
  const products = { Milan: { minimumTcb: minimum, minimumListNumber: 0 } };
  const good = { ...SIMULATED_TCB, tee: 1 };
  assert.deepEqual(failures(judgeSimulated({ fields: { tcb: good }, policy: { products } })), {});
  for (const part of ["bootloader", "tee", "snp", "microcode"] as const) {
    const tcb = { ...good, bootloader: 200, tee: 200, snp: 200, microcode: 255, [part]: minimum[part] - 1 };
    const old = { "tcb-reported": "ATTEST_TCB_OLD", "tcb-current": "ATTEST_TCB_OLD" };
    const all = { ...old, "tcb-committed": "ATTEST_TCB_OLD", "tcb-launch": "ATTEST_TCB_OLD" };
    assert.deepEqual(failures(judgeSimulated({ fields: { tcb }, policy: { products } })), all, part);
  }
  const committed: SimulatedFields = { tcb: good, committedTcb: { ...good, snp: 23 } };
  assert.deepEqual(failures(judgeSimulated({ fields: committed, policy: { products } })), {
    "tcb-committed": "ATTEST_TCB_OLD",
  });
  const launch: SimulatedFields = { tcb: good, launchTcb: { ...good, microcode: 1 } };
  assert.deepEqual(failures(judgeSimulated({ fields: launch, policy: { products } })), {
    "tcb-launch": "ATTEST_TCB_OLD",
  });
});

test("Turin's TCB lies in another order, and its first part counts", () => {
  const by = simulator("Turin");
  const tcb = { ...SIMULATED_TCB, fmc: 3 };
  const judge = (fmc: number) =>
    failures(
      judgeSimulated({
        by,
        fields: { tcb },
        policy: { products: { Turin: { minimumTcb: { ...tcb, fmc }, minimumListNumber: 0 } } },
      }),
    );
  assert.deepEqual(judge(3), {});
  assert.equal(judge(4)["tcb-reported"], "ATTEST_TCB_OLD");
});

test("a report of each version that is known passes, and says which it is", () => {
  for (const version of [2, 3, 4, 5]) {
    const verdict = judgeSimulated({ by: simulator("Milan"), fields: { version } });
    assert.deepEqual(failures(verdict), {}, `version ${version}`);
    const finding = verdict.findings.find(({ check }) => check === "report-version");
    assert.match(finding?.message ?? "", new RegExp(`\\b${version}\\b`));
  }
});

test("a VLEK proves no chip: it passes where no chip is asked for, and never where one is", () => {
  const by = simulator("Genoa", "vlek");
  assert.deepEqual(failures(judgeSimulated({ by })), {});
  const asked = judgeSimulated({ by, policy: { chips: [hex(by.chipId)] } });
  assert.deepEqual(failures(asked), { "chip-allowed": "ATTEST_CHIP_REFUSED" });
});

test("a processor that the policy does not name is refused", () => {
  const verdict = judgeSimulated({
    by: simulator("Turin"),
    policy: { products: { Milan: LEAST_POLICY.products.Milan as never } },
  });
  assert.equal(failures(verdict)["product-allowed"], "ATTEST_PRODUCT_REFUSED");
});

test("an intermediate that AMD revoked is refused, though the policy looks at no list", () => {
  const by = simulator();
  const dates = { thisUpdate: new Date("2026-06-01"), nextUpdate: new Date("2026-08-01") };
  const lists = [
    by.revocationList({ number: 1, ...dates, revokeIntermediate: true }),
    by.revocationList({ number: 2, ...dates }),
  ];
  const collateral = [...simulatedCollateral(by), ...lists.map((bytes, i) => ({ name: `${i}.crl`, bytes }))];
  const verdict = judgeSimulated({ by, collateral });
  assert.deepEqual(failures(verdict), { revocation: "ATTEST_CERTIFICATE_REVOKED" });
  assert.equal(verdict.decision, "deny");
});

test("a nonce is 16 to 64 bytes, and the rest of REPORT_DATA is zero", () => {
  assert.throws(() => reportDataOf(Buffer.alloc(15)), RangeError);
  assert.throws(() => reportDataOf(Buffer.alloc(65)), RangeError);
  assert.equal(hex(reportDataOf(Buffer.alloc(16, 1))), "01".repeat(16) + "00".repeat(48));
});

test("what the policy calls unchecked is listed as not checked, with what was found", () => {
  const { findings } = judgeSimulated({ fields: { measurement: SIMULATED_MEASUREMENT, vmpl: 2 } });
  const vmpl = findings.find(({ check }) => check === "vmpl");
  assert.equal(vmpl?.status, "not-checked");
  assert.match(vmpl?.reason ?? "", /VMPL 2/);
});

test("the time of the verdict is the one that was asked for", () => {
  assert.deepEqual(judgeSimulated().time, { at: SIMULATED_AT, source: "option" });
});
