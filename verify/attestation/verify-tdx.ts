/**
 * Whether a quote is Intel's own word: the platform key's certificates up to the pinned root, the quoting enclave that
 * it vouches for, the quote's signature by that enclave's key, Intel's signed documents about platform and enclave,
 * and its revocation lists (Intel PCS API version 4). It does not judge what the quote says; appraise-tdx.ts does.
 */
import { createHash, createPublicKey, type KeyObject, verify as verifySignature } from "node:crypto";
import type { Digest } from "../../bundles/model/digest.ts";
import { type AttestationFinding, attestationUnchecked, TDX_GENUINENESS_CHECKS } from "./attestation-verdict.ts";
import {
  ECDSA_SHA256,
  isIssuedBy,
  isListSignedWithEcdsa,
  type ReadCertificate,
  type RevocationList,
  readCertificates,
} from "./certificate.ts";
import { certificateEndings, type Ending } from "./ending.ts";
import { attestationError } from "./error.ts";
import { Genuineness } from "./genuineness.ts";
import { isIntelRoot } from "./intel-root.ts";
import { type PlatformCertificate, readSgxExtension, SGX_EXTENSION } from "./sgx-extension.ts";
import type { EnclaveIdentity, IntelDocument, Signed, TcbInfo } from "./tdx-collateral.ts";
import type { TdxPolicy } from "./tdx-policy.ts";
import type { TdxQuote } from "./tdx-quote.ts";
import { type CertifiedTcb, certifyTcb, requireModule, requireQuotingEnclave } from "./tdx-tcb.ts";

/** Whose signature is asked for: Intel's, or that of one run of a test's own generator. */
export type TdxAuthority = { readonly kind: "intel" } | { readonly kind: "simulated"; readonly root: Digest };

/** The only place where it is said whose root counts, as `snpAuthorityOf`. */
export function tdxAuthorityOf({ kind, simulatedRoot }: TdxPolicy): TdxAuthority {
  return kind === "tdx-simulated" && simulatedRoot !== undefined
    ? { kind: "simulated", root: simulatedRoot }
    : { kind: "intel" };
}

export function isPinnedIntelRoot(key: Digest, authority: TdxAuthority): boolean {
  return authority.kind === "intel" ? isIntelRoot(key) : key === authority.root;
}

/** All simulated certificates bear it, and none with another name is taken for one of them. */
export const SIMULATED_INTEL_NAME = "SIMULATED – NOT INTEL";

export interface TdxCollateral {
  /** Of the TCB signing key, and whatever else; the platform's come with the quote, and only from there. */
  readonly certificates: readonly ReadCertificate[];
  readonly revocationLists: readonly RevocationList[];
  readonly documents: readonly IntelDocument[];
}

/** A quote whose signatures and chains hold. Only `verifyTdxQuote` makes one. */
export interface GenuineQuote {
  readonly quote: TdxQuote;
  readonly platform: PlatformCertificate;
  readonly tcb: CertifiedTcb;
  readonly tcbInfo: TcbInfo;
  readonly identity: EnclaveIdentity;
  /** Digests of the public keys of the platform, its authority, the root, and the TCB signing key. */
  readonly keys: readonly Digest[];
  /** Of these certificates. */
  readonly endings: readonly Ending[];
  /** The newest list of the root and of the platform's authority, or null if one of the two was not there. */
  readonly revocation: { readonly root: RevocationList; readonly platform: RevocationList } | null;
}

export const INTEL_ROOT = "Intel SGX Root CA";
const PLATFORM_AUTHORITIES = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];
const PLATFORM = "Intel SGX PCK Certificate";
export const INTEL_TCB_SIGNING = "Intel SGX TCB Signing";

/** How `name` of Intel's is called by this authority. */
export function tdxName(authority: TdxAuthority, name: string): string {
  return authority.kind === "intel" ? name : `${SIMULATED_INTEL_NAME} ${name}`;
}

/** PEM as Intel's quoting library writes it: lines of 64, perhaps ended by a line break and one zero byte. */
function readQuoteChain(pem: Buffer): ReadCertificate[] {
  const text = pem.at(-1) === 0 ? pem.subarray(0, -1) : pem;
  const certificates = readCertificates(text);
  const written = certificates.map(({ x509 }) => x509.toString()).join("");
  // So that no byte of the quote is free: PEM readers let much through.
  if (![written, written.trimEnd()].some((form) => Buffer.from(form).equals(text))) {
    throw attestationError("ATTEST_CERTIFICATE_MALFORMED", "quote: its certificates are not PEM in its one usual form");
  }
  return certificates;
}

interface PlatformChain {
  readonly leaf: ReadCertificate;
  readonly authority: ReadCertificate;
  readonly root: ReadCertificate;
  readonly platform: PlatformCertificate;
}

interface Documents {
  readonly tcbInfo: TcbInfo;
  readonly identity: EnclaveIdentity;
  readonly signing: ReadCertificate;
}

/**
 * The findings of all TDX_GENUINENESS_CHECKS but `evidence`, and the quote if all of them passed; `revocation` may
 * also be not checked, for want of a list. Documents for other platforms and lists of other authorities are passed over.
 * Whether documents and lists are fresh, and the TCB good enough, is for the policy to say.
 */
export function verifyTdxQuote(
  quote: TdxQuote,
  collateral: TdxCollateral,
  at: Date,
  authority: TdxAuthority,
): { readonly findings: readonly AttestationFinding[]; readonly genuine: GenuineQuote | null } {
  const looked = new Genuineness();
  const findings = (): AttestationFinding[] =>
    looked.findings(TDX_GENUINENESS_CHECKS, "what it would need does not hold");
  const chain = looked.check("chain", () => findChain(quote, at, authority));
  if (chain === null) return { findings: findings(), genuine: null };
  const documents = looked.check("collateral", () => findDocuments(chain, collateral, at, authority));
  looked.check("quoting-enclave", () => [quotingEnclaveVouches(quote, chain, documents), true]);
  looked.check("signature", () => [signatureHolds(quote), true]);
  if (documents === null) return { findings: findings(), genuine: null };
  const { tcbInfo, identity, signing } = documents;
  looked.check("tdx-module", () => [moduleIsIntels(quote, tcbInfo), true]);
  const tcb = looked.check("tcb-certified", () => {
    const certified = certifyTcb(quote.td, chain.platform, quote.qe.report, tcbInfo, identity);
    return [tcbText(certified), certified];
  });
  const revocation = findLists(chain, collateral);
  if (revocation === null) {
    const both = `${chain.root.commonName} and ${chain.authority.commonName}`;
    looked.add(attestationUnchecked("revocation", `there is not a revocation list of each of ${both}`));
  } else looked.check("revocation", () => [notRevoked(chain, signing, collateral.revocationLists), true]);
  const certificates = [chain.leaf, chain.authority, chain.root, signing];
  const isGenuine = tcb !== null && !looked.hasFailed;
  const endings = certificateEndings(certificates);
  const keys = certificates.map(({ keyDigest }) => keyDigest);
  const { platform } = chain;
  return {
    findings: findings(),
    genuine: isGenuine ? { quote, platform, tcb, tcbInfo, identity, keys, endings, revocation } : null,
  };
}

/** Exactly the three certificates of the quote: others can come from anywhere, and none of them is needed. */
function findChain(quote: TdxQuote, at: Date, authority: TdxAuthority): readonly [string, PlatformChain] {
  const certificates = readQuoteChain(quote.chain);
  const [leaf, issuer, root] = certificates;
  if (leaf === undefined || issuer === undefined || root === undefined || certificates.length !== 3) {
    throw attestationError("ATTEST_CERTIFICATE_MISSING", `quote: got ${certificates.length} certificates, want 3`);
  }
  requireName(leaf, [tdxName(authority, PLATFORM)]);
  requireName(
    issuer,
    PLATFORM_AUTHORITIES.map((name) => tdxName(authority, name)),
  );
  requireRoot(root, authority);
  for (const [subject, by] of [
    [leaf, issuer],
    [issuer, root],
    [root, root],
  ] as const) {
    requireIssued(subject, by, at);
  }
  requireLeafKey(leaf);
  const platform = readSgxExtension(leaf.extensions.get(SGX_EXTENSION));
  const names = `${leaf.commonName} ← ${issuer.commonName} ← ${root.commonName}`;
  return [`${names}, key ${root.keyDigest}`, { leaf, authority: issuer, root, platform }];
}

function requireName({ commonName }: ReadCertificate, wanted: readonly string[]): void {
  if (wanted.includes(commonName)) return;
  throw attestationError(
    "ATTEST_ROOT_UNKNOWN",
    `certificate: got ${JSON.stringify(commonName)}, want ${wanted.map((name) => JSON.stringify(name)).join(" or ")}`,
  );
}

function requireRoot(root: ReadCertificate, authority: TdxAuthority): void {
  requireName(root, [tdxName(authority, INTEL_ROOT)]);
  if (isPinnedIntelRoot(root.keyDigest, authority)) return;
  throw attestationError(
    "ATTEST_ROOT_UNKNOWN",
    `root ${JSON.stringify(root.commonName)}: got key ${root.keyDigest}, which is not the pinned one`,
  );
}

function requireIssued(subject: ReadCertificate, issuer: ReadCertificate, at: Date): void {
  const name = JSON.stringify(subject.commonName);
  if (!isIssuedBy(subject, issuer, ECDSA_SHA256)) {
    const by = JSON.stringify(issuer.commonName);
    throw attestationError("ATTEST_CHAIN_INVALID", `certificate ${name}: not signed by ${by}`);
  }
  const { notBefore, notAfter } = subject;
  if (at >= notBefore && at <= notAfter) return;
  throw attestationError(
    "ATTEST_CERTIFICATE_EXPIRED",
    `certificate ${name}: valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}, not at ${at.toISOString()}`,
  );
}

function requireLeafKey({ commonName, x509 }: ReadCertificate): void {
  const { asymmetricKeyType, asymmetricKeyDetails } = x509.publicKey;
  if (x509.ca || asymmetricKeyType !== "ec" || asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw attestationError(
      "ATTEST_CHAIN_INVALID",
      `certificate ${JSON.stringify(commonName)}: want a P-256 key that signs no certificates`,
    );
  }
}

/** The newest documents for this platform. One that is newer and wrong is not passed over for an older one. */
function findDocuments(
  { platform, root }: PlatformChain,
  { documents, certificates }: TdxCollateral,
  at: Date,
  authority: TdxAuthority,
): readonly [string, Documents] {
  const infos = documents.filter((one) => one.kind === "tcb-info").filter(({ document }) => isFor(document, platform));
  const identities = documents.filter((one) => one.kind === "enclave-identity");
  const info = newest(infos, `TCB info for platform ${platform.fmspc}`);
  const identity = newest(identities, "identity of the quoting enclave");
  const signing = findSigning(info, root, certificates, at, authority);
  for (const [name, document] of [
    ["TCB info", info],
    ["identity of the quoting enclave", identity],
  ] as const) {
    if (isSignedRaw("sha256", document.signed, signing.x509.publicKey, document.signature)) continue;
    throw attestationError("ATTEST_COLLATERAL_INVALID", `${name}: not signed by ${JSON.stringify(signing.commonName)}`);
  }
  const text = `TCB info ${info.document.tcbEvaluationDataNumber} and enclave identity ${identity.document.tcbEvaluationDataNumber}`;
  return [`${text}, signed by ${signing.commonName}`, { tcbInfo: info.document, identity: identity.document, signing }];
}

function isFor({ fmspc, pceId }: TcbInfo, platform: PlatformCertificate): boolean {
  return fmspc.toLowerCase() === platform.fmspc && pceId.toLowerCase() === platform.pceId;
}

type Dated = { readonly tcbEvaluationDataNumber: number; readonly issueDate: string };

function newest<Document extends Dated>(documents: readonly Signed<Document>[], name: string): Signed<Document> {
  const [first] = documents.toSorted(({ document: a }, { document: b }) =>
    a.tcbEvaluationDataNumber === b.tcbEvaluationDataNumber
      ? Date.parse(b.issueDate) - Date.parse(a.issueDate)
      : b.tcbEvaluationDataNumber - a.tcbEvaluationDataNumber,
  );
  if (first === undefined) throw attestationError("ATTEST_COLLATERAL_MISSING", `collateral: there is no ${name}`);
  return first;
}

/** The certificate of the key that signs Intel's documents. Of several the one whose key signed `document`. */
function findSigning(
  document: Signed<unknown>,
  root: ReadCertificate,
  certificates: readonly ReadCertificate[],
  at: Date,
  authority: TdxAuthority,
): ReadCertificate {
  const name = tdxName(authority, INTEL_TCB_SIGNING);
  const candidates = certificates.filter(({ commonName }) => commonName === name);
  const signer = ({ x509 }: ReadCertificate): boolean =>
    isSignedRaw("sha256", document.signed, x509.publicKey, document.signature);
  const signing = candidates.find(signer) ?? candidates[0];
  if (signing === undefined) {
    throw attestationError("ATTEST_CERTIFICATE_MISSING", `certificate: there is none of ${JSON.stringify(name)}`);
  }
  requireIssued(signing, root, at);
  requireLeafKey(signing);
  return signing;
}

/** ECDSA on P-256 with r and s side by side. */
export function isSignedRaw(hash: string, bytes: Buffer, key: KeyObject, signature: Buffer): boolean {
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") return false;
  return verifySignature(hash, bytes, { key, dsaEncoding: "ieee-p1363" }, signature);
}

/** The platform's key has signed the enclave's report, and the report names the attestation key. */
function quotingEnclaveVouches(
  { qe, attestationKey }: TdxQuote,
  { leaf }: PlatformChain,
  documents: Documents | null,
): string {
  if (!isSignedRaw("sha256", qe.report.bytes, leaf.x509.publicKey, qe.signature)) {
    throw attestationError(
      "ATTEST_SIGNATURE_INVALID",
      "quoting enclave: its report is not signed by the platform's key",
    );
  }
  const named = createHash("sha256").update(attestationKey).update(qe.authData).digest();
  const want = Buffer.concat([named, Buffer.alloc(qe.report.reportData.length - named.length)]);
  if (!qe.report.reportData.equals(want)) {
    throw attestationError("ATTEST_SIGNATURE_INVALID", "quoting enclave: its report names another attestation key");
  }
  if (documents === null) {
    throw attestationError("ATTEST_QE_REFUSED", "quoting enclave: there is no identity of Intel's to compare it with");
  }
  requireQuotingEnclave(qe.report, documents.identity);
  return `Intel's, version ${qe.report.isvSvn}, vouched for by the platform's key ${leaf.keyDigest}`;
}

function signatureHolds({ signed, signature, attestationKey }: TdxQuote): string {
  const invalid = (problem: string): Error => attestationError("ATTEST_SIGNATURE_INVALID", `quote: ${problem}`);
  const half = attestationKey.length / 2;
  const [x, y] = [attestationKey.subarray(0, half), attestationKey.subarray(half)].map((part) =>
    part.toString("base64url"),
  );
  let key: KeyObject;
  try {
    key = createPublicKey({ key: { kty: "EC", crv: "P-256", x, y } as JsonWebKey, format: "jwk" });
  } catch {
    throw invalid("its attestation key is no point of P-256");
  }
  if (!isSignedRaw("sha256", signed, key, signature)) throw invalid("not signed by its attestation key");
  return "signed by the key for which the quoting enclave vouches";
}

function moduleIsIntels({ td }: TdxQuote, info: TcbInfo): string {
  requireModule(td, info);
  const [svn, major] = td.teeTcbSvn;
  return `Intel's, version ${major}.${svn}, MRSEAM ${td.mrSeam.toString("hex")}`;
}

/** e.g. `UpToDate of 2024-03-13` */
export function tcbText({ status, date, advisories, platform, module, quotingEnclave }: CertifiedTcb): string {
  const parts = `platform ${platform}, module ${module}, quoting enclave ${quotingEnclave}`;
  const open = advisories.length === 0 ? "" : `; open: ${advisories.join(", ")}`;
  return `${status} of ${date.slice(0, 10)} (${parts})${open}`;
}

/** The newest of both; Intel gives all its lists the number 1, so the date decides where numbers are equal. */
function findLists(
  { root, authority }: PlatformChain,
  { revocationLists }: TdxCollateral,
): NonNullable<GenuineQuote["revocation"]> | null {
  const newestOf = ({ commonName }: ReadCertificate): RevocationList | undefined =>
    revocationLists
      .filter(({ issuerCommonName }) => issuerCommonName === commonName)
      .toSorted((a, b) =>
        a.number === b.number ? b.thisUpdate.getTime() - a.thisUpdate.getTime() : a.number < b.number ? 1 : -1,
      )[0];
  const [ofRoot, ofPlatform] = [newestOf(root), newestOf(authority)];
  return ofRoot && ofPlatform ? { root: ofRoot, platform: ofPlatform } : null;
}

/** Every list of the two counts, old ones too: what one has revoked stays so. */
function notRevoked(
  { leaf, authority, root }: PlatformChain,
  signing: ReadCertificate,
  lists: readonly RevocationList[],
): string {
  for (const [issuer, subjects] of [
    [root, [root, authority, signing]],
    [authority, [leaf]],
  ] as const) {
    for (const list of lists.filter(({ issuerCommonName }) => issuerCommonName === issuer.commonName)) {
      if (!isListSignedWithEcdsa(list, issuer.x509.publicKey)) {
        throw attestationError(
          "ATTEST_CRL_INVALID",
          `revocation list ${list.number}: not signed by ${issuer.commonName}`,
        );
      }
      const revoked = subjects.find(({ serial }) => list.revokedSerials.has(serial));
      if (revoked !== undefined) {
        throw attestationError(
          "ATTEST_CERTIFICATE_REVOKED",
          `certificate ${revoked.commonName}, serial ${revoked.serial}: revoked by list ${list.number}`,
        );
      }
    }
  }
  return `neither the platform's certificate (serial ${leaf.serial}) nor one above it is revoked`;
}
