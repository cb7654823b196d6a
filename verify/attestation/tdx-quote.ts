/**
 * Parses an Intel TDX quote of version 4 or 5 (Intel TDX DCAP Quoting Library API, appendix A.3 and A.4): header, TD
 * report, and the quoting enclave's signature data with the certificates of the platform's key.
 *
 * Parsing proves nothing: what is here are claims until verify-tdx.ts has checked the signatures. Strict, so that
 * each quote has one spelling: lengths must add up, reserved bytes must be zero, and only zeros may follow.
 */
import { attestationError } from "./error.ts";

/** Some 5000 bytes in practice; the kernel's buffer has 8 KiB. */
export const TDX_QUOTE_MAX_BYTES = 16 * 1024;
export const TDX_QUOTE_VERSIONS = [4, 5] as const;

const HEADER_BYTES = 48;
const TD_REPORT_BYTES = 584;
/** With TEE_TCB_SVN_2 and MRSERVICETD, since TDX 1.5. */
const LONG_TD_REPORT_BYTES = 648;
const BODY_TD = 2;
const BODY_TD_1_5 = 3;

const TEE_TDX = 0x81;
const ECDSA_P256 = 2;
const INTEL_QE_VENDOR = Buffer.from("939a7233f79c4ca9940a0db3957f0607", "hex");
const SIGNATURE_BYTES = 64;
const KEY_BYTES = 64;
export const ENCLAVE_REPORT_BYTES = 384;
/** Certification data: the quoting enclave's own report, with more certification data in it. */
const CERTIFIED_BY_QE_REPORT = 6;
/** Certification data: the platform key's certificates up to the root, as PEM. */
const CERTIFIED_BY_CHAIN = 5;

export interface TdReport {
  /** One byte for each part of the platform's software: module, its major version, loader … */
  readonly teeTcbSvn: Buffer;
  readonly mrSeam: Buffer;
  readonly mrSignerSeam: Buffer;
  readonly seamAttributes: Buffer;
  readonly tdAttributes: bigint;
  readonly xfam: bigint;
  /** What the TD was started from: its firmware. */
  readonly mrTd: Buffer;
  readonly mrConfigId: Buffer;
  readonly mrOwner: Buffer;
  readonly mrOwnerConfig: Buffer;
  /** RTMR0 to RTMR3: what the firmware and the system have measured since. */
  readonly rtmrs: readonly Buffer[];
  readonly reportData: Buffer;
  /** Of the module that runs now, and the service TD bound to this one; null before TDX 1.5. */
  readonly later: { readonly teeTcbSvn: Buffer; readonly mrServiceTd: Buffer } | null;
}

/** An SGX enclave's report (Intel SDM, REPORT), here the quoting enclave's. */
export interface EnclaveReport {
  readonly bytes: Buffer;
  readonly miscSelect: Buffer;
  readonly attributes: Buffer;
  readonly mrSigner: Buffer;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: Buffer;
}

export interface TdxQuote {
  /** Without the zeros that may follow. */
  readonly bytes: Buffer;
  readonly version: number;
  /** What the attestation key signs. */
  readonly signed: Buffer;
  readonly td: TdReport;
  /** r and s, big-endian (IEEE P1363). */
  readonly signature: Buffer;
  /** x and y of a point of P-256. */
  readonly attestationKey: Buffer;
  readonly qe: {
    readonly report: EnclaveReport;
    /** By the platform's key. */
    readonly signature: Buffer;
    readonly authData: Buffer;
  };
  /** PEM, as it came. */
  readonly chain: Buffer;
}

const malformed = (problem: string): Error => attestationError("ATTEST_REPORT_MALFORMED", `quote: ${problem}`);

/** Takes bytes from the front, and knows where it is. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(length: number, name: string): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed(`it ends within ${name}`);
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  uint16(name: string): number {
    return this.take(2, name).readUInt16LE();
  }

  uint32(name: string): number {
    return this.take(4, name).readUInt32LE();
  }

  zeros(length: number, name: string): void {
    if (this.take(length, name).some((byte) => byte !== 0)) throw malformed(`${name}: got a byte other than 0`);
  }

  get offset(): number {
    return this.#at;
  }

  /** Demands that nothing is left. */
  end(name: string): void {
    if (this.#at !== this.#bytes.length) throw malformed(`${this.#bytes.length - this.#at} bytes follow ${name}`);
  }
}

/** Whether the bytes begin like a TDX quote of any version, so that a newer one is named as such. */
export function isTdxQuote(bytes: Buffer): boolean {
  return (
    bytes.length > HEADER_BYTES && bytes.readUInt32LE(4) === TEE_TDX && bytes.subarray(12, 28).equals(INTEL_QE_VENDOR)
  );
}

/** @throws ATTEST_REPORT_MALFORMED | ATTEST_REPORT_VERSION */
export function parseTdxQuote(input: Uint8Array): TdxQuote {
  const bytes = Buffer.from(input);
  if (bytes.length > TDX_QUOTE_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${TDX_QUOTE_MAX_BYTES}`);
  }
  const reader = new Reader(bytes);
  const version = readHeader(reader);
  const td = readTdReport(reader, version);
  const signed = bytes.subarray(0, reader.offset);
  const signatureData = reader.take(reader.uint32("the length of the signature data"), "the signature data");
  const end = reader.offset;
  reader.zeros(bytes.length - end, "what follows the quote");
  return { bytes: bytes.subarray(0, end), version, signed, td, ...readSignatureData(signatureData) };
}

function readHeader(reader: Reader): number {
  const version = reader.uint16("the header");
  if (!(TDX_QUOTE_VERSIONS as readonly number[]).includes(version)) {
    throw attestationError(
      "ATTEST_REPORT_VERSION",
      `quote: got version ${version}, want ${TDX_QUOTE_VERSIONS.join(" or ")}`,
    );
  }
  const keyType = reader.uint16("the header");
  if (keyType !== ECDSA_P256) throw malformed(`got attestation key type ${keyType}, want ${ECDSA_P256} (ECDSA P-256)`);
  const tee = reader.uint32("the header");
  if (tee !== TEE_TDX) throw malformed(`got TEE type 0x${tee.toString(16)}, want 0x${TEE_TDX.toString(16)} (TDX)`);
  reader.zeros(4, "the header's reserved bytes");
  if (!reader.take(INTEL_QE_VENDOR.length, "the header").equals(INTEL_QE_VENDOR)) {
    throw malformed("its quoting enclave is not Intel's");
  }
  const USER_DATA_BYTES = 20;
  reader.take(USER_DATA_BYTES, "the header");
  return version;
}

function readTdReport(reader: Reader, version: number): TdReport {
  const isLong = version >= 5 && readBodyDescriptor(reader);
  const take = (length: number): Buffer => reader.take(length, "the TD report");
  const digest = (): Buffer => take(48);
  const number = (): bigint => take(8).readBigUInt64LE();
  return {
    teeTcbSvn: take(16),
    mrSeam: digest(),
    mrSignerSeam: digest(),
    seamAttributes: take(8),
    tdAttributes: number(),
    xfam: number(),
    mrTd: digest(),
    mrConfigId: digest(),
    mrOwner: digest(),
    mrOwnerConfig: digest(),
    rtmrs: [digest(), digest(), digest(), digest()],
    reportData: take(64),
    later: isLong ? { teeTcbSvn: take(16), mrServiceTd: digest() } : null,
  };
}

/** Whether the body is the longer one. */
function readBodyDescriptor(reader: Reader): boolean {
  const type = reader.uint16("the body's descriptor");
  const length = reader.uint32("the body's descriptor");
  if (type === BODY_TD && length === TD_REPORT_BYTES) return false;
  if (type === BODY_TD_1_5 && length === LONG_TD_REPORT_BYTES) return true;
  throw malformed(`got a body of type ${type} and ${length} bytes, want a TD report of 1.0 or 1.5`);
}

function readSignatureData(bytes: Buffer): Pick<TdxQuote, "signature" | "attestationKey" | "qe" | "chain"> {
  const reader = new Reader(bytes);
  const signature = reader.take(SIGNATURE_BYTES, "the signature");
  const attestationKey = reader.take(KEY_BYTES, "the attestation key");
  const certification = readCertification(reader, CERTIFIED_BY_QE_REPORT);
  reader.end("the certification data");
  const inner = new Reader(certification);
  const report = readEnclaveReport(inner.take(ENCLAVE_REPORT_BYTES, "the quoting enclave's report"));
  const qeSignature = inner.take(SIGNATURE_BYTES, "the quoting enclave's signature");
  const authData = inner.take(inner.uint16("the quoting enclave's data"), "the quoting enclave's data");
  const chain = readCertification(inner, CERTIFIED_BY_CHAIN);
  inner.end("the certificates");
  return { signature, attestationKey, qe: { report, signature: qeSignature, authData }, chain };
}

function readCertification(reader: Reader, wanted: number): Buffer {
  const type = reader.uint16("the certification data");
  if (type !== wanted) {
    throw malformed(`got certification data of type ${type}, want ${wanted}; a quote must bring its certificates`);
  }
  return reader.take(reader.uint32("the certification data"), "the certification data");
}

function readEnclaveReport(bytes: Buffer): EnclaveReport {
  const reserved: readonly (readonly [from: number, to: number])[] = [
    [20, 32],
    [96, 128],
    [160, 192],
    [262, 304],
  ];
  for (const [from, to] of reserved) {
    if (bytes.subarray(from, to).some((byte) => byte !== 0)) {
      throw malformed("a reserved byte of the quoting enclave's report is not 0");
    }
  }
  return {
    bytes,
    miscSelect: bytes.subarray(16, 20),
    attributes: bytes.subarray(48, 64),
    mrSigner: bytes.subarray(128, 160),
    isvProdId: bytes.readUInt16LE(256),
    isvSvn: bytes.readUInt16LE(258),
    reportData: bytes.subarray(320, 384),
  };
}
