/**
 * Reads the X.509 certificates and revocation lists that come with evidence. node:crypto reads certificates
 * and checks signatures; what it does not show (extensions, names part by part, revocation lists) is read with
 * @peculiar/asn1-x509. Reading proves nothing: verify-snp.ts says what must hold.
 */
import { constants, type KeyObject, verify, X509Certificate } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import { Certificate, CertificateList, CRLNumber, type Extension, type Name, type Time } from "@peculiar/asn1-x509";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { attestationError } from "./error.ts";

/** AMD's are below 2 KiB. */
export const CERTIFICATE_MAX_BYTES = 16 * 1024;
/** A chain in one file has two or three. */
const CERTIFICATES_PER_FILE_MAX = 8;
/** AMD's are below 1 KiB; each revoked intermediate adds some 30 bytes. */
export const CRL_MAX_BYTES = 256 * 1024;

const COMMON_NAME = "2.5.4.3";
const CRL_NUMBER = "2.5.29.20";
const AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
/** RFC 5280 extensions that node:crypto heeds in `ca`, `checkIssued` and `verify`. */
const CRITICAL_EXTENSIONS_UNDERSTOOD = ["2.5.29.15", "2.5.29.19"];
export const RSASSA_PSS = "1.2.840.113549.1.1.10";
export const ECDSA_SHA256 = "1.2.840.10045.4.3.2";
/** Of SHA-384, as AMD's certificates and revocation lists say. */
const SALT_BYTES = 48;

export interface ReadCertificate {
  readonly x509: X509Certificate;
  readonly commonName: string;
  readonly issuerCommonName: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Upper-case hexadecimal, as node:crypto writes it. */
  readonly serial: string;
  /** OID → the extension's value, not decoded. */
  readonly extensions: ReadonlyMap<string, Buffer>;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyDigest: Digest;
}

const malformed = (problem: string, cause?: unknown): Error =>
  attestationError("ATTEST_CERTIFICATE_MALFORMED", `certificate: ${problem}`, { cause });

/** The certificates in a DER or PEM file, in its order. @throws ATTEST_CERTIFICATE_MALFORMED */
export function readCertificates(bytes: Buffer): ReadCertificate[] {
  if (isDer(bytes)) return [readCertificate(bytes)];
  const blocks = pemBlocks(bytes, "CERTIFICATE");
  if (blocks === undefined) throw malformed("neither DER nor PEM certificates and nothing else");
  if (blocks.length > CERTIFICATES_PER_FILE_MAX) {
    throw malformed(`got ${blocks.length} in one file, want at most ${CERTIFICATES_PER_FILE_MAX}`);
  }
  return blocks.map(readCertificate);
}

/** Whether `bytes` begin like DER's SEQUENCE; PEM begins with a dash. */
function isDer(bytes: Buffer): boolean {
  const SEQUENCE = 0x30;
  return bytes[0] === SEQUENCE;
}

/** The contents of PEM blocks with this label, or undefined if there is none or anything stands around them. */
export function pemBlocks(bytes: Buffer, label: string): Buffer[] | undefined {
  const block = new RegExp(`-----BEGIN ${label}-----\\s+([A-Za-z0-9+/=\\s]+?)-----END ${label}-----\\s*`, "y");
  const text = bytes.toString("latin1").trimStart();
  const blocks: Buffer[] = [];
  while (block.lastIndex < text.length) {
    const found = block.exec(text);
    if (!found) return undefined;
    blocks.push(Buffer.from(found[1] as string, "base64"));
  }
  return blocks.length === 0 ? undefined : blocks;
}

function readCertificate(der: Buffer): ReadCertificate {
  if (der.length > CERTIFICATE_MAX_BYTES) {
    throw malformed(`got ${der.length} bytes, want at most ${CERTIFICATE_MAX_BYTES}`);
  }
  try {
    const x509 = new X509Certificate(der);
    if (!x509.raw.equals(der)) throw new RangeError("bytes follow it");
    const { tbsCertificate } = AsnConvert.parse(der, Certificate);
    return {
      x509,
      commonName: commonNameOf(tbsCertificate.subject),
      issuerCommonName: commonNameOf(tbsCertificate.issuer),
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
      serial: x509.serialNumber,
      extensions: extensionsOf(tbsCertificate.extensions ?? [], CRITICAL_EXTENSIONS_UNDERSTOOD),
      keyDigest: digestOf(x509.publicKey.export({ type: "spki", format: "der" })),
    };
  } catch (cause) {
    throw malformed(reasonOf(cause), cause);
  }
}

/** The one common name in `name`. Two would let two readers see different ones. */
function commonNameOf(name: Name): string {
  const names = name.flatMap((set) => set.filter(({ type }) => type === COMMON_NAME).map(({ value }) => `${value}`));
  const [commonName] = names;
  if (commonName === undefined || names.length > 1) throw new RangeError(`got ${names.length} common names, want 1`);
  return commonName;
}

function extensionsOf(extensions: readonly Extension[], understood: readonly string[]): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const { extnID, critical, extnValue } of extensions) {
    if (found.has(extnID)) throw new RangeError(`extension ${extnID} is there twice`);
    if (critical && !understood.includes(extnID)) {
      throw new RangeError(`extension ${extnID} is critical and not understood`);
    }
    found.set(extnID, Buffer.from(extnValue.buffer));
  }
  return found;
}

/** Whether `issuer`'s key signed `subject` with this algorithm, AMD's by default, and may sign certificates. */
export function isIssuedBy(subject: ReadCertificate, issuer: ReadCertificate, algorithm: string = RSASSA_PSS): boolean {
  return (
    issuer.x509.ca &&
    subject.x509.checkIssued(issuer.x509) &&
    subject.x509.signatureAlgorithmOid === algorithm &&
    subject.x509.verify(issuer.x509.publicKey)
  );
}

const INTEGER = 0x02;
const IA5_STRING = 0x16;

/** An INTEGER from 0 to 255 in DER (two bytes from 128 on), or undefined. */
export function smallInteger(der: Buffer): number | undefined {
  const value = der[der.length - 1];
  const [tag, length, first] = der;
  const plain = length === 1 && der.length === 3 && (value ?? 0) < 0x80;
  const padded = length === 2 && der.length === 4 && first === 0 && (value ?? 0) >= 0x80;
  return tag === INTEGER && (plain || padded) ? value : undefined;
}

/** An IA5String below 128 bytes in DER, or undefined. */
export function shortString(der: Buffer): string | undefined {
  const [tag, length] = der;
  const fits = tag === IA5_STRING && length === der.length - 2 && length < 0x80;
  return fits && der.subarray(2).every((byte) => byte < 0x80) ? der.toString("latin1", 2) : undefined;
}

export interface RevocationList {
  /** Strictly greater in each later list. */
  readonly number: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Upper-case hexadecimal, as `ReadCertificate.serial`. */
  readonly revokedSerials: ReadonlySet<string>;
  readonly issuerCommonName: string;
  /** What the issuer signed, and its signature. */
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/**
 * A certificate revocation list (RFC 5280, section 5), DER or PEM. Every revoked entry counts, whatever its
 * reason. @throws ATTEST_CRL_MALFORMED, also for a list without a number or a next update, and for a critical
 * extension of the list or of an entry.
 */
export function readRevocationList(bytes: Buffer): RevocationList {
  const problem = (text: string, cause?: unknown): Error =>
    attestationError("ATTEST_CRL_MALFORMED", `revocation list: ${text}`, { cause });
  const blocks = isDer(bytes) ? [bytes] : pemBlocks(bytes, "X509 CRL");
  const [der] = blocks ?? [];
  if (der === undefined || blocks?.length !== 1) throw problem("neither DER nor PEM of one list");
  if (der.length > CRL_MAX_BYTES) throw problem(`got ${der.length} bytes, want at most ${CRL_MAX_BYTES}`);
  try {
    const list = AsnConvert.parse(der, CertificateList);
    const { tbsCertList, tbsCertListRaw } = list;
    // The parser takes BER too; one spelling is enough, so that no byte outside the signed part is free.
    if (!Buffer.from(AsnConvert.serialize(list)).equals(der)) throw new RangeError("it is not DER");
    if (!list.signatureAlgorithm.isEqual(tbsCertList.signature))
      throw new RangeError("it names two signature algorithms");
    const extensions = extensionsOf(tbsCertList.crlExtensions ?? [], [AUTHORITY_KEY_IDENTIFIER]);
    const number = extensions.get(CRL_NUMBER);
    if (number === undefined) throw new RangeError("it has no number");
    if (tbsCertList.nextUpdate === undefined) throw new RangeError("it has no next update");
    if (tbsCertListRaw === undefined) throw new RangeError("it has no signed part");
    const entries = tbsCertList.revokedCertificates ?? [];
    for (const entry of entries) extensionsOf(entry.crlEntryExtensions ?? [], []);
    return {
      number: unsigned(AsnConvert.parse(number, CRLNumber).value),
      thisUpdate: dateOf(tbsCertList.thisUpdate),
      nextUpdate: dateOf(tbsCertList.nextUpdate),
      revokedSerials: new Set(entries.map(({ userCertificate }) => serialText(Buffer.from(userCertificate)))),
      issuerCommonName: commonNameOf(tbsCertList.issuer),
      signed: Buffer.from(tbsCertListRaw),
      signature: Buffer.from(list.signature),
    };
  } catch (cause) {
    throw problem(reasonOf(cause), cause);
  }
}

function unsigned(value: number | bigint | ArrayBuffer): bigint {
  const number = value instanceof ArrayBuffer ? BigInt(`0x${Buffer.from(value).toString("hex")}`) : BigInt(value);
  if (number < 0n) throw new RangeError("its number is negative");
  return number;
}

function dateOf(time: Time): Date {
  const date = time.getTime();
  if (Number.isNaN(date.getTime())) throw new RangeError("a date cannot be read");
  return date;
}

/** The bytes of a serial number without leading zeros, as OpenSSL and so node:crypto print it. */
function serialText(bytes: Buffer): string {
  const text = bytes
    .toString("hex")
    .toUpperCase()
    .replace(/^(?:00)+/, "");
  return text === "" ? "0" : text;
}

/** Whether `key`, of P-256, signed the list with ECDSA and SHA-256: what Intel uses. */
export function isListSignedWithEcdsa(list: RevocationList, key: KeyObject): boolean {
  return key.asymmetricKeyDetails?.namedCurve === "prime256v1" && verify("sha256", list.signed, key, list.signature);
}

/** Whether `key` signed the list with RSASSA-PSS, SHA-384 and a salt of 48 bytes: what AMD uses, and nothing else. */
export function isSignedBy(list: RevocationList, key: KeyObject): boolean {
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return verify("sha384", list.signed, { key, padding, saltLength: SALT_BYTES }, list.signature);
}
