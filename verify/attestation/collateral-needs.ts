/** What a connected machine must fetch, so that a report can be verified where there is no network. */
import { hardwareIdBytes, readTcb, SNP_PRODUCTS, type SnpProduct, type TcbPart, tcbPartsOf } from "./snp-product.ts";
import type { SnpReport } from "./snp-report.ts";

const KEY_SERVER = "https://kdsintf.amd.com";
/** The names that AMD's key server has for the parts of a TCB (AMD 57230). */
const QUERY_NAMES: Readonly<Record<TcbPart, string>> = {
  fmc: "fmcSPL",
  bootloader: "blSPL",
  tee: "teeSPL",
  snp: "snpSPL",
  microcode: "ucodeSPL",
};

/**
 * Addresses on AMD's key server, in the order chip, authorities, revocation list. A report of version 2 does not
 * name its processor: then those of each processor that its TCB can be of. A VLEK's certificate is the provider's.
 */
export function collateralNeeds(report: SnpReport): readonly string[] {
  const products =
    report.product === null ? SNP_PRODUCTS.filter((product) => canBe(report, product)) : [report.product];
  const kind = report.signer;
  return products.flatMap((product) => [
    ...(kind === "vcek" ? [chipAddress(report, product)] : []),
    `${KEY_SERVER}/${kind}/v1/${product}/cert_chain`,
    `${KEY_SERVER}/${kind}/v1/${product}/crl`,
  ]);
}

/** Turin's reports have never been of version 2, and its TCB has other reserved bytes. */
function canBe(report: SnpReport, product: SnpProduct): boolean {
  if (product === "Turin") return false;
  try {
    readTcb(product, report.tcb.reported);
    return true;
  } catch {
    return false;
  }
}

function chipAddress(report: SnpReport, product: SnpProduct): string {
  const tcb = readTcb(product, report.tcb.reported);
  const chip = report.chipId.toString("hex", 0, hardwareIdBytes(product));
  const query = tcbPartsOf(product).map((part) => `${QUERY_NAMES[part]}=${`${tcb[part]}`.padStart(2, "0")}`);
  return `${KEY_SERVER}/vcek/v1/${product}/${chip}?${query.join("&")}`;
}
