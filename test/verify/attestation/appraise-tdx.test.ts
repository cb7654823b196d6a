import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestOf } from "../../../bundles/model/digest.ts";
import {
  type AnyPolicy,
  attestationPolicySchema,
  parseAttestationPolicy,
  uncheckedBy,
} from "../../../verify/attestation/attestation-policy.ts";
import {
  type AttestationCheck,
  assuranceProblems,
  attestationPassed,
  attestationUnchecked,
  decideAttestation,
  TDX_CHECKS,
} from "../../../verify/attestation/attestation-verdict.ts";
import { reportDataOf } from "../../../verify/attestation/report-data.ts";
import {
  lintTdxPolicy,
  type TdxMeasurement,
  type TdxPolicy,
  tdxPolicySchema,
} from "../../../verify/attestation/tdx-policy.ts";
import {
  MR_TD,
  PCE_SVN,
  PPID,
  RTMRS,
  SGX_COMPONENTS,
  TD_ATTRIBUTES,
  TDX_FMSPC,
  XFAM,
} from "../../../verify/attestation/tdx-simulator.ts";
import { TdxPlatform } from "../../support/tdx-platform.ts";
import { failures } from "./evidence.ts";
import { judgeTdx, LEAST_TDX_POLICY, type TdxCase, tdxPlatform } from "./tdx-evidence.ts";

const hex = (bytes: Buffer): string => bytes.toString("hex");
const guest = (changes: Partial<TdxPolicy["guest"]>): Partial<TdxPolicy> => ({
  guest: { ...LEAST_TDX_POLICY.guest, ...changes },
});
const platform = (changes: Partial<TdxPolicy["platforms"][string]>): Partial<TdxPolicy> => ({
  platforms: {
    [TDX_FMSPC]: { ...(LEAST_TDX_POLICY.platforms[TDX_FMSPC] as TdxPolicy["platforms"][string]), ...changes },
  },
});
const registers = RTMRS.map(hex);
const measurement = { mrTd: hex(MR_TD), rtmrs: registers, fixesRootfs: true };
const id = (byte: number): Buffer => Buffer.alloc(48, byte);
const NONCE = Buffer.alloc(32, 9);

/** Every rule that can be asked for, and fields that meet it. */
const FULL: Partial<TdxPolicy> = {
  revocation: { graceDays: 0 },
  nonce: "required",
  acceptedAdvisories: [],
  measurements: [measurement],
  rootfs: "required",
  guest: {
    debug: "refused",
    migration: "refused",
    septVeDisable: "required",
    perfmon: "refused",
    keyLocker: "refused",
    otherAttributes: "refused",
    xfam: `0x${XFAM.toString(16)}`,
  },
  configIds: [hex(id(1))],
  owners: [hex(id(2))],
  ownerConfigs: [hex(id(3))],
  serviceTds: [hex(id(4))],
  chips: [hex(PPID)],
  platformSmt: "refused",
};
const FIELDS = {
  version: 5,
  mrConfigId: id(1),
  mrOwner: id(2),
  mrOwnerConfig: id(3),
  mrServiceTd: id(4),
  reportData: reportDataOf(NONCE),
} as const;

test("a quote that meets every rule passes every check, and shows what a site may rely on", () => {
  const mrSeam = judgeTdx().claims?.["mrSeam"] as string;
  const verdict = judgeTdx({ fields: FIELDS, policy: { ...FULL, modules: [mrSeam] }, nonce: NONCE });
  assert.deepEqual(
    verdict.findings.map(({ check, status }) => `${check} ${status}`),
    TDX_CHECKS.map((check) => `${check} pass`),
  );
  assert.equal(verdict.decision, "simulated");
  assert.deepEqual(verdict.assurance.boundBy, ["chip", "host-data"]);
  assert.deepEqual(assuranceProblems(verdict.assurance), []);
});

const refused: readonly (readonly [name: string, check: AttestationCheck, code: string, TdxCase])[] = [
  ["a TD that may be debugged", "debug", "ATTEST_DEBUG_ALLOWED", { fields: { tdAttributes: TD_ATTRIBUTES | 1n } }],
  ["a TD with another bit of the debug group", "debug", "ATTEST_DEBUG_ALLOWED", { fields: { tdAttributes: 0x80n } }],
  [
    "another nonce",
    "nonce",
    "ATTEST_NONCE_MISMATCH",
    { policy: { nonce: "required" }, nonce: NONCE, fields: { reportData: Buffer.alloc(64, 1) } },
  ],
  ["no nonce", "nonce", "ATTEST_NONCE_MISSING", { policy: { nonce: "required" } }],
  ["another firmware", "measurement", "ATTEST_MEASUREMENT_UNKNOWN", { fields: { mrTd: id(7) } }],
  ...RTMRS.map((_, i): (typeof refused)[number] => [
    `another RTMR${i}`,
    "measurement",
    "ATTEST_MEASUREMENT_UNKNOWN",
    { fields: { rtmrs: RTMRS.with(i, id(7)) } },
  ]),
  [
    "the firmware of one start with the registers of another",
    "measurement",
    "ATTEST_MEASUREMENT_UNKNOWN",
    {
      policy: {
        measurements: [
          { ...measurement, mrTd: hex(id(7)) },
          { ...measurement, rtmrs: registers.with(2, hex(id(7))) },
        ],
      },
    },
  ],
  [
    "a start of which nobody says that it fixes the root file system",
    "rootfs",
    "ATTEST_ROOTFS_UNMEASURED",
    { policy: { rootfs: "required" } },
  ],
  [
    "a TD that may be migrated",
    "migration",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ migration: "refused" }), fields: { tdAttributes: TD_ATTRIBUTES | (1n << 29n) } },
  ],
  [
    "a TD without SEPT_VE_DISABLE",
    "sept-ve-disable",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ septVeDisable: "required" }), fields: { tdAttributes: 0n } },
  ],
  [
    "a TD with performance counters",
    "perfmon",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ perfmon: "refused" }), fields: { tdAttributes: 1n << 63n } },
  ],
  [
    "a TD with the key locker",
    "key-locker",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ keyLocker: "refused" }), fields: { tdAttributes: 1n << 31n } },
  ],
  [
    "a TD with an attribute that is not known",
    "attributes",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ otherAttributes: "refused" }), fields: { tdAttributes: 1n << 40n } },
  ],
  [
    "a TD with more features than wanted",
    "xfam",
    "ATTEST_GUEST_POLICY",
    { policy: guest({ xfam: "0xe7" }), fields: { xfam: 0x1e7n } },
  ],
  ["another MRCONFIGID", "host-data", "ATTEST_HOST_DATA", { policy: { configIds: [hex(id(1))] } }],
  ["another MROWNER", "owner", "ATTEST_TD_OWNER", { policy: { owners: [hex(id(1))] } }],
  ["another MROWNERCONFIG", "owner-config", "ATTEST_TD_OWNER", { policy: { ownerConfigs: [hex(id(1))] } }],
  [
    "another service TD",
    "service-td",
    "ATTEST_SERVICE_TD",
    { policy: { serviceTds: [hex(id(0))] }, fields: { version: 5, mrServiceTd: id(1) } },
  ],
  ["another build of the module", "tdx-module-build", "ATTEST_MODULE_REFUSED", { policy: { modules: [hex(id(1))] } }],
  ["another chip", "chip-allowed", "ATTEST_CHIP_REFUSED", { policy: { chips: ["00".repeat(16)] } }],
  [
    "a platform with SMT",
    "platform-smt",
    "ATTEST_PLATFORM",
    { by: new TdxPlatform({ smtEnabled: true }), policy: { platformSmt: "refused" } },
  ],
  [
    "a platform that does not say whether it has SMT",
    "platform-smt",
    "ATTEST_PLATFORM",
    { by: new TdxPlatform({ smtEnabled: null }), policy: { platformSmt: "refused" } },
  ],
  [
    "a chip that the policy revokes",
    "revoked-here",
    "ATTEST_CHIP_REVOKED",
    { policy: { revoked: { chips: [hex(PPID)], keys: [] } } },
  ],
  [
    "a root that the policy revokes",
    "revoked-here",
    "ATTEST_KEY_REVOKED",
    { policy: { revoked: { chips: [], keys: [tdxPlatform.root] } } },
  ],
  [
    "a quote of version 5 where only 4 is wanted",
    "report-version",
    "ATTEST_REPORT_VERSION",
    { policy: { quoteVersions: [4] }, fields: { version: 5 } },
  ],
  [
    "a platform of another family",
    "product-allowed",
    "ATTEST_PRODUCT_REFUSED",
    {
      policy: {
        platforms: { "0123456789ab": LEAST_TDX_POLICY.platforms[TDX_FMSPC] as TdxPolicy["platforms"][string] },
      },
    },
  ],
  [
    "a module that is out of date",
    "tcb-status",
    "ATTEST_TCB_STATUS",
    { fields: { teeTcbSvn: [4, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
  ],
  [
    "an advisory that the policy does not accept",
    "tcb-advisories",
    "ATTEST_TCB_ADVISORY",
    { fields: { qe: { isvSvn: 3 } }, policy: { acceptedAdvisories: ["INTEL-SA-00001"] } },
  ],
  [
    "TCB info from before what the policy knows",
    "tcb-evaluation",
    "ATTEST_COLLATERAL_ROLLED_BACK",
    { policy: platform({ minimumEvaluationNumber: 19 }) },
  ],
  [
    "an enclave's identity from before what the policy knows",
    "tcb-evaluation",
    "ATTEST_COLLATERAL_ROLLED_BACK",
    {
      files: {
        "qe-identity.json": tdxPlatform.enclaveIdentity((one) => Object.assign(one, { tcbEvaluationDataNumber: 17 })),
      },
    },
  ],
  [
    "a module that is replaced by an older one while the TD runs",
    "tcb-minimum",
    "ATTEST_TCB_OLD",
    { fields: { version: 5, teeTcbSvnNow: [4, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
  ],
  [
    "an SGX component below the least",
    "tcb-minimum",
    "ATTEST_TCB_OLD",
    {
      policy: platform({
        minimumTcb: { tdx: [5, 1, 3, ...Array(13).fill(0)], sgx: SGX_COMPONENTS.with(0, 4), pceSvn: PCE_SVN },
      }),
    },
  ],
  [
    "a PCE below the least",
    "tcb-minimum",
    "ATTEST_TCB_OLD",
    { policy: platform({ minimumTcb: { tdx: [5, 1, 3, ...Array(13).fill(0)], sgx: SGX_COMPONENTS, pceSvn: 14 } }) },
  ],
  ["TCB info that has expired", "collateral-fresh", "ATTEST_COLLATERAL_STALE", { at: "2026-02-01T00:00:00.000Z" }],
  [
    "TCB info from the future",
    "collateral-fresh",
    "ATTEST_COLLATERAL_NOT_YET_VALID",
    {
      files: {
        "tcb-info.json": tdxPlatform.tcbInfo((info) => Object.assign(info, { issueDate: "2026-01-16T00:00:00Z" })),
      },
    },
  ],
  [
    "a revocation list that has expired",
    "revocation-fresh",
    "ATTEST_CRL_STALE",
    {
      policy: { revocation: { graceDays: 1 } },
      files: { "root.crl": tdxPlatform.revocationList("root", { nextUpdate: new Date("2026-01-13T00:00:00Z") }) },
    },
  ],
  [
    "a revocation list from the future",
    "revocation-fresh",
    "ATTEST_CRL_NOT_YET_VALID",
    {
      policy: { revocation: { graceDays: 1 } },
      files: {
        "platform.crl": tdxPlatform.revocationList("platform", { thisUpdate: new Date("2026-01-16T00:00:00Z") }),
      },
    },
  ],
  [
    "a revocation list with a smaller number than the policy knows",
    "revocation-fresh",
    "ATTEST_CRL_ROLLED_BACK",
    { policy: { revocation: { graceDays: 1 }, minimumListNumbers: { root: 1, platform: 2 } } },
  ],
];

for (const [name, check, code, question] of refused) {
  test(`denies ${name}`, () => {
    const verdict = judgeTdx(question);
    assert.equal(verdict.decision, "deny");
    assert.equal(failures(verdict)[check], code, JSON.stringify(failures(verdict)));
    assert.notEqual(verdict.claims, null, "the quote is genuine; the policy denies it");
  });
}

test("grace lets collateral through for as long as the policy says, and the verdict until when", () => {
  const policy: Partial<TdxPolicy> = { collateral: { graceDays: 3 }, revocation: { graceDays: 5 } };
  const verdict = judgeTdx({ policy, at: "2026-02-02T00:00:00.000Z" });
  assert.deepEqual([verdict.decision, verdict.usableUntil], ["simulated", "2026-02-03T00:00:00.000Z"]);
  assert.equal(judgeTdx({ policy, at: "2026-02-04T00:00:00.000Z" }).decision, "deny");
});

test("a policy that checks nothing is refused before any evidence is read", () => {
  const weak: readonly (readonly [Partial<TdxPolicy>, RegExp])[] = [
    [{ measurements: "unchecked" }, /measurements: there is none/],
    [{ measurements: [] }, /measurements: there is none/],
    [{ measurements: [{ ...measurement, mrTd: "0".repeat(96) }] }, /digest of nothing/],
    [
      { measurements: [{ ...measurement, rtmrs: registers.with(1, "unchecked").with(2, "unchecked") }] },
      /any kernel would be allowed/,
    ],
    [platform({ minimumTcb: "unchecked" }), /minimumTcb: there is none/],
    [platform({ minimumTcb: { tdx: Array(16).fill(0), sgx: SGX_COMPONENTS, pceSvn: 1 } }), /minimumTcb: there is none/],
    [{ tcbStatuses: ["UpToDate", "OutOfDate"] }, /known holes/],
    [{ tcbStatuses: ["Revoked"] }, /known holes/],
    [guest({ debug: "unchecked" }), /guest\.debug/],
    [{ simulatedRoot: digestOf("root") }, /simulatedRoot/],
    [{ kind: "tdx-simulated" }, /simulatedRoot/],
  ];
  for (const [changes, problem] of weak) {
    const policy = { ...LEAST_TDX_POLICY, ...changes };
    assert.match(lintTdxPolicy(policy).join("\n"), problem);
    assert.throws(() => parseAttestationPolicy(canonicalJson(policy)), { code: "ATTEST_POLICY_WEAK" });
  }
  assert.deepEqual(lintTdxPolicy(LEAST_TDX_POLICY), []);
});

test("every member of a policy must be written, and no other", () => {
  const malformed = { code: "ATTEST_POLICY_MALFORMED" };
  for (const member of Object.keys(LEAST_TDX_POLICY)) {
    const { [member as keyof TdxPolicy]: _, ...rest } = LEAST_TDX_POLICY;
    assert.throws(() => parseAttestationPolicy(canonicalJson(rest)), malformed, member);
  }
  assert.throws(() => parseAttestationPolicy(canonicalJson({ ...LEAST_TDX_POLICY, products: {} })), malformed);
  assert.notEqual(tdxPolicySchema, attestationPolicySchema);
});

test("a check that was not made allows only where the policy says unchecked, and only with all the others", () => {
  const policy: AnyPolicy = LEAST_TDX_POLICY;
  const unchecked = uncheckedBy(policy);
  assert.equal(unchecked.size, 18);
  const all = TDX_CHECKS.map((check) => attestationPassed(check, "well"));
  assert.equal(decideAttestation(all, policy), "allow");
  for (const [i, check] of TDX_CHECKS.entries()) {
    const instead = all.with(i, attestationUnchecked(check, "for a test"));
    assert.equal(decideAttestation(instead, policy), unchecked.has(check) ? "allow" : "deny", check);
    assert.equal(decideAttestation(all.toSpliced(i, 1), policy), "deny", check);
    assert.equal(decideAttestation([...all, attestationPassed(check, "twice")], policy), "deny", check);
  }
});

test("with a release the MRTD must be one of its own, beside what the policy lists", () => {
  const release = digestOf("a release");
  const of = (mrTds: readonly string[] | undefined, policy: Partial<TdxPolicy> = {}) =>
    judgeTdx({ policy, reference: { release, launchDigests: [hex(MR_TD)], ...(mrTds && { mrTds }) } });
  const good = of(["0a".repeat(48), hex(MR_TD)]);
  assert.deepEqual([good.reference, good.decision], [release, "simulated"]);
  const denied = { measurement: "ATTEST_MEASUREMENT_UNKNOWN" };
  assert.deepEqual(failures(of(undefined)), denied, "launch digests of SEV-SNP are none of TDX");
  assert.deepEqual(failures(of(["0a".repeat(48)])), denied);
  const rtmrs = [...(LEAST_TDX_POLICY.measurements as readonly TdxMeasurement[])].map((one) => ({
    ...one,
    rtmrs: one.rtmrs.with(2, "0a".repeat(48)),
  }));
  assert.deepEqual(failures(of([hex(MR_TD)], { measurements: rtmrs })), denied, "the kernel is in the policy's RTMRs");
});
