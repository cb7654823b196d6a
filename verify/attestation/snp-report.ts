/**
 * Parses an SEV-SNP attestation report (AMD 56860, ATTESTATION_REPORT), 1184 bytes, versions 2 to 5.
 *
 * Parsing proves nothing: the numbers here are claims until verify-snp.ts has checked the signature. Strict,
 * so that each report has one spelling: every reserved byte must be zero, also those after the signature,
 * which the signature does not cover.
 */
import { attestationError } from "./error.ts";
import { productOfCpuid, type SnpProduct } from "./snp-product.ts";

export const SNP_REPORT_BYTES = 0x4a0;
/** What the processor signs. The bytes from here on are the signature and zeros. */
export const SNP_SIGNED_BYTES = 0x2a0;

/** Version 4 is read by its published layout; no genuine one could be verified while this was written. */
export const SNP_REPORT_VERSIONS = [2, 3, 4, 5] as const;
const CPUID_SINCE = 3;
const MITIGATIONS_SINCE = 5;

const ECDSA_P384_SHA384 = 1;
const VMPL_MAX = 3;
/** Of a P-384 number; the report keeps 72 bytes for each. */
const SCALAR_BYTES = 48;
const SCALAR_FIELD_BYTES = 72;

/** What the guest's owner demanded of the platform at launch; the firmware enforces it. */
export interface GuestPolicy {
  readonly abiMajor: number;
  readonly abiMinor: number;
  readonly smtAllowed: boolean;
  readonly migrationAllowed: boolean;
  readonly debugAllowed: boolean;
  readonly singleSocket: boolean;
  readonly cxlAllowed: boolean;
  readonly memoryAes256Xts: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapDisabled: boolean;
}

/** What the platform says of itself. `raw` keeps bits that are not known here. */
export interface PlatformInfo {
  readonly raw: bigint;
  readonly smtEnabled: boolean;
  readonly tsmeEnabled: boolean;
  readonly eccEnabled: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly aliasCheckComplete: boolean;
}

export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

export type SnpSigner = "vcek" | "vlek";

export interface SnpReport {
  /** The whole report, as it came. */
  readonly bytes: Buffer;
  readonly version: number;
  readonly guestSvn: number;
  readonly guestPolicy: GuestPolicy;
  readonly familyId: Buffer;
  readonly imageId: Buffer;
  readonly vmpl: number;
  readonly platform: PlatformInfo;
  readonly signer: SnpSigner;
  readonly authorKeyEnabled: boolean;
  readonly reportData: Buffer;
  readonly measurement: Buffer;
  readonly hostData: Buffer;
  readonly idKeyDigest: Buffer;
  readonly authorKeyDigest: Buffer;
  readonly reportId: Buffer;
  /** All zero if the host hides it (MASK_CHIP_ID). */
  readonly chipId: Buffer;
  /** From CPUID; null in version 2, where only the certificate's issuer tells the product. */
  readonly product: SnpProduct | null;
  /** Eight bytes each, read with `readTcb` once the product is known. */
  readonly tcb: {
    readonly current: Buffer;
    readonly reported: Buffer;
    readonly committed: Buffer;
    readonly launch: Buffer;
  };
  readonly firmware: { readonly current: FirmwareVersion; readonly committed: FirmwareVersion };
  /** Bit masks; null before version 5. */
  readonly mitigations: { readonly launch: bigint; readonly current: bigint } | null;
  /** r and s, big-endian, as `node:crypto` takes them (IEEE P1363). */
  readonly signature: Buffer;
}

const malformed = (problem: string): Error => attestationError("ATTEST_REPORT_MALFORMED", `report: ${problem}`);

/**
 * @throws ATTEST_REPORT_MALFORMED, ATTEST_REPORT_VERSION, ATTEST_PRODUCT_UNKNOWN, and ATTEST_KEY_MASKED if the
 * host keeps the chip's key from signing.
 */
export function parseSnpReport(input: Uint8Array): SnpReport {
  const bytes = Buffer.from(input);
  if (bytes.length !== SNP_REPORT_BYTES) throw malformed(`got ${bytes.length} bytes, want ${SNP_REPORT_BYTES}`);
  const version = bytes.readUInt32LE(0x00);
  if (!(SNP_REPORT_VERSIONS as readonly number[]).includes(version)) {
    throw attestationError(
      "ATTEST_REPORT_VERSION",
      `report: got version ${version}, want ${SNP_REPORT_VERSIONS.join(", ")}`,
    );
  }
  requireReservedZero(bytes, version);
  if (bytes.readUInt32LE(0x34) !== ECDSA_P384_SHA384) {
    throw malformed(`got signature algorithm ${bytes.readUInt32LE(0x34)}, want ${ECDSA_P384_SHA384}`);
  }
  const vmpl = bytes.readUInt32LE(0x30);
  if (vmpl > VMPL_MAX) throw malformed(`got VMPL ${vmpl}, want at most ${VMPL_MAX}`);
  const take = (offset: number, length: number): Buffer => bytes.subarray(offset, offset + length);
  return {
    bytes,
    version,
    guestSvn: bytes.readUInt32LE(0x04),
    guestPolicy: readGuestPolicy(bytes.readBigUInt64LE(0x08)),
    familyId: take(0x10, 16),
    imageId: take(0x20, 16),
    vmpl,
    platform: readPlatformInfo(bytes.readBigUInt64LE(0x40)),
    ...readKeyInfo(bytes.readUInt32LE(0x48)),
    reportData: take(0x50, 64),
    measurement: take(0x90, 48),
    hostData: take(0xc0, 32),
    idKeyDigest: take(0xe0, 48),
    authorKeyDigest: take(0x110, 48),
    reportId: take(0x140, 32),
    chipId: take(0x1a0, 64),
    product: readProduct(bytes, version),
    tcb: { current: take(0x38, 8), reported: take(0x180, 8), committed: take(0x1e0, 8), launch: take(0x1f0, 8) },
    firmware: { current: readFirmware(take(0x1e8, 3)), committed: readFirmware(take(0x1ec, 3)) },
    mitigations:
      version < MITIGATIONS_SINCE
        ? null
        : { launch: bytes.readBigUInt64LE(0x1f8), current: bytes.readBigUInt64LE(0x200) },
    signature: readSignature(take(SNP_SIGNED_BYTES, 2 * SCALAR_FIELD_BYTES)),
  };
}

function requireReservedZero(bytes: Buffer, version: number): void {
  const reserved: readonly (readonly [from: number, to: number])[] = [
    [0x4c, 0x50],
    [version < CPUID_SINCE ? 0x188 : 0x18b, 0x1a0],
    [0x1eb, 0x1ec],
    [0x1ef, 0x1f0],
    [version < MITIGATIONS_SINCE ? 0x1f8 : 0x208, SNP_SIGNED_BYTES],
    [SNP_SIGNED_BYTES + 2 * SCALAR_FIELD_BYTES, SNP_REPORT_BYTES],
  ];
  for (const [from, to] of reserved) {
    const at = bytes.subarray(from, to).findIndex((byte) => byte !== 0);
    if (at >= 0) throw malformed(`got a byte other than 0 at 0x${(from + at).toString(16)}, which is reserved`);
  }
}

function readGuestPolicy(raw: bigint): GuestPolicy {
  const bit = (n: number): boolean => ((raw >> BigInt(n)) & 1n) === 1n;
  if (!bit(17)) throw malformed("got 0 in bit 17 of the guest policy, which is always 1");
  if (raw >> 26n !== 0n) throw malformed("got a reserved bit of the guest policy set");
  return {
    abiMinor: Number(raw & 0xffn),
    abiMajor: Number((raw >> 8n) & 0xffn),
    smtAllowed: bit(16),
    migrationAllowed: bit(18),
    debugAllowed: bit(19),
    singleSocket: bit(20),
    cxlAllowed: bit(21),
    memoryAes256Xts: bit(22),
    raplDisabled: bit(23),
    ciphertextHiding: bit(24),
    pageSwapDisabled: bit(25),
  };
}

function readPlatformInfo(raw: bigint): PlatformInfo {
  const bit = (n: number): boolean => ((raw >> BigInt(n)) & 1n) === 1n;
  return {
    raw,
    smtEnabled: bit(0),
    tsmeEnabled: bit(1),
    eccEnabled: bit(2),
    raplDisabled: bit(3),
    ciphertextHiding: bit(4),
    aliasCheckComplete: bit(5),
  };
}

function readKeyInfo(raw: number): { readonly signer: SnpSigner; readonly authorKeyEnabled: boolean } {
  if (raw >>> 5 !== 0) throw malformed("got a reserved bit of the key information set");
  const NONE = 7;
  const selected = raw >>> 2;
  const masked = (raw & 0b10) !== 0;
  if (masked || selected === NONE) {
    throw attestationError("ATTEST_KEY_MASKED", "report: the host has switched off the key that signs reports");
  }
  const signer = (["vcek", "vlek"] as const)[selected];
  if (signer === undefined) throw malformed(`got signing key ${selected}, want 0 (VCEK) or 1 (VLEK)`);
  return { signer, authorKeyEnabled: (raw & 1) !== 0 };
}

function readProduct(bytes: Buffer, version: number): SnpProduct | null {
  if (version < CPUID_SINCE) return null;
  const family = bytes.readUInt8(0x188);
  const model = bytes.readUInt8(0x189);
  const product = productOfCpuid(family, model);
  if (product) return product;
  throw attestationError(
    "ATTEST_PRODUCT_UNKNOWN",
    `report: got CPUID family 0x${family.toString(16)}, model 0x${model.toString(16)}, which is no processor known here`,
  );
}

function readFirmware(bytes: Buffer): FirmwareVersion {
  return { build: bytes.readUInt8(0), minor: bytes.readUInt8(1), major: bytes.readUInt8(2) };
}

function readSignature(field: Buffer): Buffer {
  const scalars = [0, SCALAR_FIELD_BYTES].map((start) => {
    const scalar = field.subarray(start, start + SCALAR_FIELD_BYTES);
    if (scalar.subarray(SCALAR_BYTES).some((byte) => byte !== 0)) throw malformed("got a signature above 384 bits");
    return Buffer.from(scalar.subarray(0, SCALAR_BYTES)).reverse();
  });
  const signature = Buffer.concat(scalars);
  if (signature.every((byte) => byte === 0)) {
    throw attestationError("ATTEST_KEY_MASKED", "report: it is not signed (all bytes of the signature are 0)");
  }
  return signature;
}
