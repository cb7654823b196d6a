/** The certificate that clients of the appliance see, as it lies on the site, and one that the customer brings. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import type { Config } from "./config.ts";
import { type Disk, readStateFile, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";
import { authorityPath, clientAuthorityPath, wantedNames } from "./secret-makers.ts";
import { readClientAuthority, vouches } from "./server-certificate.ts";
import type { StatePaths } from "./state.ts";

/** What a plan needs to know of the certificate. */
export interface PresentCertificate {
  /** Below secrets/, and the one who reads it. */
  readonly file: string;
  readonly uid: number;
  /** By which clients may call the site. */
  readonly names: readonly string[];
  /** Undefined if the file holds no certificate: `tls renew` must be able to mend that. */
  readonly notAfter: Date | undefined;
  /** Made here, by the site's own authority: else it was brought, and is the customer's to renew. */
  readonly isOwn: boolean;
  /** What the configuration in force, and this host, want it to name. */
  readonly wantedNow: readonly string[];
  readonly hostName: string;
  /** For which the site's authority may vouch; none if another would have to be made. */
  readonly vouchedNames: readonly string[];
}

const FILE_MAX_BYTES = 64 * 1024;
const CHAIN_MAX = 8;
const RSA_LEAST_BITS = 2048;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const DAY_MS = 24 * 60 * 60_000;
/** From then on `status` and `doctor` ask for another. */
const WARN_DAYS = 30;

/** Of an appliance without TLS, or where the file is not there yet, undefined. @throws STATE_DAMAGED if the authority is | STATE_UNREADABLE */
export function presentCertificate(
  paths: StatePaths,
  rules: readonly SecretRule[],
  config: Config | undefined,
  { hostName, now }: { readonly hostName: string; readonly now: Date },
): PresentCertificate | undefined {
  const rule = rules.find(({ kind }) => kind === "server-certificate");
  if (rule?.kind !== "server-certificate") return undefined;
  const file = `${rule.directory}/server.pem`;
  const bytes = readStateFile(join(paths.directory, "secrets", file), FILE_MAX_BYTES);
  if (!bytes) return undefined;
  const leaf = parseCertificate(bytes);
  const names = leaf ? namesOf(leaf) : [];
  const authority = readClientAuthority(authorityPath(paths));
  const signer = authority && new X509Certificate(authority.certificate).publicKey;
  const isOwn = signer !== undefined && leaf?.verify(signer) === true;
  return {
    file,
    uid: rule.uid,
    names,
    notAfter: leaf?.validToDate,
    isOwn,
    wantedNow: config ? wantedNames(config, hostName) : names,
    hostName,
    vouchedNames: authority && vouches(authority, [], now) ? authority.names : [],
  };
}

/** What an operator should do about it soon, one sentence each; and what does not work any more. */
export function certificateProblems(
  { names, notAfter, isOwn, wantedNow }: PresentCertificate,
  now: Date,
): { readonly warnings: string[]; readonly problems: string[] } {
  const way = isOwn ? "sealift tls renew" : "sealift tls csr, then sealift tls import";
  if (!notAfter) return { warnings: [], problems: ["the certificate for clients cannot be read: sealift tls renew"] };
  const days = Math.floor((notAfter.getTime() - now.getTime()) / DAY_MS);
  const end = notAfter.toISOString().slice(0, 10);
  const missing = wantedNow.filter((name) => !names.includes(name));
  return {
    problems: days < 0 ? [`the certificate for clients ended on ${end}: ${way}`] : [],
    warnings: [
      ...(days >= 0 && days < WARN_DAYS ? [`the certificate for clients ends on ${end}, in ${days} days: ${way}`] : []),
      // Whoever brought one has decided what it names.
      ...(isOwn && missing.length > 0
        ? [`the certificate for clients does not name ${missing.join(", ")}: ${way}`]
        : []),
    ],
  };
}

/** A certificate that the customer brings, with its key, as one file for the gateway. */
export interface BroughtCertificate {
  /** Private key, leaf, the chain: as `makeServerCertificate` writes it. Secret. */
  readonly bytes: Buffer;
  readonly leaf: X509Certificate;
  readonly names: readonly string[];
}

/**
 * Judges `chain`, PEM with the leaf first and each issuer after it; a root at its end may be left out. `keys` are PEM, of which
 * one must be the leaf's. `names` are those that it must bear. Whom clients trust is not checked: nobody here knows.
 * @throws TLS_CERTIFICATE_MALFORMED | TLS_KEY_MISMATCH | TLS_CERTIFICATE_EXPIRED | TLS_NAME_MISSING
 */
export function readBroughtCertificate(
  chain: string,
  keys: readonly string[],
  { names, now }: { readonly names: readonly string[]; readonly now: Date },
): BroughtCertificate {
  const pems = chain.match(PEM_CERTIFICATE) ?? [];
  const certificates = pems.map((pem) => parseCertificate(pem));
  const [leaf, ...issuers] = certificates;
  if (!leaf || certificates.length > CHAIN_MAX) {
    throw malformed(`got ${pems.length} certificates that can be read, want 1 to ${CHAIN_MAX} in PEM`);
  }
  if (leaf.ca) throw malformed("the first certificate is an authority's, want the server's first");
  for (const [i, issuer] of issuers.entries()) {
    const below = certificates[i];
    if (issuer && below?.checkIssued(issuer) && below.verify(issuer.publicKey)) continue;
    throw malformed(`certificate ${i + 2} did not issue certificate ${i + 1}: want each issuer after what it issued`);
  }
  const key = keys.map(parseKey).find((one) => one !== undefined && leaf.checkPrivateKey(one));
  if (!key) {
    throw siteError("TLS_KEY_MISMATCH", "the certificate is for none of the private keys at hand", {
      hints: ["sealift tls csr makes the key that its certificate needs", "or name the key's file with --tls-key"],
    });
  }
  requireStrong(key);
  requireTime(leaf, now);
  const missing = names.filter((name) => !(isIP(name) === 0 ? leaf.checkHost(name) : leaf.checkIP(name)));
  if (missing.length > 0) {
    throw siteError("TLS_NAME_MISSING", `the certificate does not name ${missing.join(", ")}`, {
      hints: ["clients that call so would be refused; publicNames in the configuration says how they call"],
    });
  }
  const pem = key.export({ type: "pkcs8", format: "pem" }).toString();
  const bytes = Buffer.from(pem + pems.map((one) => `${one}\n`).join(""));
  try {
    createSecureContext({ key: bytes, cert: bytes });
  } catch {
    throw malformed("OpenSSL takes no TLS server with it");
  }
  return { bytes, leaf, names: namesOf(leaf) };
}

function requireStrong({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): void {
  if (asymmetricKeyType === "ec") return;
  const bits = asymmetricKeyDetails?.modulusLength ?? 0;
  if (asymmetricKeyType === "rsa" && bits >= RSA_LEAST_BITS) return;
  throw malformed(
    `got a key of ${asymmetricKeyType} with ${bits} bits, want EC, or RSA with ${RSA_LEAST_BITS} or more`,
  );
}

function requireTime({ validFromDate, validToDate }: X509Certificate, now: Date): void {
  if (validFromDate <= now && now < validToDate) return;
  const [from, to] = [validFromDate, validToDate].map((date) => date.toISOString());
  throw siteError(
    "TLS_CERTIFICATE_EXPIRED",
    `the certificate holds from ${from} to ${to}, now is ${now.toISOString()}`,
    {
      hints: ["check the host's clock: date --utc"],
    },
  );
}

function malformed(problem: string): Error {
  return siteError("TLS_CERTIFICATE_MALFORMED", `certificate: ${problem}`);
}

function parseCertificate(pem: string | Uint8Array): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(pem);
    // Of a key or a time that is none it says so only when it is asked.
    const { publicKey, validFromDate, validToDate } = certificate;
    const isReadable = [validFromDate, validToDate].every((date) => !Number.isNaN(date.getTime()));
    return isReadable && publicKey.asymmetricKeyType ? certificate : undefined;
  } catch {
    return undefined;
  }
}

/** OpenSSL's own words may hold bytes of it. */
function parseKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined;
  }
}

function namesOf({ subjectAltName }: X509Certificate): string[] {
  const names = (subjectAltName ?? "").split(", ").map((name) => name.replace(/^(?:DNS|IP Address):/, ""));
  return names.filter((name) => name !== "").map(shortAddress);
}

/** OpenSSL writes every group of an IPv6 address; people and configurations do not. */
function shortAddress(name: string): string {
  return isIP(name) === 6 ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name;
}

/** Of a certificate that was brought, until the operation that uses it ends. */
export function broughtPath({ directory }: StatePaths): string {
  return join(directory, "site", "certificate-brought.pem");
}

/** The private key behind `tls csr`; it waits for its certificate. */
export function requestKeyPath({ directory }: StatePaths): string {
  return join(directory, "site", "certificate-request-key.pem");
}

/** @throws STATE_UNREADABLE */
export function readRequestKey(paths: StatePaths): string | undefined {
  return readStateFile(requestKeyPath(paths), FILE_MAX_BYTES)?.toString("latin1");
}

interface Kept {
  readonly path: string;
  readonly mode: number;
  readonly owner?: number;
}

/** What a new certificate may replace. */
export function certificateFiles(paths: StatePaths, { file, uid }: Pick<PresentCertificate, "file" | "uid">): Kept[] {
  const owner = process.getuid?.() === 0 ? { owner: uid } : {};
  return [
    { path: join(paths.directory, "secrets", file), mode: 0o400, ...owner },
    { path: authorityPath(paths), mode: 0o400 },
    { path: clientAuthorityPath(paths), mode: 0o644 },
  ];
}

export function writeKept(disk: Disk, { path, mode, owner }: Kept, bytes: Uint8Array): void {
  writeWhole(disk, path, bytes, mode, owner);
}
