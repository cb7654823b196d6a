/** The AMD processors whose SEV-SNP reports are understood, and what differs between them. */
import { attestationError } from "./error.ts";

export const SNP_PRODUCTS = ["Milan", "Genoa", "Turin"] as const;
export type SnpProduct = (typeof SNP_PRODUCTS)[number];

/** The security version of each part of the firmware. `fmc` exists from Turin on and is 0 before. */
export interface Tcb {
  readonly fmc: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

export const TCB_PARTS = ["fmc", "bootloader", "tee", "snp", "microcode"] as const;
export type TcbPart = (typeof TCB_PARTS)[number];

/** Byte by byte, what a TCB_VERSION holds (AMD 56860, TCB_VERSION); `null` is reserved and zero. */
const EARLY_LAYOUT: readonly (TcbPart | null)[] = ["bootloader", "tee", null, null, null, null, "snp", "microcode"];
const TURIN_LAYOUT: readonly (TcbPart | null)[] = ["fmc", "bootloader", "tee", "snp", null, null, null, "microcode"];

/** What of the chip's name is in its certificate: Turin's is the beginning of the report's CHIP_ID. */
const HARDWARE_ID_BYTES: Readonly<Record<SnpProduct, number>> = { Milan: 64, Genoa: 64, Turin: 8 };

/** The parts that a product's TCB has. */
export function tcbPartsOf(product: SnpProduct): readonly TcbPart[] {
  return product === "Turin" ? TCB_PARTS : TCB_PARTS.filter((part) => part !== "fmc");
}

export function hardwareIdBytes(product: SnpProduct): number {
  return HARDWARE_ID_BYTES[product];
}

/**
 * Reads the 8 bytes of a TCB_VERSION. Two of them are never compared as one number: the parts lie in another
 * order from Turin on.
 * @throws ATTEST_REPORT_MALFORMED if a reserved byte is not zero: the bytes are of another product.
 */
export function readTcb(product: SnpProduct, bytes: Uint8Array): Tcb {
  const layout = product === "Turin" ? TURIN_LAYOUT : EARLY_LAYOUT;
  const tcb: Record<TcbPart, number> = { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 };
  for (const [i, part] of layout.entries()) {
    const value = bytes[i] ?? 0;
    if (part !== null) tcb[part] = value;
    else if (value !== 0) {
      throw attestationError(
        "ATTEST_REPORT_MALFORMED",
        `TCB of ${product}: got ${value} in reserved byte ${i}, want 0`,
      );
    }
  }
  return tcb;
}

/** The 8 bytes of `tcb`; the inverse of `readTcb`. */
export function writeTcb(product: SnpProduct, tcb: Tcb): Buffer {
  const layout = product === "Turin" ? TURIN_LAYOUT : EARLY_LAYOUT;
  return Buffer.from(layout.map((part) => (part === null ? 0 : tcb[part])));
}

/** The product with this CPUID family and model, or undefined. KDS counts Bergamo and Siena as Genoa. */
export function productOfCpuid(family: number, model: number): SnpProduct | undefined {
  const within = (low: number, high: number): boolean => model >= low && model <= high;
  if (family === 0x19 && within(0x00, 0x0f)) return "Milan";
  if (family === 0x19 && (within(0x10, 0x1f) || within(0xa0, 0xaf))) return "Genoa";
  if (family === 0x1a && within(0x00, 0x11)) return "Turin";
  return undefined;
}
