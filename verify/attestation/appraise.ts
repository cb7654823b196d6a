/** Compares what a genuine report says with the policy: one finding for each of POLICY_CHECKS. */

import type { Digest } from "../../bundles/model/digest.ts";
import { type AttestationPolicy, OF_RELEASE } from "./attestation-policy.ts";
import {
  type AttestationCheck,
  type AttestationFinding,
  attestationFailed,
  attestationPassed,
  attestationUnchecked,
  POLICY_CHECKS,
  type PolicyCheck,
} from "./attestation-verdict.ts";
import type { RevocationList } from "./certificate.ts";
import { type Ending, firstEnding } from "./ending.ts";
import { UNCHECKED, type Unchecked } from "./policy-schema.ts";
import { type Tcb, tcbPartsOf } from "./snp-product.ts";
import type { FirmwareVersion } from "./snp-report.ts";
import { type GenuineReport, tcbText } from "./verify-snp.ts";
import { type GenuineVtpm, qualifyingData } from "./verify-vtpm.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** What a release says about the VM that runs it (bundles/model/release-attestation.ts). */
export interface ReferenceValues {
  readonly release: Digest;
  /** 96 hexadecimal digits each. */
  readonly launchDigests: readonly string[];
  /** The same of TDX, any of which a TD may report. Absent in a release that has none. */
  readonly mrTds?: readonly string[];
}

export interface AppraisalQuestion {
  readonly policy: AttestationPolicy;
  readonly at: Date;
  /** What REPORT_DATA must be, 64 bytes, or why no answer counts: the code and a sentence. */
  readonly reportData: Buffer | readonly [code: string, message: string];
  readonly reference: ReferenceValues | null;
  /** The quote that came with the report, or why it is none; null if there is none. */
  readonly vtpm: GenuineVtpm | readonly [code: string, message: string] | null;
}

/** What one check says: undefined if all is well, else the code and what is wrong. */
export type Problem = readonly [code: string, message: string] | undefined;

export interface Rule {
  /** "unchecked" if the policy says so. */
  readonly wanted: unknown;
  /** What was found, for a finding that passes. */
  readonly got: string;
  readonly problem: Problem;
}

/** In the order of POLICY_CHECKS. Nothing is thrown: whatever is missing from the evidence fails. */
export function appraise(genuine: GenuineReport, question: AppraisalQuestion): AttestationFinding[] {
  const rules = {
    ...trustRules(genuine, question),
    ...softwareRules(genuine, question),
    ...hostRules(genuine, question),
  };
  return POLICY_CHECKS.map((check) => findingOf(check, rules[check]));
}

export function findingOf(check: AttestationCheck, { wanted, got, problem }: Rule): AttestationFinding {
  // What the policy does not look at may still be bad news: a revoked list is a failure of its own check.
  if (wanted === UNCHECKED) return attestationUnchecked(check, `the policy says unchecked; got ${got}`);
  return problem ? attestationFailed(check, ...problem) : attestationPassed(check, got);
}

/** Until when the collateral at hand will do: the first certificate's end, and the list's if the policy wants one. */
export function usableUntil({ endings, revocation }: GenuineReport, { revocation: rule }: AttestationPolicy): Ending {
  if (revocation === null || rule === UNCHECKED) return firstEnding(endings);
  return firstEnding([...endings, listEnding(revocation, rule.graceDays)]);
}

export function listEnding({ issuerCommonName, nextUpdate }: RevocationList, graceDays: number): Ending {
  return { what: `revocation list of ${issuerCommonName}`, at: listUntil(nextUpdate, graceDays) };
}

export function listUntil(nextUpdate: Date, graceDays: number): Date {
  return new Date(nextUpdate.getTime() + graceDays * DAY_MS);
}

/** The findings if the report is not proven to be genuine. */
export function notAppraised(): AttestationFinding[] {
  return POLICY_CHECKS.map((check) => attestationUnchecked(check, "the report is not proven to be genuine"));
}

type Rules<Checks extends PolicyCheck> = Readonly<Record<Checks, Rule>>;

/** Whether what vouches for the report is new enough and not revoked. */
function trustRules(
  genuine: GenuineReport,
  question: AppraisalQuestion,
): Rules<
  "revocation-fresh" | "revoked-here" | "nonce" | "vtpm-quote" | "report-version" | "signing-key" | "product-allowed"
> {
  const { report, product } = genuine;
  const { policy } = question;
  const allowed = Object.keys(policy.products);
  return {
    "revocation-fresh": revocationRule(genuine, question),
    "revoked-here": revokedHere(genuine, policy),
    nonce: nonceRule(genuine, question),
    "vtpm-quote": quoteRule(question),
    "report-version": {
      wanted: policy.reportVersions,
      got: `version ${report.version}`,
      problem: policy.reportVersions.includes(report.version)
        ? undefined
        : [
            "ATTEST_REPORT_VERSION",
            `report: got version ${report.version}, want ${policy.reportVersions.join(" or ")}`,
          ],
    },
    "signing-key": {
      wanted: policy.signers,
      got: report.signer,
      problem: policy.signers.includes(report.signer)
        ? undefined
        : ["ATTEST_SIGNER_REFUSED", `report: signed with a ${report.signer}, want ${policy.signers.join(" or ")}`],
    },
    "product-allowed": {
      wanted: allowed,
      got: product,
      problem: allowed.includes(product)
        ? undefined
        : ["ATTEST_PRODUCT_REFUSED", `report: got ${product}, want ${allowed.join(" or ")}`],
    },
  };
}

/** A vTPM's quote carries the nonce where there is one, because REPORT_DATA names the vTPM. */
function nonceRule({ report }: GenuineReport, { policy, reportData, vtpm }: AppraisalQuestion): Rule {
  const wanted = policy.nonce;
  if (vtpm === null) {
    const got = `REPORT_DATA ${report.reportData.toString("hex")}`;
    return { wanted, got, problem: nonceProblem(report.reportData, reportData) };
  }
  if (!isGenuine(vtpm)) return { wanted, got: "a quote that is none of the vTPM's", problem: vtpm };
  const { extraData } = vtpm.quote;
  const want = Buffer.isBuffer(reportData) ? qualifyingData(reportData) : reportData;
  const got = `qualifying data of the quote ${extraData.toString("hex")}`;
  return { wanted, got, problem: nonceProblem(extraData, want) };
}

/** A quote that was brought is looked at, whatever the policy says. */
function quoteRule({ policy, vtpm }: AppraisalQuestion): Rule {
  if (vtpm === null) {
    const problem = ["ATTEST_VTPM_MISSING", "evidence: it has no quote of a vTPM"] as const;
    return { wanted: policy.vtpm, got: "no quote of a vTPM", problem };
  }
  if (!isGenuine(vtpm)) return { wanted: "a genuine quote", got: "", problem: vtpm };
  const { pcrs, resetCount, restartCount } = vtpm.quote;
  const got = `by the key that the report names, of PCRs ${pcrs.join(", ")}; resets ${resetCount}, restarts ${restartCount}`;
  return { wanted: "a genuine quote", got, problem: undefined };
}

function pcrRule({ policy, vtpm }: AppraisalQuestion): Rule {
  const wanted = policy.vtpm;
  const quoted: GenuineVtpm["pcrs"] = vtpm !== null && isGenuine(vtpm) ? vtpm.pcrs : new Map();
  if (wanted === UNCHECKED) return { wanted, got: `${quoted.size} quoted PCRs`, problem: undefined };
  const other = Object.entries(wanted.pcrs).find(
    ([pcr, values]) => !values.includes(quoted.get(Number(pcr))?.toString("hex") ?? ""),
  );
  if (other === undefined) return { wanted, got: `PCRs ${Object.keys(wanted.pcrs).join(", ")}`, problem: undefined };
  const [pcr] = other;
  const value = quoted.get(Number(pcr))?.toString("hex");
  const what = value === undefined ? `PCR ${pcr} was not quoted` : `PCR ${pcr} ${value} is not one of the policy's`;
  return { wanted, got: what, problem: ["ATTEST_PCR_UNKNOWN", `vTPM: ${what}`] };
}

function isGenuine(vtpm: NonNullable<AppraisalQuestion["vtpm"]>): vtpm is GenuineVtpm {
  return "quote" in vtpm;
}

export function nonceProblem(got: Buffer, want: AppraisalQuestion["reportData"]): Problem {
  if (!Buffer.isBuffer(want)) return want;
  return got.equals(want)
    ? undefined
    : ["ATTEST_NONCE_MISMATCH", "report: its REPORT_DATA is not that of this question"];
}

function revocationRule({ revocation, product }: GenuineReport, { policy, at }: AppraisalQuestion): Rule {
  const rule = policy.revocation;
  if (revocation === null) {
    const missing = "there is no revocation list";
    return { wanted: rule, got: missing, problem: ["ATTEST_CRL_MISSING", missing] };
  }
  const { number, thisUpdate, nextUpdate } = revocation;
  const got = `revocation list ${number}, next update ${nextUpdate.toISOString()}`;
  const least = policy.products[product]?.minimumListNumber ?? 0;
  const graceDays = rule === UNCHECKED ? 0 : rule.graceDays;
  const until = listUntil(nextUpdate, graceDays);
  if (number < BigInt(least)) {
    return {
      wanted: rule,
      got,
      problem: ["ATTEST_CRL_ROLLED_BACK", `revocation list: got number ${number}, want at least ${least}`],
    };
  }
  if (at < thisUpdate) {
    const problem = `revocation list ${number}: issued ${thisUpdate.toISOString()}, after the time of this appraisal`;
    return { wanted: rule, got, problem: ["ATTEST_CRL_NOT_YET_VALID", problem] };
  }
  const stale = `${got}; with ${graceDays} days of grace usable until ${until.toISOString()}`;
  return { wanted: rule, got: stale, problem: at > until ? ["ATTEST_CRL_STALE", stale] : undefined };
}

function revokedHere({ report, keys }: GenuineReport, { revoked }: AttestationPolicy): Rule {
  const chip = report.chipId.toString("hex");
  const key = keys.find((digest) => revoked.keys.includes(digest));
  const got = `neither chip nor key is on the policy's list of ${revoked.chips.length + revoked.keys.length}`;
  if (revoked.chips.includes(chip)) {
    return { wanted: revoked, got, problem: ["ATTEST_CHIP_REVOKED", `report: the policy revokes chip ${chip}`] };
  }
  return {
    wanted: revoked,
    got,
    problem: key && ["ATTEST_KEY_REVOKED", `certificate: the policy revokes key ${key}`],
  };
}

/** A check of one switch: `value` is what the report says, `want` what the policy asks when it asks. */
export function flag(wanted: "refused" | "required" | Unchecked, name: string, value: boolean, code: string): Rule {
  const got = `${name} ${value ? "on" : "off"}`;
  const good = wanted === "refused" ? !value : value;
  return { wanted, got, problem: good ? undefined : [code, `report: ${got}, which the policy calls ${wanted}`] };
}

/** A check against a set of digests or names, in hexadecimal. */
export function oneOf(wanted: readonly string[] | Unchecked, name: string, value: Buffer, code: string): Rule {
  const hex = value.toString("hex");
  const good = wanted !== UNCHECKED && wanted.includes(hex);
  return {
    wanted,
    got: `${name} ${hex}`,
    problem: good ? undefined : [code, `report: ${name} ${hex} is not one of the policy's`],
  };
}

/** What was started, and what its owner demanded of the platform. */
function softwareRules(
  { report }: GenuineReport,
  question: AppraisalQuestion,
): Rules<
  | "measurement"
  | "rootfs"
  | "vtpm-pcrs"
  | "debug"
  | "migration"
  | "smt"
  | "single-socket"
  | "cxl"
  | "memory-aes-256-xts"
  | "rapl"
  | "ciphertext-hiding"
  | "page-swap"
  | "abi"
  | "vmpl"
  | "guest-svn"
  | "host-data"
  | "id-key"
  | "author-key"
> {
  const { policy, reference } = question;
  const { guest } = policy;
  const { guestPolicy } = report;
  const code = "ATTEST_GUEST_POLICY";
  const abi = [guestPolicy.abiMajor, guestPolicy.abiMinor];
  return {
    measurement: measurementRule(policy.measurements, report.measurement, reference),
    rootfs: oneOf(policy.rootfs, "launch digest", report.measurement, "ATTEST_ROOTFS_UNMEASURED"),
    "vtpm-pcrs": pcrRule(question),
    debug: flag(guest.debug, "debugging", guestPolicy.debugAllowed, "ATTEST_DEBUG_ALLOWED"),
    migration: flag(guest.migration, "migration", guestPolicy.migrationAllowed, code),
    smt: flag(guest.smt, "SMT", guestPolicy.smtAllowed, code),
    "single-socket": flag(guest.singleSocket, "single socket", guestPolicy.singleSocket, code),
    cxl: flag(guest.cxl, "CXL", guestPolicy.cxlAllowed, code),
    "memory-aes-256-xts": flag(guest.memoryAes256Xts, "AES-256-XTS", guestPolicy.memoryAes256Xts, code),
    rapl: flag(guest.raplDisabled, "RAPL disabled", guestPolicy.raplDisabled, code),
    "ciphertext-hiding": flag(guest.ciphertextHiding, "ciphertext hiding", guestPolicy.ciphertextHiding, code),
    "page-swap": flag(guest.pageSwapDisabled, "page swap disabled", guestPolicy.pageSwapDisabled, code),
    abi: atLeast(guest.minimumAbi, "guest ABI", abi, code),
    vmpl: {
      wanted: guest.maximumVmpl,
      got: `VMPL ${report.vmpl}`,
      problem:
        guest.maximumVmpl !== UNCHECKED && report.vmpl > guest.maximumVmpl
          ? ["ATTEST_VMPL", `report: asked for at VMPL ${report.vmpl}, want at most ${guest.maximumVmpl}`]
          : undefined,
    },
    "guest-svn": atLeast(guest.minimumSvn, "guest SVN", [report.guestSvn], code),
    "host-data": oneOf(policy.hostData, "host data", report.hostData, "ATTEST_HOST_DATA"),
    "id-key": oneOf(policy.idKeys, "ID key", report.idKeyDigest, "ATTEST_ID_KEY"),
    "author-key": authorKey(report.authorKeyEnabled, policy.authorKeys, report.authorKeyDigest),
  };
}

/** Where both the policy and a release name launch digests, it must be one of each. */
function measurementRule(
  wanted: AttestationPolicy["measurements"],
  measurement: Buffer,
  reference: ReferenceValues | null,
): Rule {
  const code = "ATTEST_MEASUREMENT_UNKNOWN";
  if (reference === null) {
    if (wanted !== OF_RELEASE) return oneOf(wanted, "launch digest", measurement, code);
    const missing = "policy: its measurements are those of a release, and none was given";
    return { wanted, got: "no release", problem: ["ATTEST_RELEASE_MISSING", missing] };
  }
  const { release, launchDigests } = reference;
  const byRelease = oneOf(launchDigests, `launch digest of release ${release}`, measurement, code);
  if (byRelease.problem !== undefined || wanted === OF_RELEASE || wanted === UNCHECKED) return { ...byRelease, wanted };
  const byPolicy = oneOf(wanted, "launch digest", measurement, code);
  return byPolicy.problem === undefined ? { ...byRelease, wanted } : byPolicy;
}

/** The digest counts only if the firmware says that an author key was there. */
function authorKey(enabled: boolean, wanted: readonly string[] | Unchecked, digest: Buffer): Rule {
  const rule = oneOf(wanted, "author key", digest, "ATTEST_AUTHOR_KEY");
  return enabled ? rule : { ...rule, problem: ["ATTEST_AUTHOR_KEY", "report: it was started without an author key"] };
}

/** `wanted` and `got` number by number, as versions are compared. */
function atLeast(wanted: string | number | Unchecked, name: string, got: readonly number[], code: string): Rule {
  const want = `${wanted}`.split(".").map(Number);
  const first = got.findIndex((part, i) => part !== (want[i] ?? 0));
  const good = first < 0 || (got[first] ?? 0) > (want[first] ?? 0);
  const text = `${name} ${got.join(".")}`;
  return { wanted, got: text, problem: good ? undefined : [code, `report: ${text}, want at least ${wanted}`] };
}

/** The chip, its firmware and how the host has set it up. */
function hostRules(
  genuine: GenuineReport,
  { policy }: AppraisalQuestion,
): Rules<
  | "tcb-reported"
  | "tcb-current"
  | "tcb-committed"
  | "tcb-launch"
  | "chip-allowed"
  | "platform-alias-check"
  | "platform-smt"
  | "platform-tsme"
  | "platform-ecc"
  | "platform-rapl"
  | "platform-ciphertext-hiding"
  | "mitigations-launch"
  | "mitigations-current"
  | "firmware"
  | "firmware-provisional"
> {
  const { report, tcb } = genuine;
  const { platform, mitigations, firmware } = policy;
  const code = "ATTEST_PLATFORM";
  const version = ({ major, minor, build }: FirmwareVersion): number[] => [major, minor, build];
  const current = atLeast(firmware.minimum, "firmware", version(report.firmware.current), "ATTEST_FIRMWARE_OLD");
  const committed = atLeast(
    firmware.minimum,
    "committed firmware",
    version(report.firmware.committed),
    "ATTEST_FIRMWARE_OLD",
  );
  return {
    "tcb-reported": tcbRule(genuine, policy, tcb.reported),
    "tcb-current": tcbRule(genuine, policy, tcb.current),
    "tcb-committed": tcbRule(genuine, policy, tcb.committed),
    "tcb-launch": tcbRule(genuine, policy, tcb.launch),
    "chip-allowed": chipAllowed(genuine, policy),
    "platform-alias-check": flag(platform.aliasCheck, "alias check done", report.platform.aliasCheckComplete, code),
    "platform-smt": flag(platform.smt, "SMT", report.platform.smtEnabled, code),
    "platform-tsme": flag(platform.tsme, "TSME", report.platform.tsmeEnabled, code),
    "platform-ecc": flag(platform.ecc, "ECC memory", report.platform.eccEnabled, code),
    "platform-rapl": flag(platform.raplDisabled, "RAPL disabled", report.platform.raplDisabled, code),
    "platform-ciphertext-hiding": flag(
      platform.ciphertextHiding,
      "ciphertext hiding",
      report.platform.ciphertextHiding,
      code,
    ),
    "mitigations-launch": mitigationRule(mitigations.launch, "at launch", report.mitigations?.launch),
    "mitigations-current": mitigationRule(mitigations.current, "now", report.mitigations?.current),
    firmware: current.problem ? current : committed,
    "firmware-provisional": provisionalRule(genuine, firmware.provisional),
  };
}

function tcbRule({ product }: GenuineReport, { products }: AttestationPolicy, tcb: Tcb): Rule {
  const rule = products[product];
  const got = tcbText(product, tcb);
  if (rule === undefined || rule.minimumTcb === UNCHECKED) {
    return {
      wanted: "a minimum",
      got,
      problem: ["ATTEST_TCB_OLD", `report: the policy has no minimum TCB for ${product}`],
    };
  }
  const { minimumTcb } = rule;
  const old = tcbPartsOf(product).find((part) => tcb[part] < (minimumTcb[part] ?? 0));
  const problem = old && (["ATTEST_TCB_OLD", `report: ${old} ${tcb[old]}, want at least ${minimumTcb[old]}`] as const);
  return { wanted: minimumTcb, got, problem };
}

/** A VLEK vouches for a provider's fleet and not for one chip: what the report says of its chip proves nothing. */
function chipAllowed({ report }: GenuineReport, { chips }: AttestationPolicy): Rule {
  const rule = oneOf(chips, "chip", report.chipId, "ATTEST_CHIP_REFUSED");
  if (report.signer === "vcek") return rule;
  return { ...rule, problem: ["ATTEST_CHIP_REFUSED", "report: signed with a VLEK, which proves no chip"] };
}

function mitigationRule(wanted: string | Unchecked, when: string, got: bigint | undefined): Rule {
  const text =
    got === undefined
      ? `no mitigations ${when}: the report is too old to say`
      : `mitigations ${when} 0x${got.toString(16)}`;
  const want = wanted === UNCHECKED ? 0n : BigInt(wanted);
  const good = got !== undefined && (got & want) === want;
  return {
    wanted,
    got: text,
    problem: good ? undefined : ["ATTEST_MITIGATION_MISSING", `report: ${text}, want ${wanted}`],
  };
}

function provisionalRule({ report, tcb }: GenuineReport, wanted: "refused" | Unchecked): Rule {
  const same =
    JSON.stringify([report.firmware.current, tcb.current]) ===
    JSON.stringify([report.firmware.committed, tcb.committed]);
  return {
    wanted,
    got: same ? "the running firmware is committed" : "the running firmware is provisional",
    problem: same
      ? undefined
      : [
          "ATTEST_FIRMWARE_PROVISIONAL",
          "report: the running firmware is not committed, so the host can go back to an older one",
        ],
  };
}
