/** What a person wants to know of genuine evidence, and what a policy is written from. */
import type { AttestationVerdict } from "./attestation-verdict.ts";
import { type GenuineReport, tcbText } from "./verify-snp.ts";
import type { GenuineQuote } from "./verify-tdx.ts";

type Claims = NonNullable<AttestationVerdict["claims"]>;

const hex = (bytes: Buffer): string => bytes.toString("hex");

export function snpClaims({ report, product, tcb }: GenuineReport): Claims {
  const { guestPolicy, firmware, mitigations } = report;
  const text = (version: { major: number; minor: number; build: number }): string =>
    `${version.major}.${version.minor}.${version.build}`;
  return {
    product,
    reportVersion: report.version,
    signer: report.signer,
    measurement: hex(report.measurement),
    reportData: hex(report.reportData),
    hostData: hex(report.hostData),
    chipId: hex(report.chipId),
    reportId: hex(report.reportId),
    familyId: hex(report.familyId),
    imageId: hex(report.imageId),
    idKeyDigest: hex(report.idKeyDigest),
    authorKeyDigest: hex(report.authorKeyDigest),
    vmpl: report.vmpl,
    guestSvn: report.guestSvn,
    guestAbi: `${guestPolicy.abiMajor}.${guestPolicy.abiMinor}`,
    debugAllowed: guestPolicy.debugAllowed,
    migrationAllowed: guestPolicy.migrationAllowed,
    smtAllowed: guestPolicy.smtAllowed,
    platformInfo: `0x${report.platform.raw.toString(16)}`,
    firmwareCurrent: text(firmware.current),
    firmwareCommitted: text(firmware.committed),
    tcbReported: tcbText(product, tcb.reported),
    tcbCurrent: tcbText(product, tcb.current),
    tcbCommitted: tcbText(product, tcb.committed),
    tcbLaunch: tcbText(product, tcb.launch),
    ...(mitigations && {
      mitigationsLaunch: `0x${mitigations.launch.toString(16)}`,
      mitigationsCurrent: `0x${mitigations.current.toString(16)}`,
    }),
  };
}

export function tdxClaims({ quote, platform, tcb, tcbInfo, identity }: GenuineQuote): Claims {
  const { td } = quote;
  const [rtmr0 = "", rtmr1 = "", rtmr2 = "", rtmr3 = ""] = td.rtmrs.map(hex);
  return {
    quoteVersion: quote.version,
    fmspc: platform.fmspc,
    ppid: hex(platform.ppid),
    mrTd: hex(td.mrTd),
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3,
    reportData: hex(td.reportData),
    mrConfigId: hex(td.mrConfigId),
    mrOwner: hex(td.mrOwner),
    mrOwnerConfig: hex(td.mrOwnerConfig),
    mrSeam: hex(td.mrSeam),
    tdAttributes: `0x${td.tdAttributes.toString(16)}`,
    xfam: `0x${td.xfam.toString(16)}`,
    teeTcbSvn: [...td.teeTcbSvn].join("."),
    ...(td.later && { teeTcbSvnNow: [...td.later.teeTcbSvn].join("."), mrServiceTd: hex(td.later.mrServiceTd) }),
    sgxTcb: platform.components.join("."),
    pceSvn: platform.pceSvn,
    tcbStatus: tcb.status,
    tcbDate: tcb.date,
    advisories: tcb.advisories.join(", "),
    tcbEvaluation: Math.min(tcbInfo.tcbEvaluationDataNumber, identity.tcbEvaluationDataNumber),
    ...(platform.smtEnabled !== null && { smtEnabled: platform.smtEnabled }),
  };
}
