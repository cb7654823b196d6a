/** What a connected machine must fetch, so that a report or quote can be verified where there is no network. */
import { readCertificates } from "./certificate.ts";
import { readSgxExtension, SGX_EXTENSION } from "./sgx-extension.ts";
import { hardwareIdBytes, readTcb, SNP_PRODUCTS, type SnpProduct, type TcbPart, tcbPartsOf } from "./snp-product.ts";
import { parseSnpReport, type SnpReport } from "./snp-report.ts";
import { isTdxQuote, parseTdxQuote, type TdxQuote } from "./tdx-quote.ts";

const KEY_SERVER = "https://kdsintf.amd.com";
const INTEL_SERVER = "https://api.trustedservices.intel.com";
/** The names that AMD's key server has for the parts of a TCB (AMD 57230). */
const QUERY_NAMES: Readonly<Record<TcbPart, string>> = {
  fmc: "fmcSPL",
  bootloader: "blSPL",
  tee: "teeSPL",
  snp: "snpSPL",
  microcode: "ucodeSPL",
};

/** The addresses for a report or a quote that is not parsed yet. @throws what its parser throws */
export function collateralNeedsOf(report: Buffer): readonly string[] {
  return isTdxQuote(report) ? tdxCollateralNeeds(parseTdxQuote(report)) : collateralNeeds(parseSnpReport(report));
}

/**
 * Addresses on Intel's servers: TCB info of the platform, the quoting enclave's identity, both revocation lists. The
 * certificate of the key that signs the first two comes in a header of their answers (TCB-Info-Issuer-Chain).
 * @throws ATTEST_CERTIFICATE_MALFORMED for a quote whose certificates cannot be read
 */
export function tdxCollateralNeeds(quote: TdxQuote): readonly string[] {
  const pem = quote.chain.at(-1) === 0 ? quote.chain.subarray(0, -1) : quote.chain;
  const [leaf] = readCertificates(pem);
  const { fmspc } = readSgxExtension(leaf?.extensions.get(SGX_EXTENSION));
  const authority = leaf?.issuerCommonName.includes("Processor") ? "processor" : "platform";
  return [
    `${INTEL_SERVER}/tdx/certification/v4/tcb?fmspc=${fmspc}`,
    `${INTEL_SERVER}/tdx/certification/v4/qe/identity`,
    `${INTEL_SERVER}/sgx/certification/v4/pckcrl?ca=${authority}&encoding=der`,
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
  ];
}

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
