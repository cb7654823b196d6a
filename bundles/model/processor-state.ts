/**
 * The first state of a virtual processor as the host's VMM sets it, which is measured: one page, the VMSA (AMD
 * APM volume 2, table B-4). VMMs differ in a few registers; so does QEMU by the CPU model it shows the guest.
 */
import { PAGE_BYTES } from "./ovmf.ts";

export const VMMS = ["qemu", "ec2", "gce"] as const;
export type Vmm = (typeof VMMS)[number];

/** Where the first processor begins: the reset vector. */
export const RESET_VECTOR = 0xffff_fff0;

interface VmmState {
  readonly codeAttributes: (isFirst: boolean) => number;
  readonly stackAttributes: number;
  readonly taskAttributes: number;
  readonly pageAttributes: bigint;
  /** The signature of the CPU model, in QEMU; a constant elsewhere. */
  readonly rdx: number | "signature";
  readonly mxcsr: number;
  readonly fcw: number;
}

const RESET_PAT = 0x0007_0406_0007_0406n;
const STATES: Readonly<Record<Vmm, VmmState>> = {
  qemu: {
    codeAttributes: () => 0x9b,
    stackAttributes: 0x93,
    taskAttributes: 0x8b,
    pageAttributes: RESET_PAT,
    rdx: "signature",
    mxcsr: 0x1f80,
    fcw: 0x37f,
  },
  ec2: {
    codeAttributes: (isFirst) => (isFirst ? 0x9a : 0x9b),
    stackAttributes: 0x92,
    taskAttributes: 0x83,
    pageAttributes: RESET_PAT,
    rdx: 0x600,
    mxcsr: 0,
    fcw: 0,
  },
  gce: {
    codeAttributes: () => 0x9b,
    stackAttributes: 0x93,
    taskAttributes: 0x8b,
    pageAttributes: 0x0007_0106n,
    rdx: 0x600,
    mxcsr: 0,
    fcw: 0,
  },
};

/** The page of one processor that begins at `eip`. `features` is SEV_FEATURES; bit 0 is SEV-SNP. */
export function processorState(vmm: Vmm, eip: number, cpuSignature: number, features: bigint): Buffer {
  const state = STATES[vmm];
  const page = Buffer.alloc(PAGE_BYTES);
  const segment = (offset: number, attributes: number, selector = 0, base = 0): void => {
    page.writeUInt16LE(selector, offset);
    page.writeUInt16LE(attributes, offset + 2);
    page.writeUInt32LE(0xffff, offset + 4);
    page.writeUInt32LE(base, offset + 8);
  };
  const quad = (offset: number, value: bigint): void => {
    page.writeBigUInt64LE(value, offset);
  };
  const dataAttributes = 0x93;
  segment(0x000, dataAttributes); // ES
  segment(0x010, state.codeAttributes(eip === RESET_VECTOR), 0xf000, (eip & 0xffff_0000) >>> 0); // CS
  segment(0x020, state.stackAttributes); // SS
  segment(0x030, dataAttributes); // DS
  segment(0x040, dataAttributes); // FS
  segment(0x050, dataAttributes); // GS
  segment(0x060, 0); // GDTR
  segment(0x070, 0x82); // LDTR
  segment(0x080, 0); // IDTR
  segment(0x090, state.taskAttributes); // TR
  quad(0x0d0, 0x1000n); // EFER: SVME
  quad(0x148, 0x40n); // CR4: MCE
  quad(0x158, 0x10n); // CR0
  quad(0x160, 0x400n); // DR7
  quad(0x168, 0xffff_0ff0n); // DR6
  quad(0x170, 0x2n); // RFLAGS
  quad(0x178, BigInt(eip & 0xffff)); // RIP
  quad(0x268, state.pageAttributes); // PAT
  quad(0x310, BigInt(state.rdx === "signature" ? cpuSignature : state.rdx)); // RDX
  quad(0x3b0, features); // SEV_FEATURES
  quad(0x3e8, 1n); // XCR0
  page.writeUInt32LE(state.mxcsr, 0x408); // MXCSR
  page.writeUInt16LE(state.fcw, 0x410); // FCW
  return page;
}

/** What CPUID function 1 gives in EAX (AMD 25481). */
function cpuSignature(family: number, model: number, stepping: number): number {
  const BASE_FAMILY = 0xf;
  const extended = Math.max(0, family - BASE_FAMILY);
  return (
    (extended << 20) | ((model >> 4) << 16) | (Math.min(family, BASE_FAMILY) << 8) | ((model & 0xf) << 4) | stepping
  );
}

/** QEMU's CPU models that can run SEV-SNP guests, and those under which they are often run. */
export const CPU_SIGNATURES: Readonly<Record<string, number>> = {
  EPYC: cpuSignature(0x17, 0x01, 2),
  "EPYC-v4": cpuSignature(0x17, 0x01, 2),
  "EPYC-Rome": cpuSignature(0x17, 0x31, 0),
  "EPYC-Milan": cpuSignature(0x19, 0x01, 1),
  "EPYC-Milan-v2": cpuSignature(0x19, 0x01, 1),
  "EPYC-Genoa": cpuSignature(0x19, 0x11, 0),
  "EPYC-Turin": cpuSignature(0x1a, 0x00, 0),
};
