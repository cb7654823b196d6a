/** Compares what a genuine TDX quote says with the policy: one finding for each of TDX_POLICY_CHECKS. */
import {
  findingOf,
  flag,
  listEnding,
  listUntil,
  nonceProblem,
  oneOf,
  type Problem,
  type ReferenceValues,
  type Rule,
} from "./appraise.ts";
import {
  type AttestationFinding,
  attestationUnchecked,
  TDX_POLICY_CHECKS,
  type TdxPolicyCheck,
} from "./attestation-verdict.ts";
import { type Ending, firstEnding } from "./ending.ts";
import { UNCHECKED } from "./policy-schema.ts";
import type { TdxMeasurement, TdxPolicy } from "./tdx-policy.ts";
import type { TdReport } from "./tdx-quote.ts";
import { type GenuineQuote, tcbText } from "./verify-tdx.ts";

export interface TdxQuestion {
  readonly policy: TdxPolicy;
  readonly at: Date;
  /** What REPORTDATA must be, 64 bytes, or why no answer counts: the code and a sentence. */
  readonly reportData: Buffer | readonly [code: string, message: string];
  /** A release's reference values: the quote's MRTD must be one of them, beside what the policy lists. */
  readonly reference: ReferenceValues | null;
}

/** Bits of TDATTRIBUTES (Intel TDX module ABI, "ATTRIBUTES"). The first eight say "TD under debug", for one reason or another. */
const DEBUG_BITS = 0xffn;
const SEPT_VE_DISABLE = 1n << 28n;
const MIGRATABLE = 1n << 29n;
const PROTECTION_KEYS = 1n << 30n;
const KEY_LOCKER = 1n << 31n;
const PERFMON = 1n << 63n;
const KNOWN_BITS = DEBUG_BITS | SEPT_VE_DISABLE | MIGRATABLE | PROTECTION_KEYS | KEY_LOCKER | PERFMON;

/** In the order of TDX_POLICY_CHECKS. Nothing is thrown: whatever is missing from the evidence fails. */
export function appraiseTdx(genuine: GenuineQuote, question: TdxQuestion): AttestationFinding[] {
  const rules = {
    ...trustRules(genuine, question),
    ...tcbRules(genuine, question),
    ...softwareRules(genuine, question),
    ...hostRules(genuine, question),
  };
  return TDX_POLICY_CHECKS.map((check) => findingOf(check, rules[check]));
}

/** The findings if the quote is not proven to be genuine. */
export function tdxNotAppraised(): AttestationFinding[] {
  return TDX_POLICY_CHECKS.map((check) => attestationUnchecked(check, "the quote is not proven to be genuine"));
}

/** Until when the collateral at hand will do. */
export function tdxUsableUntil(genuine: GenuineQuote, { revocation, collateral }: TdxPolicy): Ending {
  const documents = { what: "TCB info or enclave identity", at: documentsUntil(genuine, collateral.graceDays) };
  const lists =
    genuine.revocation === null || revocation === UNCHECKED
      ? []
      : Object.values(genuine.revocation).map((list) => listEnding(list, revocation.graceDays));
  return firstEnding([...genuine.endings, documents, ...lists]);
}

function documentsUntil({ tcbInfo, identity }: GenuineQuote, graceDays: number): Date {
  const first = Math.min(Date.parse(tcbInfo.nextUpdate), Date.parse(identity.nextUpdate));
  return listUntil(new Date(first), graceDays);
}

type Rules<Checks extends TdxPolicyCheck> = Readonly<Record<Checks, Rule>>;

const fails = (holds: boolean, code: string, message: string): Problem => (holds ? undefined : [code, message]);

/** Whether what vouches for the quote is new enough and not revoked. */
function trustRules(
  genuine: GenuineQuote,
  question: TdxQuestion,
): Rules<"revocation-fresh" | "collateral-fresh" | "revoked-here" | "nonce" | "report-version" | "product-allowed"> {
  const { quote, platform } = genuine;
  const { policy } = question;
  const allowed = Object.keys(policy.platforms);
  return {
    "revocation-fresh": revocationRule(genuine, question),
    "collateral-fresh": documentsRule(genuine, question),
    "revoked-here": revokedHere(genuine, policy),
    nonce: {
      wanted: policy.nonce,
      got: `REPORTDATA ${quote.td.reportData.toString("hex")}`,
      problem: nonceProblem(quote.td.reportData, question.reportData),
    },
    "report-version": {
      wanted: policy.quoteVersions,
      got: `version ${quote.version}`,
      problem: fails(
        policy.quoteVersions.includes(quote.version),
        "ATTEST_REPORT_VERSION",
        `quote: got version ${quote.version}, want ${policy.quoteVersions.join(" or ")}`,
      ),
    },
    "product-allowed": {
      wanted: allowed,
      got: `platform ${platform.fmspc}`,
      problem: fails(
        allowed.includes(platform.fmspc),
        "ATTEST_PRODUCT_REFUSED",
        `quote: got platform (FMSPC) ${platform.fmspc}, want ${allowed.join(" or ")}`,
      ),
    },
  };
}

function revocationRule({ revocation }: GenuineQuote, { policy, at }: TdxQuestion): Rule {
  const wanted = policy.revocation;
  if (revocation === null) {
    const missing = "there is not a revocation list of each authority";
    return { wanted, got: missing, problem: ["ATTEST_CRL_MISSING", missing] };
  }
  const graceDays = wanted === UNCHECKED ? 0 : wanted.graceDays;
  const lists = [
    ["root", revocation.root],
    ["platform", revocation.platform],
  ] as const;
  const got = lists.map(
    ([name, { number, nextUpdate }]) => `${name}'s list ${number}, next update ${nextUpdate.toISOString()}`,
  );
  for (const [name, { number, thisUpdate, nextUpdate }] of lists) {
    const least = policy.minimumListNumbers[name];
    const until = listUntil(nextUpdate, graceDays);
    const problem =
      number < BigInt(least)
        ? ([
            "ATTEST_CRL_ROLLED_BACK",
            `${name}'s revocation list: got number ${number}, want at least ${least}`,
          ] as const)
        : at < thisUpdate
          ? (["ATTEST_CRL_NOT_YET_VALID", `${name}'s revocation list: issued ${thisUpdate.toISOString()}`] as const)
          : fails(at <= until, "ATTEST_CRL_STALE", `${name}'s revocation list: usable until ${until.toISOString()}`);
    if (problem !== undefined) return { wanted, got: got.join("; "), problem };
  }
  return { wanted, got: got.join("; "), problem: undefined };
}

function documentsRule(genuine: GenuineQuote, { policy, at }: TdxQuestion): Rule {
  const { tcbInfo, identity } = genuine;
  const wanted = policy.collateral;
  const issued = new Date(Math.max(Date.parse(tcbInfo.issueDate), Date.parse(identity.issueDate)));
  const until = documentsUntil(genuine, wanted.graceDays);
  const got = `TCB info and enclave identity usable until ${until.toISOString()}`;
  if (at < issued) {
    return { wanted, got, problem: ["ATTEST_COLLATERAL_NOT_YET_VALID", `collateral: issued ${issued.toISOString()}`] };
  }
  return { wanted, got, problem: fails(at <= until, "ATTEST_COLLATERAL_STALE", `collateral: ${got}`) };
}

function revokedHere({ platform, keys }: GenuineQuote, { revoked }: TdxPolicy): Rule {
  const chip = platform.ppid.toString("hex");
  const key = keys.find((digest) => revoked.keys.includes(digest));
  const got = `neither chip nor key is on the policy's list of ${revoked.chips.length + revoked.keys.length}`;
  if (revoked.chips.includes(chip))
    return { wanted: revoked, got, problem: ["ATTEST_CHIP_REVOKED", `quote: the policy revokes chip ${chip}`] };
  return { wanted: revoked, got, problem: key && ["ATTEST_KEY_REVOKED", `quote: the policy revokes key ${key}`] };
}

/** How good the platform's software is, in Intel's words and in the policy's. */
function tcbRules(
  genuine: GenuineQuote,
  { policy }: TdxQuestion,
): Rules<"tcb-status" | "tcb-advisories" | "tcb-evaluation" | "tcb-minimum"> {
  const { tcb, tcbInfo, identity, platform } = genuine;
  const rule = policy.platforms[platform.fmspc];
  const evaluation = Math.min(tcbInfo.tcbEvaluationDataNumber, identity.tcbEvaluationDataNumber);
  const least = rule?.minimumEvaluationNumber ?? Number.POSITIVE_INFINITY;
  const accepted = policy.acceptedAdvisories;
  const open = tcb.advisories.filter((advisory) => accepted !== UNCHECKED && !accepted.includes(advisory));
  const none = tcb.advisories.length === 0;
  return {
    "tcb-status": {
      wanted: policy.tcbStatuses,
      got: tcbText(tcb),
      problem: fails(
        policy.tcbStatuses.includes(tcb.status),
        "ATTEST_TCB_STATUS",
        `TCB: Intel calls it ${tcbText(tcb)}, want ${policy.tcbStatuses.join(" or ")}`,
      ),
    },
    "tcb-advisories": {
      wanted: accepted,
      got: none ? "no advisory is open" : `open advisories: ${tcb.advisories.join(", ")}`,
      problem: fails(open.length === 0, "ATTEST_TCB_ADVISORY", `TCB: the policy does not accept ${open.join(", ")}`),
    },
    "tcb-evaluation": {
      wanted: least,
      got: `TCB evaluation ${evaluation}`,
      problem: fails(
        evaluation >= least,
        "ATTEST_COLLATERAL_ROLLED_BACK",
        `collateral: got TCB evaluation ${evaluation}, want at least ${least}`,
      ),
    },
    "tcb-minimum": tcbMinimum(genuine, rule?.minimumTcb),
  };
}

/** Component by component: a larger one makes up for no other. */
function tcbMinimum(
  { quote, platform }: GenuineQuote,
  minimum: TdxPolicy["platforms"][string]["minimumTcb"] | undefined,
): Rule {
  const { teeTcbSvn, later } = quote.td;
  const got = `TDX ${dotted(teeTcbSvn)}${later ? `, now ${dotted(later.teeTcbSvn)}` : ""}, SGX ${dotted(platform.components)}, PCE ${platform.pceSvn}`;
  if (minimum === undefined)
    return { wanted: null, got, problem: ["ATTEST_TCB_OLD", "TCB: the policy has none for this platform"] };
  if (minimum === UNCHECKED) return { wanted: minimum, got, problem: undefined };
  const meets = (values: Iterable<number>, least: readonly number[]): boolean =>
    [...values].every((value, i) => value >= (least[i] ?? 0));
  const isGood =
    meets(teeTcbSvn, minimum.tdx) &&
    (later === null || meets(later.teeTcbSvn, minimum.tdx)) &&
    meets(platform.components, minimum.sgx) &&
    platform.pceSvn >= minimum.pceSvn;
  const want = `TDX ${dotted(minimum.tdx)}, SGX ${dotted(minimum.sgx)}, PCE ${minimum.pceSvn}`;
  return { wanted: minimum, got, problem: fails(isGood, "ATTEST_TCB_OLD", `TCB: got ${got}, want at least ${want}`) };
}

const dotted = (parts: Iterable<number>): string => [...parts].join(".");

/** What was started, and with which rights. */
function softwareRules(
  { quote }: GenuineQuote,
  { policy, reference }: TdxQuestion,
): Rules<
  | "measurement"
  | "rootfs"
  | "debug"
  | "migration"
  | "sept-ve-disable"
  | "perfmon"
  | "key-locker"
  | "attributes"
  | "xfam"
  | "host-data"
  | "owner"
  | "owner-config"
  | "service-td"
> {
  const { td } = quote;
  const { guest } = policy;
  const code = "ATTEST_GUEST_POLICY";
  const bits = td.tdAttributes;
  const other = bits & ~KNOWN_BITS;
  const serviceTd = td.later?.mrServiceTd ?? Buffer.alloc(48);
  return {
    ...measurementRules(td, policy, reference),
    debug: flag(guest.debug, "debugging", (bits & DEBUG_BITS) !== 0n, "ATTEST_DEBUG_ALLOWED"),
    migration: flag(guest.migration, "migration", (bits & MIGRATABLE) !== 0n, code),
    "sept-ve-disable": flag(guest.septVeDisable, "SEPT_VE_DISABLE", (bits & SEPT_VE_DISABLE) !== 0n, code),
    perfmon: flag(guest.perfmon, "PERFMON", (bits & PERFMON) !== 0n, code),
    "key-locker": flag(guest.keyLocker, "key locker", (bits & KEY_LOCKER) !== 0n, code),
    attributes: flag(guest.otherAttributes, `other attributes (0x${other.toString(16)})`, other !== 0n, code),
    xfam: xfamRule(guest.xfam, td.xfam),
    "host-data": oneOf(policy.configIds, "MRCONFIGID", td.mrConfigId, "ATTEST_HOST_DATA"),
    owner: oneOf(policy.owners, "MROWNER", td.mrOwner, "ATTEST_TD_OWNER"),
    "owner-config": oneOf(policy.ownerConfigs, "MROWNERCONFIG", td.mrOwnerConfig, "ATTEST_TD_OWNER"),
    "service-td": oneOf(policy.serviceTds, "MRSERVICETD", serviceTd, "ATTEST_SERVICE_TD"),
  };
}

function xfamRule(wanted: string, got: bigint): Rule {
  const text = `XFAM 0x${got.toString(16)}`;
  if (wanted === UNCHECKED) return { wanted, got: text, problem: undefined };
  return {
    wanted,
    got: text,
    problem: fails(
      (got & ~BigInt(wanted)) === 0n,
      "ATTEST_GUEST_POLICY",
      `TD: got ${text}, want no bit beside ${wanted}`,
    ),
  };
}

function measurementRules(
  td: TdReport,
  { measurements, rootfs }: TdxPolicy,
  reference: ReferenceValues | null,
): Rules<"measurement" | "rootfs"> {
  const code = "ATTEST_MEASUREMENT_UNKNOWN";
  const registers = [td.mrTd, ...td.rtmrs].map((register) => register.toString("hex"));
  const got = registers.map((value, i) => `${i === 0 ? "MRTD" : `RTMR${i - 1}`} ${value}`).join(", ");
  const met = measurements === UNCHECKED ? [] : measurements.filter((one) => isMeasurement(one, registers));
  return {
    measurement: {
      wanted: measurements,
      got,
      problem:
        fails(met.length > 0, code, `quote: ${got}, which together are none of the policy's`) ??
        releaseProblem(reference, registers[0] ?? ""),
    },
    rootfs: {
      wanted: rootfs,
      got: "the policy says that this start fixes the root file system",
      problem: fails(
        met.some(({ fixesRootfs }) => fixesRootfs),
        "ATTEST_ROOTFS_UNMEASURED",
        "quote: the policy does not say of this start that it fixes the root file system",
      ),
    },
  };
}

/** A release names the firmware alone; loader and kernel are in RTMRs, which the policy lists. */
function releaseProblem(reference: ReferenceValues | null, mrTd: string): Problem {
  if (reference === null || reference.mrTds?.includes(mrTd)) return undefined;
  const what = reference.mrTds === undefined || reference.mrTds.length === 0 ? "has none" : "has others";
  return ["ATTEST_MEASUREMENT_UNKNOWN", `quote: MRTD ${mrTd}, but release ${reference.release} ${what}`];
}

function isMeasurement({ mrTd, rtmrs }: TdxMeasurement, registers: readonly string[]): boolean {
  return [mrTd, ...rtmrs].every((wanted, i) => wanted === UNCHECKED || wanted === registers[i]);
}

/** The module and the chip. */
function hostRules(
  { quote, platform }: GenuineQuote,
  { policy }: TdxQuestion,
): Rules<"tdx-module-build" | "chip-allowed" | "platform-smt"> {
  const smt = platform.smtEnabled;
  return {
    "tdx-module-build": oneOf(policy.modules, "MRSEAM", quote.td.mrSeam, "ATTEST_MODULE_REFUSED"),
    "chip-allowed": oneOf(policy.chips, "PPID", platform.ppid, "ATTEST_CHIP_REFUSED"),
    "platform-smt": {
      wanted: policy.platformSmt,
      got: smt === null ? "the certificate says nothing of SMT" : `SMT is ${smt ? "on" : "off"}`,
      problem: fails(smt === false, "ATTEST_PLATFORM", "platform: SMT is on, or its certificate does not say"),
    },
  };
}
