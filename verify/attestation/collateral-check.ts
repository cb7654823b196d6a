/**
 * Whether fetched collateral is what was needed: complete, for these chips and platforms, signed up to the pinned roots,
 * valid now, and no older than what a verifier has seen. The appraisal proves all of it again with the evidence
 * (verify-snp.ts, verify-tdx.ts); here it is found out before the connected machine is a journey away.
 */
import { type AnyPolicy, isTdxPolicy } from "./attestation-policy.ts";
import {
  ECDSA_SHA256,
  isIssuedBy,
  isListSignedWithEcdsa,
  isSignedBy,
  type ReadCertificate,
  type RevocationList,
  RSASSA_PSS,
  smallInteger,
} from "./certificate.ts";
import type { CollateralNeed, SnpNeed, TdxNeed } from "./collateral-needs.ts";
import { attestationError } from "./error.ts";
import { type Collateral, type CollateralFile, readCollateral } from "./read-collateral.ts";
import { tcbPartsOf } from "./snp-product.ts";
import {
  type Authority,
  authorityNames,
  HARDWARE_ID,
  isPinnedRoot,
  LEAF_NAMES,
  snpAuthorityOf,
  TCB_OIDS,
} from "./verify-snp.ts";
import {
  INTEL_ROOT,
  INTEL_TCB_SIGNING,
  isPinnedIntelRoot,
  isSignedRaw,
  type TdxAuthority,
  tdxAuthorityOf,
  tdxName,
} from "./verify-tdx.ts";

/** One certificate, list or document, and how long it will do. */
export interface CollateralItem {
  /** Its file's name. */
  readonly file: string;
  /** For a person, and the same for each later issue of the same thing. */
  readonly what: string;
  /** Grows from issue to issue; null for certificates. Intel's revocation lists all have the number 1. */
  readonly number: bigint | null;
  readonly issued: Date;
  /** By its own word, without a policy's days of grace. */
  readonly until: Date;
}

/** @throws what the files' readers throw */
export function collateralItems(files: readonly CollateralFile[]): CollateralItem[] {
  return files.flatMap((file) => {
    const { certificates, revocationLists, documents } = readCollateral([file]);
    const of = (item: Omit<CollateralItem, "file">): CollateralItem => ({ file: file.name, ...item });
    return [
      ...certificates.map(({ commonName, keyDigest, notBefore, notAfter }) =>
        of({
          what: `certificate ${commonName}, key ${keyDigest.slice(0, 19)}`,
          number: null,
          issued: notBefore,
          until: notAfter,
        }),
      ),
      ...revocationLists.map(({ issuerCommonName, number, thisUpdate, nextUpdate }) =>
        of({ what: `revocation list of ${issuerCommonName}`, number, issued: thisUpdate, until: nextUpdate }),
      ),
      ...documents.map(({ kind, document }) =>
        of({
          what: kind === "tcb-info" ? `TCB info ${document.fmspc.toLowerCase()}` : "identity of the quoting enclave",
          number: BigInt(document.tcbEvaluationDataNumber),
          issued: new Date(document.issueDate),
          until: new Date(document.nextUpdate),
        }),
      ),
    ];
  });
}

/** What ends first, or undefined of nothing. */
export function firstToEnd(items: readonly CollateralItem[]): CollateralItem | undefined {
  return items.toSorted((a, b) => a.until.getTime() - b.until.getTime())[0];
}

/** e.g. `revocation list of ARK-Milan, number 9: until 2026-10-04T00:00:00.000Z` */
export function itemText({ what, number, until }: CollateralItem): string {
  return `${what}${number === null ? "" : `, number ${number}`}: until ${until.toISOString()}`;
}

/**
 * Checks `files` for each of `needs` at `at`. `policy` is the one by which evidence will be appraised, or null: it has the
 * smallest numbers that are taken, and in tests the root of a simulator.
 * @throws ATTEST_COLLATERAL_MISSING | ATTEST_COLLATERAL_OTHER for another chip, firmware or platform | ATTEST_ROOT_UNKNOWN |
 * ATTEST_CHAIN_INVALID | ATTEST_CRL_INVALID | ATTEST_COLLATERAL_INVALID | ATTEST_CERTIFICATE_REVOKED |
 * ATTEST_COLLATERAL_EXPIRED | ATTEST_COLLATERAL_ROLLED_BACK, and what the files' readers throw
 */
export function checkCollateral(
  files: readonly CollateralFile[],
  needs: readonly CollateralNeed[],
  at: Date,
  policy: AnyPolicy | null,
): CollateralItem[] {
  const collateral = readCollateral(files);
  for (const need of needs) {
    if (need.kind === "tdx") checkTdx(need, collateral, policy);
    else checkSnp(need, collateral, policy);
  }
  const items = collateralItems(files);
  for (const item of items) requireValid(item, at);
  return items;
}

/** @throws ATTEST_COLLATERAL_ROLLED_BACK if one of `items` is an older issue of what `before` has */
export function requireNotOlder(items: readonly CollateralItem[], before: readonly CollateralItem[]): void {
  for (const item of items) {
    const newer = before.find(
      ({ what, number, issued }) =>
        what === item.what && ((number ?? 0n) > (item.number ?? 0n) || issued.getTime() > item.issued.getTime()),
    );
    if (newer === undefined) continue;
    throw rolledBack(
      `${item.what}: got ${issueText(item)}, but ${issueText(newer)} is here already; an older one may hide what was revoked since`,
    );
  }
}

function issueText({ number, issued }: CollateralItem): string {
  return `${number === null ? "" : `number ${number} `}of ${issued.toISOString()}`;
}

function rolledBack(problem: string): Error {
  return attestationError("ATTEST_COLLATERAL_ROLLED_BACK", `collateral: ${problem}`);
}

function requireValid({ what, issued, until }: CollateralItem, at: Date): void {
  if (at >= issued && at <= until) return;
  throw attestationError(
    "ATTEST_COLLATERAL_EXPIRED",
    `collateral: ${what}: valid from ${issued.toISOString()} to ${until.toISOString()}, not at ${at.toISOString()}`,
  );
}

function checkSnp(need: SnpNeed, { certificates, revocationLists }: Collateral, policy: AnyPolicy | null): void {
  const snpPolicy = policy === null || isTdxPolicy(policy) ? null : policy;
  const authority: Authority = snpPolicy === null ? { kind: "amd" } : snpAuthorityOf(snpPolicy);
  const { product, signer } = need;
  const names = authorityNames(authority, signer, product);
  const root = findRoot(certificates, names.root, (key) => isPinnedRoot(product, key, authority), RSASSA_PSS);
  const authorities = requireNamed(certificates, names.intermediate);
  const [intermediate] = issuedBy(root, authorities, RSASSA_PSS);
  const chips = named(certificates, LEAF_NAMES[signer]).filter((leaf) => isOf(leaf, need));
  if (need.chip !== null && chips.length === 0) {
    throw attestationError(
      "ATTEST_COLLATERAL_OTHER",
      `collateral: there is no certificate of chip ${need.chip.slice(0, 16)}… for the firmware that it reports`,
    );
  }
  for (const leaf of chips) {
    if (!authorities.some((one) => isIssuedBy(leaf, one))) throw unsigned(leaf.commonName, names.intermediate);
  }
  const lists = listsOf(revocationLists, names.root);
  for (const list of lists) {
    if (!isSignedBy(list, root.x509.publicKey)) throw unsignedList(list);
    requireNotRevoked([intermediate, root], list);
  }
  const least = snpPolicy?.products[product]?.minimumListNumber ?? 0;
  requireNumber(lists, BigInt(least), names.root);
}

/** Whether the certificate is the chip's, for the firmware of the need. */
function isOf({ extensions }: ReadCertificate, { product, chip, tcb }: SnpNeed): boolean {
  const part = (oid: string): number | undefined => smallInteger(extensions.get(oid) ?? Buffer.alloc(0));
  return (
    chip !== null &&
    extensions.get(HARDWARE_ID)?.toString("hex") === chip &&
    tcbPartsOf(product).every((name) => part(TCB_OIDS[name]) === tcb?.[name])
  );
}

function checkTdx({ fmspc, authority: kind }: TdxNeed, collateral: Collateral, policy: AnyPolicy | null): void {
  const { certificates, revocationLists, documents } = collateral;
  const tdxPolicy = policy !== null && isTdxPolicy(policy) ? policy : null;
  const authority: TdxAuthority = tdxPolicy === null ? { kind: "intel" } : tdxAuthorityOf(tdxPolicy);
  const name = (text: string): string => tdxName(authority, text);
  const root = findRoot(certificates, name(INTEL_ROOT), (key) => isPinnedIntelRoot(key, authority), ECDSA_SHA256);
  const signers = issuedBy(root, requireNamed(certificates, name(INTEL_TCB_SIGNING)), ECDSA_SHA256);
  const infos = documents.filter((one) => one.kind === "tcb-info");
  const info = infos.find(({ document }) => document.fmspc.toLowerCase() === fmspc);
  if (infos.length > 0 && info === undefined) {
    throw attestationError("ATTEST_COLLATERAL_OTHER", `collateral: there is no TCB info of platform ${fmspc}`);
  }
  const identity = documents.find((one) => one.kind === "enclave-identity");
  const least = tdxPolicy?.platforms[fmspc]?.minimumEvaluationNumber ?? 0;
  for (const [what, document] of [
    [`TCB info of platform ${fmspc}`, info],
    ["identity of the quoting enclave", identity],
  ] as const) {
    if (document === undefined) throw missing(what);
    if (!signers.some(({ x509 }) => isSignedRaw("sha256", document.signed, x509.publicKey, document.signature))) {
      throw attestationError("ATTEST_COLLATERAL_INVALID", `collateral: ${what}: not signed by ${INTEL_TCB_SIGNING}`);
    }
    const number = document.document.tcbEvaluationDataNumber;
    if (number < least) throw rolledBack(`${what}: got evaluation ${number}, want at least ${least}`);
  }
  const authorityName = name(`Intel SGX PCK ${kind === "platform" ? "Platform" : "Processor"} CA`);
  const [platform] = issuedBy(root, requireNamed(certificates, authorityName), ECDSA_SHA256);
  for (const [issuer, subjects, minimum] of [
    [root, [root, platform, ...signers], tdxPolicy?.minimumListNumbers.root ?? 0],
    [platform, [], tdxPolicy?.minimumListNumbers.platform ?? 0],
  ] as const) {
    const lists = listsOf(revocationLists, issuer.commonName);
    for (const list of lists) {
      if (!isListSignedWithEcdsa(list, issuer.x509.publicKey)) throw unsignedList(list);
      requireNotRevoked(subjects, list);
    }
    requireNumber(lists, BigInt(minimum), issuer.commonName);
  }
}

function named(certificates: readonly ReadCertificate[], name: string): readonly ReadCertificate[] {
  return certificates.filter(({ commonName }) => commonName === name);
}

function requireNamed(certificates: readonly ReadCertificate[], name: string): readonly ReadCertificate[] {
  const found = named(certificates, name);
  if (found.length === 0) throw missing(`certificate ${name}`);
  return found;
}

function findRoot(
  certificates: readonly ReadCertificate[],
  name: string,
  isPinned: (key: ReadCertificate["keyDigest"]) => boolean,
  algorithm: string,
): ReadCertificate {
  const root = requireNamed(certificates, name).find(({ keyDigest }) => isPinned(keyDigest));
  if (root !== undefined && isIssuedBy(root, root, algorithm)) return root;
  throw attestationError("ATTEST_ROOT_UNKNOWN", `collateral: ${JSON.stringify(name)} has not the pinned key`);
}

/** Those of `subjects` that `issuer` signed; at least one. */
function issuedBy(
  issuer: ReadCertificate,
  subjects: readonly ReadCertificate[],
  algorithm: string,
): readonly [ReadCertificate, ...ReadCertificate[]] {
  const [first, ...others] = subjects.filter((subject) => isIssuedBy(subject, issuer, algorithm));
  if (first === undefined) throw unsigned(subjects[0]?.commonName ?? "", issuer.commonName);
  return [first, ...others];
}

function listsOf(lists: readonly RevocationList[], issuer: string): readonly RevocationList[] {
  const found = lists.filter(({ issuerCommonName }) => issuerCommonName === issuer);
  if (found.length === 0) throw missing(`revocation list of ${issuer}`);
  return found;
}

function requireNotRevoked(certificates: readonly ReadCertificate[], list: RevocationList): void {
  const revoked = certificates.find(({ serial }) => list.revokedSerials.has(serial));
  if (revoked === undefined) return;
  throw attestationError(
    "ATTEST_CERTIFICATE_REVOKED",
    `certificate ${revoked.commonName}, serial ${revoked.serial}: revoked by list ${list.number}`,
  );
}

function requireNumber(lists: readonly RevocationList[], least: bigint, issuer: string): void {
  const old = lists.find(({ number }) => number < least);
  if (old === undefined) return;
  throw rolledBack(`revocation list of ${issuer}: got number ${old.number}, want at least ${least}`);
}

function missing(what: string): Error {
  return attestationError("ATTEST_COLLATERAL_MISSING", `collateral: there is no ${what}`);
}

function unsigned(subject: string, issuer: string): Error {
  return attestationError(
    "ATTEST_CHAIN_INVALID",
    `certificate ${JSON.stringify(subject)}: not signed by ${JSON.stringify(issuer)}`,
  );
}

function unsignedList({ number, issuerCommonName }: RevocationList): Error {
  return attestationError("ATTEST_CRL_INVALID", `revocation list ${number}: not signed by ${issuerCommonName}`);
}
