/**
 * Finds out whether an SEV-SNP report is AMD's own word: certificates up to a pinned root, what they say about
 * the chip against what the report says, the signature, and AMD's revocation lists (AMD 57230). It does not
 * judge what the report says; appraise.ts does.
 */
import { verify as verifySignature } from "node:crypto";
import type { Digest } from "../../bundles/model/digest.ts";
import { isAmdRoot } from "./amd-roots.ts";
import type { AttestationPolicy } from "./attestation-policy.ts";
import { type AttestationFinding, attestationUnchecked, GENUINENESS_CHECKS } from "./attestation-verdict.ts";
import {
  isIssuedBy,
  isSignedBy,
  type ReadCertificate,
  type RevocationList,
  shortString,
  smallInteger,
} from "./certificate.ts";
import { certificateEndings, type Ending } from "./ending.ts";
import { attestationError } from "./error.ts";
import { Genuineness } from "./genuineness.ts";
import {
  hardwareIdBytes,
  readTcb,
  SNP_PRODUCTS,
  type SnpProduct,
  TCB_PARTS,
  type Tcb,
  tcbPartsOf,
} from "./snp-product.ts";
import { SNP_SIGNED_BYTES, type SnpReport, type SnpSigner } from "./snp-report.ts";

/** Whose signature is asked for: AMD's, or that of one run of the simulator. */
export type Authority = { readonly kind: "amd" } | { readonly kind: "simulated"; readonly root: Digest };

/** The only place where it is said whose root counts, and it takes no word for it but the policy's kind. */
export function snpAuthorityOf({ kind, simulatedRoot }: AttestationPolicy): Authority {
  return kind === "sev-snp-simulated" && simulatedRoot !== undefined
    ? { kind: "simulated", root: simulatedRoot }
    : { kind: "amd" };
}

export function isPinnedRoot(product: SnpProduct, key: Digest, authority: Authority): boolean {
  return authority.kind === "amd" ? isAmdRoot(product, key) : key === authority.root;
}

/** The simulator's certificates bear it, and none with another name is taken for the simulator's. */
export const SIMULATED_NAME = "SIMULATED – NOT AMD";

export interface SnpCollateral {
  readonly certificates: readonly ReadCertificate[];
  readonly revocationLists: readonly RevocationList[];
}

/** A report whose signature and chain hold. Only `verifySnpReport` makes one. */
export interface GenuineReport {
  readonly report: SnpReport;
  readonly product: SnpProduct;
  readonly tcb: { readonly current: Tcb; readonly reported: Tcb; readonly committed: Tcb; readonly launch: Tcb };
  /** Digests of the public keys of leaf, intermediate and root. */
  readonly keys: readonly Digest[];
  /** Of the three certificates. */
  readonly endings: readonly Ending[];
  /** The newest of the root's revocation lists, or null if there was none. */
  readonly revocation: RevocationList | null;
}

interface Chain {
  readonly product: SnpProduct;
  readonly leaf: ReadCertificate;
  readonly intermediate: ReadCertificate;
  readonly root: ReadCertificate;
}

/**
 * The findings of all GENUINENESS_CHECKS but `evidence`, and the report if all of them passed; `revocation` may
 * also be not checked, for want of a list. Certificates of other chips and lists of other roots are passed over.
 */
export function verifySnpReport(
  report: SnpReport,
  collateral: SnpCollateral,
  at: Date,
  authority: Authority,
): { readonly findings: readonly AttestationFinding[]; readonly genuine: GenuineReport | null } {
  const looked = new Genuineness();
  const findings = (): AttestationFinding[] =>
    looked.findings(GENUINENESS_CHECKS, "the certificates do not lead to the pinned root");
  const leaf = looked.check("signer", () => findLeaf(report, collateral.certificates));
  const chain =
    leaf && looked.check("chain", () => findChain(leaf, report.signer, collateral.certificates, at, authority));
  if (!chain) return { findings: findings(), genuine: null };
  looked.check("product", () => [productAgrees(report, chain), true]);
  looked.check("chip", () => [chipAgrees(report, chain), true]);
  const tcb = looked.check("tcb-certified", () => tcbAgrees(report, chain));
  looked.check("signature", () => [signatureHolds(report, chain.leaf), true]);
  const lists = collateral.revocationLists.filter((list) => list.issuerCommonName === chain.root.commonName);
  const newest = lists.toSorted((a, b) => (a.number < b.number ? 1 : -1))[0] ?? null;
  if (newest === null) {
    looked.add(attestationUnchecked("revocation", `there is no revocation list of ${chain.root.commonName}`));
  } else looked.check("revocation", () => [notRevoked(chain, lists), true]);
  const genuine = tcb !== null && !looked.hasFailed;
  const certificates = [chain.leaf, chain.intermediate, chain.root];
  const keys = certificates.map(({ keyDigest }) => keyDigest);
  const endings = certificateEndings(certificates);
  return {
    findings: findings(),
    genuine: genuine ? { report, product: chain.product, tcb, keys, endings, revocation: newest } : null,
  };
}

export const LEAF_NAMES: Readonly<Record<SnpSigner, string>> = { vcek: "SEV-VCEK", vlek: "SEV-VLEK" };
const INTERMEDIATE_PREFIXES: Readonly<Record<SnpSigner, string>> = { vcek: "SEV-", vlek: "SEV-VLEK-" };

/**
 * The certificate of the key that the report says has signed it. Of several (one chip has one for each TCB)
 * the one whose key did; if none did, any, so that the checks can say what is wrong.
 */
function findLeaf(report: SnpReport, certificates: readonly ReadCertificate[]): readonly [string, ReadCertificate] {
  const wanted = LEAF_NAMES[report.signer];
  const candidates = certificates.filter(({ commonName }) => commonName === wanted);
  const [leaf] = [...candidates.filter((candidate) => isSignedWith(report, candidate)), ...candidates];
  if (leaf) return [`the report names the ${wanted} key, and its certificate is there`, leaf];
  const others = certificates.filter(({ commonName }) => Object.values(LEAF_NAMES).includes(commonName));
  if (others.length > 0) {
    throw attestationError(
      "ATTEST_SIGNER_MISMATCH",
      `certificate: got ${others[0]?.commonName}, but the report says ${wanted}`,
    );
  }
  throw attestationError("ATTEST_CERTIFICATE_MISSING", `certificate: there is none of a ${wanted} key`);
}

/** The name of each authority above a leaf. */
export function authorityNames(
  authority: Authority,
  signer: SnpSigner,
  product: SnpProduct,
): { intermediate: string; root: string } {
  const intermediate = `${INTERMEDIATE_PREFIXES[signer]}${product}`;
  return authority.kind === "amd"
    ? { intermediate, root: `ARK-${product}` }
    : { intermediate: `${SIMULATED_NAME} ${intermediate}`, root: `${SIMULATED_NAME} ARK-${product}` };
}

function findChain(
  leaf: ReadCertificate,
  signer: SnpSigner,
  certificates: readonly ReadCertificate[],
  at: Date,
  authority: Authority,
): readonly [string, Chain] {
  const product = SNP_PRODUCTS.find(
    (name) => authorityNames(authority, signer, name).intermediate === leaf.issuerCommonName,
  );
  if (product === undefined) {
    throw attestationError(
      "ATTEST_ROOT_UNKNOWN",
      `certificate: its issuer is ${JSON.stringify(leaf.issuerCommonName)}, which is none of the authority's`,
    );
  }
  const names = authorityNames(authority, signer, product);
  const intermediate = issuerOf(leaf, names.intermediate, certificates);
  const root = issuerOf(intermediate, names.root, certificates);
  if (!isPinnedRoot(product, root.keyDigest, authority)) {
    throw attestationError(
      "ATTEST_ROOT_UNKNOWN",
      `root ${JSON.stringify(root.commonName)}: got key ${root.keyDigest}, which is not the pinned one`,
    );
  }
  if (!isIssuedBy(root, root)) throw invalidChain(root.commonName, root.commonName);
  for (const certificate of [leaf, intermediate, root]) requireDates(certificate, at);
  requireLeafKey(leaf);
  const chain = { product, leaf, intermediate, root };
  return [`${leaf.commonName} ← ${intermediate.commonName} ← ${root.commonName}, key ${root.keyDigest}`, chain];
}

function invalidChain(subject: string, issuer: string): Error {
  return attestationError(
    "ATTEST_CHAIN_INVALID",
    `certificate ${JSON.stringify(subject)}: not signed by ${JSON.stringify(issuer)}`,
  );
}

function issuerOf(subject: ReadCertificate, name: string, certificates: readonly ReadCertificate[]): ReadCertificate {
  const candidates = certificates.filter(({ commonName }) => commonName === name);
  if (candidates.length === 0) {
    throw attestationError("ATTEST_CERTIFICATE_MISSING", `certificate: there is none of ${JSON.stringify(name)}`);
  }
  const issuer = candidates.find((candidate) => isIssuedBy(subject, candidate));
  if (!issuer) throw invalidChain(subject.commonName, name);
  return issuer;
}

function requireDates({ commonName, notBefore, notAfter }: ReadCertificate, at: Date): void {
  if (at < notBefore || at > notAfter) {
    throw attestationError(
      "ATTEST_CERTIFICATE_EXPIRED",
      `certificate ${JSON.stringify(commonName)}: valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, not at ${at.toISOString()}`,
    );
  }
}

function requireLeafKey({ x509 }: ReadCertificate): void {
  const { asymmetricKeyType, asymmetricKeyDetails } = x509.publicKey;
  if (x509.ca || asymmetricKeyType !== "ec" || asymmetricKeyDetails?.namedCurve !== "secp384r1") {
    throw attestationError("ATTEST_CHAIN_INVALID", "certificate: want a P-384 key that signs no certificates");
  }
}

/** What the certificate of a VCEK or VLEK says about the chip (AMD 57230, "Certificate Extensions"). */
export const AMD_OID = "1.3.6.1.4.1.3704.1";
export const PRODUCT_NAME = `${AMD_OID}.2`;
export const HARDWARE_ID = `${AMD_OID}.4`;
export const TCB_OIDS: Readonly<Record<keyof Tcb, string>> = {
  bootloader: `${AMD_OID}.3.1`,
  tee: `${AMD_OID}.3.2`,
  snp: `${AMD_OID}.3.3`,
  microcode: `${AMD_OID}.3.8`,
  fmc: `${AMD_OID}.3.9`,
};
/** Reserved parts of the TCB; a value other than 0 is something that is not understood here. */
const SPARE_TCB_OIDS = [`${AMD_OID}.3.4`, `${AMD_OID}.3.5`, `${AMD_OID}.3.6`, `${AMD_OID}.3.7`];

function productAgrees(report: SnpReport, { product, leaf }: Chain): string {
  const name = shortString(leaf.extensions.get(PRODUCT_NAME) ?? Buffer.alloc(0));
  // With a stepping on older chips: Milan-B0.
  if (name?.split("-")[0] !== product) {
    throw attestationError(
      "ATTEST_PRODUCT_MISMATCH",
      `certificate: got product ${JSON.stringify(name)}, but its issuer is that of ${product}`,
    );
  }
  if (report.product === null) return `${product}, as the certificate says; a report of version 2 does not say it`;
  if (report.product !== product) {
    throw attestationError(
      "ATTEST_PRODUCT_MISMATCH",
      `report: got CPUID of ${report.product}, but the certificate is for ${product}`,
    );
  }
  return product;
}

function chipAgrees(report: SnpReport, { product, leaf }: Chain): string {
  const certified = leaf.extensions.get(HARDWARE_ID);
  if (report.signer === "vlek") {
    if (certified === undefined) return "a VLEK belongs to a cloud provider, and says nothing about the chip";
    throw attestationError("ATTEST_CHIP_MISMATCH", "certificate: a VLEK's names a chip");
  }
  const length = hardwareIdBytes(product);
  if (certified?.length !== length) {
    throw attestationError(
      "ATTEST_CHIP_MISMATCH",
      `certificate: got a chip's name of ${certified?.length ?? 0} bytes, want ${length}`,
    );
  }
  if (report.chipId.every((byte) => byte === 0)) {
    throw attestationError(
      "ATTEST_CHIP_MASKED",
      "report: the host hides the chip's name, so it cannot be compared with the certificate's",
    );
  }
  if (
    !report.chipId.subarray(0, length).equals(certified) ||
    report.chipId.subarray(length).some((byte) => byte !== 0)
  ) {
    throw attestationError("ATTEST_CHIP_MISMATCH", "certificate: it is another chip's than the report's");
  }
  return `chip ${certified.toString("hex")}`;
}

function tcbAgrees(report: SnpReport, { product, leaf }: Chain): readonly [string, GenuineReport["tcb"]] {
  const { current, reported, committed, launch } = report.tcb;
  const tcb = {
    current: readTcb(product, current),
    reported: readTcb(product, reported),
    committed: readTcb(product, committed),
    launch: readTcb(product, launch),
  };
  const parts = tcbPartsOf(product);
  for (const part of TCB_PARTS) {
    const extension = leaf.extensions.get(TCB_OIDS[part]);
    const want = parts.includes(part) ? tcb.reported[part] : undefined;
    const got = extension && smallInteger(extension);
    if (got !== want || (extension !== undefined && got === undefined)) {
      throw attestationError(
        "ATTEST_TCB_MISMATCH",
        `certificate: ${part} is ${got ?? "not there"}, but ${want ?? "not there"} in the report's TCB; the certificate is for another firmware`,
      );
    }
  }
  for (const oid of SPARE_TCB_OIDS) {
    const extension = leaf.extensions.get(oid);
    if (extension !== undefined && smallInteger(extension) !== 0) {
      throw attestationError("ATTEST_TCB_MISMATCH", `certificate: extension ${oid} is not 0, which is not understood`);
    }
  }
  return [`the certificate is for the reported TCB: ${tcbText(product, tcb.reported)}`, tcb];
}

/** e.g. `bootloader 4, tee 0, snp 24, microcode 219` */
export function tcbText(product: SnpProduct, tcb: Tcb): string {
  return tcbPartsOf(product)
    .map((part) => `${part} ${tcb[part]}`)
    .join(", ");
}

function isSignedWith({ bytes, signature }: SnpReport, { x509 }: ReadCertificate): boolean {
  const key = x509.publicKey;
  if (key.asymmetricKeyType !== "ec") return false;
  return verifySignature("sha384", bytes.subarray(0, SNP_SIGNED_BYTES), { key, dsaEncoding: "ieee-p1363" }, signature);
}

function signatureHolds(report: SnpReport, leaf: ReadCertificate): string {
  if (!isSignedWith(report, leaf)) {
    throw attestationError(
      "ATTEST_SIGNATURE_INVALID",
      `report: not signed by the ${leaf.commonName} key of the certificate`,
    );
  }
  return `signed by the key ${leaf.keyDigest}`;
}

/** Every list of the root counts, old ones too: what one has revoked stays so. */
function notRevoked({ root, intermediate }: Chain, lists: readonly RevocationList[]): string {
  for (const list of lists) {
    if (!isSignedBy(list, root.x509.publicKey)) {
      throw attestationError("ATTEST_CRL_INVALID", `revocation list ${list.number}: not signed by ${root.commonName}`);
    }
    for (const certificate of [intermediate, root]) {
      if (list.revokedSerials.has(certificate.serial)) {
        throw attestationError(
          "ATTEST_CERTIFICATE_REVOKED",
          `certificate ${certificate.commonName}, serial ${certificate.serial}: revoked by list ${list.number}`,
        );
      }
    }
  }
  return `${intermediate.commonName} is not revoked; AMD's lists cannot name single chips`;
}
