/**
 * Computes the launch digest that an SEV-SNP guest must report, from what it is started from (AMD 56860,
 * SNP_LAUNCH_UPDATE): each page that the VMM puts into the guest extends the digest, in the VMM's order.
 */
import { createHash } from "node:crypto";
import { modelError } from "./error.ts";
import { guidBytes } from "./guid.ts";
import { type Ovmf, type OvmfSection, PAGE_BYTES } from "./ovmf.ts";
import { processorState, RESET_VECTOR, type Vmm } from "./processor-state.ts";

export const DIGEST_BYTES = 48;
export const VCPUS_MAX = 4096;

/** SHA-256 of each, which is what OVMF compares with. Without an initrd: of nothing. */
export interface KernelHashes {
  readonly kernel: Buffer;
  readonly initrd: Buffer;
  /** Of the command line with its final zero byte. */
  readonly commandLine: Buffer;
}

export interface LaunchInputs {
  readonly ovmf: Ovmf;
  readonly vmm: Vmm;
  readonly vcpus: number;
  /** Of the CPU model that QEMU shows (CPU_SIGNATURES); others measure a constant. */
  readonly cpuSignature: number;
  /** SEV_FEATURES; 1 is SEV-SNP alone. */
  readonly guestFeatures: bigint;
  /** Null if the VMM is given no kernel: the guest then boots from its disk, of which nothing is measured. */
  readonly kernelHashes: KernelHashes | null;
}

/** PAGE_TYPE of SNP_LAUNCH_UPDATE. */
const PAGE_TYPE = { normal: 1, processor: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const;
const PROCESSOR_GPA = 0xffff_ffff_f000n;
const PAGE_INFO_BYTES = 0x70;
const NO_CONTENT = Buffer.alloc(DIGEST_BYTES);

const sha384 = (bytes: Uint8Array): Buffer => createHash("sha384").update(bytes).digest();

/** The digest after one more page. */
function extend(digest: Buffer, type: number, gpa: bigint, content: Buffer): Buffer {
  const info = Buffer.alloc(PAGE_INFO_BYTES);
  digest.copy(info, 0);
  content.copy(info, DIGEST_BYTES);
  info.writeUInt16LE(PAGE_INFO_BYTES, 0x60);
  info.writeUInt8(type, 0x62);
  // 0x63 to 0x67: no initial migration image, no permissions for the other VMPLs.
  info.writeBigUInt64LE(gpa, 0x68);
  return sha384(info);
}

function extendPages(digest: Buffer, type: number, gpa: number, pages: Buffer | number): Buffer {
  const length = typeof pages === "number" ? pages : pages.length;
  let after = digest;
  for (let at = 0; at < length; at += PAGE_BYTES) {
    const content = typeof pages === "number" ? NO_CONTENT : sha384(pages.subarray(at, at + PAGE_BYTES));
    after = extend(after, type, BigInt(gpa + at), content);
  }
  return after;
}

/** The digest after the firmware alone: the same for all guests with it, and by far the most work. */
export function measureFirmware({ gpa, image }: Ovmf): Buffer {
  return extendPages(Buffer.alloc(DIGEST_BYTES), PAGE_TYPE.normal, gpa, image);
}

/**
 * The launch digest, 48 bytes. `firmware` is `measureFirmware` of the same OVMF, if it is known already.
 * @throws ATTEST_OVMF_MALFORMED for a kernel with an OVMF that has no place for its hash: such a guest would
 * start any kernel.
 */
export function measureLaunch(inputs: LaunchInputs, firmware: Buffer = measureFirmware(inputs.ovmf)): Buffer {
  const { vcpus } = inputs;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > VCPUS_MAX) {
    throw new RangeError(`got ${vcpus} processors, want 1 to ${VCPUS_MAX}`);
  }
  return measureForEachCount(inputs, firmware, vcpus).at(-1) as Buffer;
}

/** The launch digests with 1, 2, … up to `vcpusMax` processors: each goes on from the one before. */
export function measureForEachCount(
  inputs: Omit<LaunchInputs, "vcpus">,
  firmware: Buffer,
  vcpusMax: number,
): readonly Buffer[] {
  const { ovmf, vmm, cpuSignature, guestFeatures } = inputs;
  const hashPage = kernelHashPage(inputs);
  let digest = firmware;
  for (const section of orderedSections(ovmf.sections, vmm)) digest = extendSection(digest, section, vmm, hashPage);
  const first = sha384(processorState(vmm, RESET_VECTOR, cpuSignature, guestFeatures));
  const others = sha384(processorState(vmm, ovmf.resetEip, cpuSignature, guestFeatures));
  return Array.from({ length: vcpusMax }, (_, i) => {
    digest = extend(digest, PAGE_TYPE.processor, PROCESSOR_GPA, i === 0 ? first : others);
    return digest;
  });
}

/** EC2 puts the CPUID page last. */
function orderedSections(sections: readonly OvmfSection[], vmm: Vmm): readonly OvmfSection[] {
  if (vmm !== "ec2") return sections;
  return [...sections.filter(({ kind }) => kind !== "cpuid"), ...sections.filter(({ kind }) => kind === "cpuid")];
}

function extendSection(digest: Buffer, section: OvmfSection, vmm: Vmm, hashPage: Buffer | null): Buffer {
  const { kind, gpa, bytes } = section;
  switch (kind) {
    case "memory":
      return extendPages(digest, vmm === "gce" ? PAGE_TYPE.unmeasured : PAGE_TYPE.zero, gpa, bytes);
    case "calling-area":
      return extendPages(digest, PAGE_TYPE.zero, gpa, bytes);
    case "secrets":
      return extend(digest, PAGE_TYPE.secrets, BigInt(gpa), NO_CONTENT);
    case "cpuid":
      return extend(digest, PAGE_TYPE.cpuid, BigInt(gpa), NO_CONTENT);
    case "kernel-hashes":
      return hashPage === null
        ? extendPages(digest, PAGE_TYPE.zero, gpa, bytes)
        : extendPages(digest, PAGE_TYPE.normal, gpa, hashPage);
  }
}

const HASH_TABLE = guidBytes("9438d606-4f22-4cc9-b479-a793d411fd21");
/** In the order in which QEMU writes them. */
const HASH_ENTRIES = [
  ["commandLine", guidBytes("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")],
  ["initrd", guidBytes("44baf731-3a2f-4bd7-9af1-41e29169781d")],
  ["kernel", guidBytes("4de79437-abd2-427f-b835-d5b172d2045b")],
] as const;

/** The page in which QEMU gives OVMF the hashes, or null without a kernel. */
function kernelHashPage({ ovmf, kernelHashes }: Pick<LaunchInputs, "ovmf" | "kernelHashes">): Buffer | null {
  if (kernelHashes === null) return null;
  const section = ovmf.sections.find(({ kind }) => kind === "kernel-hashes");
  if (section === undefined || ovmf.hashTableGpa === undefined) {
    throw modelError("ATTEST_OVMF_MALFORMED", "OVMF: it has no place for the hash of a kernel, and would start any", {
      hints: ["build OVMF from OvmfPkg/AmdSev, or measure without a kernel"],
    });
  }
  const withLength = (guid: Buffer, content: Buffer): Buffer => {
    const length = Buffer.alloc(2);
    length.writeUInt16LE(guid.length + length.length + content.length);
    return Buffer.concat([guid, length, content]);
  };
  const entries = HASH_ENTRIES.map(([name, guid]) => withLength(guid, kernelHashes[name]));
  const table = withLength(HASH_TABLE, Buffer.concat(entries));
  const page = Buffer.alloc(section.bytes);
  const offset = ovmf.hashTableGpa - section.gpa;
  const ALIGNMENT = 16;
  if (offset < 0 || offset + Math.ceil(table.length / ALIGNMENT) * ALIGNMENT > page.length) {
    throw modelError("ATTEST_OVMF_MALFORMED", "OVMF: its table of hashes does not lie in its section");
  }
  table.copy(page, offset);
  return page;
}

/** What stands for an initrd that is not there. */
export const EMPTY_HASH: Buffer = createHash("sha256").digest();

/** The hash of a command line as QEMU makes it: with the final zero byte. */
export function commandLineHash(commandLine: string): Buffer {
  return createHash("sha256").update(commandLine, "utf8").update("\0").digest();
}
