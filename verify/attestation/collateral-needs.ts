/**
 * What a connected machine must fetch, so that a report or quote can be verified where there is no network: facts about
 * the platform, and from them the addresses. The facts travel (collateral-request.ts) and never an address, so that a
 * host cannot send the connected machine anywhere it likes.
 */
import { readCertificates } from "./certificate.ts";
import { readSgxExtension, SGX_EXTENSION } from "./sgx-extension.ts";
import { hardwareIdBytes, readTcb, SNP_PRODUCTS, type SnpProduct, type TcbPart, tcbPartsOf } from "./snp-product.ts";
import { parseSnpReport, type SnpReport, type SnpSigner } from "./snp-report.ts";
import { isTdxQuote, parseTdxQuote, type TdxQuote } from "./tdx-quote.ts";

export interface SnpNeed {
  readonly kind: "sev-snp";
  readonly product: SnpProduct;
  readonly signer: SnpSigner;
  /** The chip's name as its certificate has it, hexadecimal; null for a VLEK, whose certificate is the provider's. */
  readonly chip: string | null;
  /** Of the reported TCB; null for a VLEK. */
  readonly tcb: Readonly<Partial<Record<TcbPart, number>>> | null;
  /** A report of version 2 does not name its processor: then there is one need for each that it can be of. */
  readonly certain: boolean;
}

export interface TdxNeed {
  readonly kind: "tdx";
  /** 12 hexadecimal digits. */
  readonly fmspc: string;
  readonly authority: "platform" | "processor";
}

export type CollateralNeed = SnpNeed | TdxNeed;

/** Where the vendors' servers are, without a slash at the end. */
export interface CollateralServers {
  readonly amd: string;
  readonly intel: string;
  /** Has the revocation list of Intel's root. */
  readonly intelCertificates: string;
}

export const VENDORS_SERVERS: CollateralServers = {
  amd: "https://kdsintf.amd.com",
  intel: "https://api.trustedservices.intel.com",
  intelCertificates: "https://certificates.trustedservices.intel.com",
};

/** One file that a server has. */
export interface CollateralAddress {
  readonly url: string;
  /** What the file is called in the kit. */
  readonly name: string;
  /** The answer's header with the certificates that belong to it, percent-encoded PEM, and their file's name. */
  readonly chain?: { readonly header: string; readonly name: string };
}

/** The names that AMD's key server has for the parts of a TCB (AMD 57230). */
const QUERY_NAMES: Readonly<Record<TcbPart, string>> = {
  fmc: "fmcSPL",
  bootloader: "blSPL",
  tee: "teeSPL",
  snp: "snpSPL",
  microcode: "ucodeSPL",
};
/** Enough of a chip's name to tell files apart. */
const NAMED_DIGITS = 16;

/** The needs of a report or a quote that is not parsed yet. @throws what its parser throws */
export function needsOf(report: Buffer): readonly CollateralNeed[] {
  return isTdxQuote(report) ? [tdxNeed(parseTdxQuote(report))] : snpNeeds(parseSnpReport(report));
}

/** @throws ATTEST_CERTIFICATE_MALFORMED for a quote whose certificates cannot be read */
function tdxNeed(quote: TdxQuote): TdxNeed {
  const pem = quote.chain.at(-1) === 0 ? quote.chain.subarray(0, -1) : quote.chain;
  const [leaf] = readCertificates(pem);
  const { fmspc } = readSgxExtension(leaf?.extensions.get(SGX_EXTENSION));
  return { kind: "tdx", fmspc, authority: leaf?.issuerCommonName.includes("Processor") ? "processor" : "platform" };
}

export function snpNeeds(report: SnpReport): readonly SnpNeed[] {
  const certain = report.product !== null;
  const products = certain ? [report.product] : SNP_PRODUCTS.filter((product) => canBe(report, product));
  return products.map((product) => ({
    kind: "sev-snp",
    product,
    signer: report.signer,
    ...(report.signer === "vcek" ? chipOf(report, product) : { chip: null, tcb: null }),
    certain,
  }));
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

function chipOf(report: SnpReport, product: SnpProduct): Pick<SnpNeed, "chip" | "tcb"> {
  const tcb = readTcb(product, report.tcb.reported);
  return {
    chip: report.chipId.toString("hex", 0, hardwareIdBytes(product)),
    tcb: Object.fromEntries(tcbPartsOf(product).map((part) => [part, tcb[part]])),
  };
}

export function addressesOf(need: CollateralNeed, servers = VENDORS_SERVERS): readonly CollateralAddress[] {
  return need.kind === "tdx" ? tdxAddresses(need, servers) : snpAddresses(need, servers);
}

/** On AMD's key server, in the order chip, authorities, revocation list. */
function snpAddresses({ product, signer, chip, tcb }: SnpNeed, { amd }: CollateralServers): CollateralAddress[] {
  const base = `${amd}/${signer}/v1/${product}`;
  const name = `amd-${product.toLowerCase()}-${signer}`;
  const parts = tcbPartsOf(product).map((part) => [part, tcb?.[part] ?? 0] as const);
  const query = parts.map(([part, value]) => `${QUERY_NAMES[part]}=${`${value}`.padStart(2, "0")}`).join("&");
  const firmware = parts.map(([, value]) => value).join(".");
  const ofChip = { url: `${base}/${chip}?${query}`, name: `${name}-${chip?.slice(0, NAMED_DIGITS)}-${firmware}.der` };
  return [
    ...(chip === null ? [] : [ofChip]),
    { url: `${base}/cert_chain`, name: `${name}-chain.pem` },
    { url: `${base}/crl`, name: `${name}.crl` },
  ];
}

/** On Intel's servers (PCS API, version 4): TCB info of the platform, the quoting enclave's identity, both revocation lists. */
function tdxAddresses({ fmspc, authority }: TdxNeed, servers: CollateralServers): CollateralAddress[] {
  const { intel, intelCertificates } = servers;
  return [
    {
      url: `${intel}/tdx/certification/v4/tcb?fmspc=${fmspc}`,
      name: `intel-tdx-tcb-${fmspc}.json`,
      chain: { header: "TCB-Info-Issuer-Chain", name: "intel-tcb-signing.pem" },
    },
    {
      url: `${intel}/tdx/certification/v4/qe/identity`,
      name: "intel-tdx-qe-identity.json",
      chain: { header: "SGX-Enclave-Identity-Issuer-Chain", name: "intel-qe-signing.pem" },
    },
    {
      url: `${intel}/sgx/certification/v4/pckcrl?ca=${authority}&encoding=der`,
      name: `intel-pck-${authority}.crl`,
      chain: { header: "SGX-PCK-CRL-Issuer-Chain", name: `intel-pck-${authority}-authority.pem` },
    },
    { url: `${intelCertificates}/IntelSGXRootCA.der`, name: "intel-root.crl" },
  ];
}

/** The vendors' addresses for a report or a quote that is not parsed yet, for a person. @throws what its parser throws */
export function collateralNeedsOf(report: Buffer): readonly string[] {
  return needsOf(report).flatMap((need) => addressesOf(need).map(({ url }) => url));
}
