/**
 * What Intel's documents say of this platform, its TDX module and its quoting enclave: which level of each list is
 * met, component by component, and what follows for all three together (Intel TDX DCAP, "Appraisal of the TCB").
 */
import { attestationError } from "./error.ts";
import type { PlatformCertificate } from "./sgx-extension.ts";
import {
  type EnclaveIdentity,
  type EnclaveLevel,
  type ModuleIdentity,
  TCB_STATUSES,
  type TcbInfo,
  type TcbStatus,
  type TcbVerdict,
} from "./tdx-collateral.ts";
import type { EnclaveReport, TdReport } from "./tdx-quote.ts";

export interface CertifiedTcb {
  /** The worst that follows from platform, module and enclave. */
  readonly status: TcbStatus;
  /** Of the platform's level. */
  readonly date: string;
  /** Intel's security advisories that are open for any of the three, each once, sorted. */
  readonly advisories: readonly string[];
  readonly platform: TcbStatus;
  readonly module: TcbStatus;
  readonly quotingEnclave: TcbStatus;
}

/** SGX attribute: the host can look into the enclave. */
const ENCLAVE_DEBUG = 0b10;

/** @throws ATTEST_QE_REFUSED unless the enclave is the one that the identity describes, and not debugged */
export function requireQuotingEnclave(report: EnclaveReport, identity: EnclaveIdentity): void {
  const refuse = (problem: string): Error => attestationError("ATTEST_QE_REFUSED", `quoting enclave: ${problem}`);
  if (!report.mrSigner.equals(Buffer.from(identity.mrsigner, "hex"))) {
    throw refuse(`signed by ${report.mrSigner.toString("hex")}, not by Intel`);
  }
  if (report.isvProdId !== identity.isvprodid) {
    throw refuse(`got product ${report.isvProdId}, want ${identity.isvprodid}`);
  }
  if (((report.attributes[0] ?? 0) & ENCLAVE_DEBUG) !== 0) throw refuse("it runs in debug mode");
  if (!agrees(report.miscSelect, identity.miscselect, identity.miscselectMask))
    throw refuse("its MISCSELECT is another");
  if (!agrees(report.attributes, identity.attributes, identity.attributesMask)) {
    throw refuse(`its attributes ${report.attributes.toString("hex")} are others`);
  }
}

/** The identity of the module that measured the TD: by its major version, which is 0 for TDX 1.0. */
function moduleOf(
  td: TdReport,
  info: TcbInfo,
): { readonly identity: ModuleIdentity; readonly levels: readonly EnclaveLevel[] } {
  const major = td.teeTcbSvn[1] ?? 0;
  if (major === 0) return { identity: info.tdxModule, levels: [] };
  const name = `TDX_${major.toString(16).padStart(2, "0")}`;
  const found = info.tdxModuleIdentities?.find(({ id }) => id.toLowerCase() === name.toLowerCase());
  if (found === undefined) {
    throw attestationError("ATTEST_MODULE_REFUSED", `TDX module: Intel's TCB info knows none of ${name}`);
  }
  return { identity: found, levels: found.tcbLevels };
}

/** @throws ATTEST_MODULE_REFUSED unless Intel has signed the module, and its attributes are those that Intel names */
export function requireModule(td: TdReport, info: TcbInfo): void {
  const refuse = (problem: string): Error => attestationError("ATTEST_MODULE_REFUSED", `TDX module: ${problem}`);
  const { identity } = moduleOf(td, info);
  if (!td.mrSignerSeam.equals(Buffer.from(identity.mrsigner, "hex"))) {
    throw refuse(`signed by ${td.mrSignerSeam.toString("hex")}, not by Intel`);
  }
  if (!agrees(td.seamAttributes, identity.attributes, identity.attributesMask)) {
    throw refuse(`its attributes ${td.seamAttributes.toString("hex")} are others`);
  }
}

/** Whether `value` has in the bits of `mask` what `wanted` has. Both in hexadecimal, byte by byte as `value`. */
function agrees(value: Buffer, wanted: string, mask: string): boolean {
  const [want, bits] = [Buffer.from(wanted, "hex"), Buffer.from(mask, "hex")];
  return value.every((byte, i) => (((want[i] ?? 0) ^ byte) & (bits[i] ?? 0)) === 0);
}

/** @throws ATTEST_TCB_UNKNOWN if the platform, module or enclave is older than everything that Intel lists */
export function certifyTcb(
  td: TdReport,
  platform: PlatformCertificate,
  report: EnclaveReport,
  info: TcbInfo,
  identity: EnclaveIdentity,
): CertifiedTcb {
  const platformLevel = firstMet(info.tcbLevels, "platform", ({ tcb }) => {
    // From TDX 1.5 on the first two are the module's, which has levels of its own.
    const from = (td.teeTcbSvn[1] ?? 0) > 0 ? 2 : 0;
    return (
      tcb.sgxtcbcomponents.every(({ svn }, i) => (platform.components[i] ?? 0) >= svn) &&
      tcb.tdxtcbcomponents.every(({ svn }, i) => i < from || (td.teeTcbSvn[i] ?? 0) >= svn) &&
      platform.pceSvn >= tcb.pcesvn
    );
  });
  const { levels } = moduleOf(td, info);
  const none: TcbVerdict = { tcbStatus: "UpToDate", tcbDate: platformLevel.tcbDate };
  const moduleLevel =
    levels.length === 0 ? none : firstMet(levels, "TDX module", ({ tcb }) => (td.teeTcbSvn[0] ?? 0) >= tcb.isvsvn);
  const enclaveLevel = firstMet(identity.tcbLevels, "quoting enclave", ({ tcb }) => report.isvSvn >= tcb.isvsvn);
  const all: readonly TcbVerdict[] = [platformLevel, moduleLevel, enclaveLevel];
  return {
    status: together(platformLevel.tcbStatus, [moduleLevel.tcbStatus, enclaveLevel.tcbStatus]),
    date: platformLevel.tcbDate,
    advisories: [...new Set(all.flatMap(({ advisoryIDs = [] }) => advisoryIDs))].sort(),
    platform: platformLevel.tcbStatus,
    module: moduleLevel.tcbStatus,
    quotingEnclave: enclaveLevel.tcbStatus,
  };
}

/** Intel lists levels from the newest to the oldest. */
function firstMet<Level>(levels: readonly Level[], name: string, isMet: (level: Level) => boolean): Level {
  const level = levels.find(isMet);
  if (level !== undefined) return level;
  throw attestationError("ATTEST_TCB_UNKNOWN", `${name}: it is older than all that Intel's documents list`);
}

/** What is out of date in a part makes the whole out of date, and keeps what is to be configured. */
function together(platform: TcbStatus, parts: readonly TcbStatus[]): TcbStatus {
  if ([platform, ...parts].includes("Revoked")) return "Revoked";
  if (!parts.some((status) => status.startsWith("OutOfDate"))) {
    // A part has no statuses of its own but these two; another one is taken for what it says.
    return worst([platform, ...parts]);
  }
  const needsConfiguration = [platform, ...parts].some((status) => status.includes("Configuration"));
  return needsConfiguration ? "OutOfDateConfigurationNeeded" : "OutOfDate";
}

function worst(statuses: readonly TcbStatus[]): TcbStatus {
  return TCB_STATUSES[Math.max(...statuses.map((status) => TCB_STATUSES.indexOf(status)))] as TcbStatus;
}
