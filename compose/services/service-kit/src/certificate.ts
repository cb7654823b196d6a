/**
 * Writes X.509 certificates (RFC 5280), and only of the profile that Sealift itself issues: ECDSA P-256 with
 * SHA-256, one common name, and the few extensions below. It reads none: that is OpenSSL's work.
 *
 * Why not a library: a service makes its own certificate at run time, and its image holds Node and what the
 * service needs. One page of DER costs less to review than the packages that would write it.
 */
import { createHash, createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

export interface Issuer {
  /** The common name of its certificate's subject. */
  readonly name: string;
  readonly privateKey: KeyObject;
}

/** Which names those may bear who are below an authority (RFC 5280, 4.2.1.10). An empty list permits none of its kind. */
export interface NameLimits {
  /** A DNS name and all below it. The same names limit e-mail addresses and URIs. */
  readonly dns: readonly string[];
  readonly ip: readonly string[];
  /** The common name that a subject must have; any if there is none. */
  readonly commonName?: string;
}

export type Purpose = "server" | "client";

export interface CertificateFields {
  /** Common name of the subject, 1 to 64 characters. */
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly issuer: Issuer;
  /** Whole seconds; what is below is cut off. */
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly purposes: readonly Purpose[];
  /** An authority: how many authorities may stand below it, and for which names. Without: a leaf. */
  readonly authority?: { readonly pathLength: number; readonly limits: NameLimits };
  /** A leaf: its DNS names and IP addresses, as text. */
  readonly names?: readonly string[];
}

/**
 * RFC 5280, 4.1.2.5: "no well-defined expiration date". Authorities live from 1970 to then, because a host
 * whose clock is wrong must go on working, and because nobody but the site itself trusts them.
 */
export const ALWAYS = { notBefore: new Date(0), notAfter: new Date("9999-12-31T23:59:59Z") } as const;

const OID = {
  ecdsaWithSha256: "2a8648ce3d040302",
  commonName: "550403",
  subjectKeyIdentifier: "551d0e",
  keyUsage: "551d0f",
  subjectAltName: "551d11",
  basicConstraints: "551d13",
  nameConstraints: "551d1e",
  authorityKeyIdentifier: "551d23",
  extKeyUsage: "551d25",
  extensionRequest: "2a864886f70d01090e",
} as const;
const PURPOSE_OID: Readonly<Record<Purpose, string>> = { server: "2b06010505070301", client: "2b06010505070302" };

const [BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_ID, UTF8, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET] = [
  0x01, 0x02, 0x03, 0x04, 0x06, 0x0c, 0x17, 0x18, 0x30, 0x31,
];
/** The context tags of GeneralName. */
const NAME_TAG = { email: 0x81, dns: 0x82, directory: 0xa4, uri: 0x86, ip: 0x87 } as const;
const KEY_USAGE = { digitalSignature: Buffer.of(7, 0x80), keyCertSign: Buffer.of(2, 0x04) } as const;
const NEGATIVE_BIT = 0x80;

function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  const significant = length.subarray(length.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.of(tag, 0x80 | significant.length), significant, content]);
}

function oid(hex: string): Buffer {
  return der(OBJECT_ID, Buffer.from(hex, "hex"));
}

/** UTCTime up to 2049, as RFC 5280 wants, GeneralizedTime from then on. */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/[-:T]|\..*/g, "")}Z`;
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? der(UTC_TIME, Buffer.from(digits.slice(2)))
    : der(GENERALIZED_TIME, Buffer.from(digits));
}

function distinguishedName(commonName: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, oid(OID.commonName), der(UTF8, Buffer.from(commonName)))));
}

/** The bytes of an IPv4 or IPv6 address: 4 or 16. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  // URL writes every IPv6 address in one form: groups of hex digits, at most one `::`.
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (part: string | undefined): string[] => (part ? part.split(":") : []);
  const before = groups(head);
  const after = groups(tail);
  const zeros = new Array<string>(8 - before.length - after.length).fill("0");
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join(""), "hex");
}

function alternativeName(name: string): Buffer {
  return isIP(name) === 0 ? der(NAME_TAG.dns, Buffer.from(name)) : der(NAME_TAG.ip, addressBytes(name));
}

function nameConstraints({ dns, ip, commonName }: NameLimits): Buffer {
  const host = (address: string): Buffer => {
    const bytes = addressBytes(address);
    return der(NAME_TAG.ip, bytes, Buffer.alloc(bytes.length, 0xff));
  };
  // A kind that no subtree permits is excluded as a whole: for DNS by the empty name, for IP by both zero masks.
  const permitted = [
    ...([NAME_TAG.dns, NAME_TAG.email, NAME_TAG.uri] as const).flatMap((tag) =>
      dns.map((name) => der(tag, Buffer.from(name))),
    ),
    ...ip.map(host),
    ...(commonName === undefined ? [] : [der(NAME_TAG.directory, distinguishedName(commonName))]),
  ];
  const excluded = [
    ...(dns.length === 0 ? [der(NAME_TAG.dns)] : []),
    ...(ip.length === 0 ? [der(NAME_TAG.ip, Buffer.alloc(8)), der(NAME_TAG.ip, Buffer.alloc(32))] : []),
  ];
  const subtrees = (tag: number, bases: readonly Buffer[]): Buffer[] =>
    bases.length === 0 ? [] : [der(tag, ...bases.map((base) => der(SEQUENCE, base)))];
  return der(SEQUENCE, ...subtrees(0xa0, permitted), ...subtrees(0xa1, excluded));
}

function keyIdentifier(publicKey: KeyObject): Buffer {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest()
    .subarray(0, 20);
}

function extension(hex: string, isCritical: boolean, value: Buffer): Buffer {
  return der(SEQUENCE, oid(hex), ...(isCritical ? [der(BOOLEAN, Buffer.of(0xff))] : []), der(OCTET_STRING, value));
}

function extensions({ publicKey, issuer, purposes, authority, names = [] }: CertificateFields): Buffer[] {
  const constraints = authority ? [der(BOOLEAN, Buffer.of(0xff)), der(INTEGER, Buffer.of(authority.pathLength))] : [];
  const issuerKey = der(0x80, keyIdentifier(createPublicKey(issuer.privateKey)));
  return [
    extension(OID.basicConstraints, true, der(SEQUENCE, ...constraints)),
    extension(OID.keyUsage, true, der(BIT_STRING, authority ? KEY_USAGE.keyCertSign : KEY_USAGE.digitalSignature)),
    extension(OID.extKeyUsage, false, der(SEQUENCE, ...purposes.map((purpose) => oid(PURPOSE_OID[purpose])))),
    extension(OID.subjectKeyIdentifier, false, der(OCTET_STRING, keyIdentifier(publicKey))),
    extension(OID.authorityKeyIdentifier, false, der(SEQUENCE, issuerKey)),
    ...(authority ? [extension(OID.nameConstraints, true, nameConstraints(authority.limits))] : []),
    ...(names.length > 0 ? [extension(OID.subjectAltName, false, der(SEQUENCE, ...names.map(alternativeName)))] : []),
  ];
}

/** Positive and without a leading zero, as DER wants; 126 bits that nobody can foretell. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & ~NEGATIVE_BIT) | 0x40;
  return der(INTEGER, bytes);
}

/**
 * A new certificate as PEM. It is self-signed where `publicKey` is the issuer's. Nothing is checked but the
 * length of the subject: the caller says only what is true. @throws RangeError
 */
export function writeCertificate(fields: CertificateFields): string {
  const { subject, publicKey, issuer, notBefore, notAfter } = fields;
  requireSubject(subject);
  const body = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, Buffer.of(2))),
    serialNumber(),
    signatureAlgorithm(),
    distinguishedName(issuer.name),
    der(SEQUENCE, time(notBefore), time(notAfter)),
    distinguishedName(subject),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(SEQUENCE, ...extensions(fields))),
  );
  return signed("CERTIFICATE", body, issuer.privateKey);
}

/** A request for a server's certificate (PKCS #10, RFC 2986), as PEM; `privateKey` is P-256. @throws RangeError */
export function writeCertificateRequest(subject: string, names: readonly string[], privateKey: KeyObject): string {
  requireSubject(subject);
  const wanted = der(SEQUENCE, extension(OID.subjectAltName, false, der(SEQUENCE, ...names.map(alternativeName))));
  const body = der(
    SEQUENCE,
    der(INTEGER, Buffer.of(0)),
    distinguishedName(subject),
    createPublicKey(privateKey).export({ type: "spki", format: "der" }),
    der(0xa0, der(SEQUENCE, oid(OID.extensionRequest), der(SET, wanted))),
  );
  return signed("CERTIFICATE REQUEST", body, privateKey);
}

function requireSubject(subject: string): void {
  if (subject.length >= 1 && subject.length <= 64) return;
  throw new RangeError(`common name: got ${subject.length} characters, want 1 to 64`);
}

function signed(label: string, body: Buffer, privateKey: KeyObject): string {
  const signature = sign("sha256", body, privateKey);
  const bytes = der(SEQUENCE, body, signatureAlgorithm(), der(BIT_STRING, Buffer.of(0), signature));
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function signatureAlgorithm(): Buffer {
  return der(SEQUENCE, oid(OID.ecdsaWithSha256));
}
