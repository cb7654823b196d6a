/**
 * Reads what an OVMF image says about its launch: edk2 keeps a table of GUIDs below the reset vector, at the end
 * of the image (OvmfPkg/ResetVector), and in it the place of the SEV metadata (OvmfSevMetadata.asm).
 */
import { modelError } from "./error.ts";
import { guidBytes } from "./guid.ts";

/** QEMU maps at most this much below 4 GiB. */
export const OVMF_MAX_BYTES = 64 * 1024 * 1024;
export const PAGE_BYTES = 4096;

export type OvmfSectionKind = "memory" | "secrets" | "cpuid" | "calling-area" | "kernel-hashes";

export interface OvmfSection {
  readonly kind: OvmfSectionKind;
  /** Guest physical address and length; both multiples of a page. */
  readonly gpa: number;
  readonly bytes: number;
}

export interface Ovmf {
  readonly image: Buffer;
  /** Where the image lies in the guest: it ends at 4 GiB. */
  readonly gpa: number;
  /** In the image's order, which is the order of measurement. */
  readonly sections: readonly OvmfSection[];
  /** Where the hashes of kernel, initrd and command line go; undefined if the image has no place for them. */
  readonly hashTableGpa: number | undefined;
  /** Where processors other than the first begin. */
  readonly resetEip: number;
}

const TABLE_FOOTER = guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d");
const SEV_METADATA = guidBytes("dc886566-984a-4798-a75e-5585a7bf67cc");
const HASH_TABLE = guidBytes("7255371f-3a3b-4b04-927b-1da6efa8d454");
const RESET_BLOCK = guidBytes("00f771de-1a7e-4fcb-890e-68c77e2fb44e");

const FOUR_GIB = 2 ** 32;
/** The reset vector, after the table. */
const AFTER_TABLE_BYTES = 32;
const GUID_BYTES = 16;
/** A length of two bytes and a GUID end each entry. */
const ENTRY_END_BYTES = 2 + GUID_BYTES;
const METADATA_HEADER_BYTES = 16;
const METADATA_ITEM_BYTES = 12;
const SECTIONS_MAX = 64;
/** All together; edk2's are below 1 MiB. Each page of them is hashed for each variant that is tried. */
const SECTIONS_MAX_BYTES = 16 * 1024 * 1024;
const SECTION_KINDS: Readonly<Record<number, OvmfSectionKind>> = {
  1: "memory",
  2: "secrets",
  3: "cpuid",
  4: "calling-area",
  16: "kernel-hashes",
};

const malformed = (problem: string): Error => modelError("ATTEST_OVMF_MALFORMED", `OVMF: ${problem}`);

/** @throws ATTEST_OVMF_MALFORMED, also for an image that was not built for SEV-SNP. */
export function readOvmf(image: Buffer): Ovmf {
  const table = readTable(image);
  const entry = (guid: Buffer): number | undefined => {
    const data = table.get(guid.toString("hex"));
    if (data === undefined) return undefined;
    if (data.length < 4) throw malformed("an entry of its table is too short");
    return data.readUInt32LE(0);
  };
  const metadata = entry(SEV_METADATA);
  const resetEip = entry(RESET_BLOCK);
  if (metadata === undefined || resetEip === undefined) {
    throw malformed("it says nothing about SEV-SNP; it was built without support for it");
  }
  return {
    image,
    gpa: FOUR_GIB - image.length,
    sections: readSections(image, metadata),
    hashTableGpa: entry(HASH_TABLE),
    resetEip,
  };
}

/**
 * The table of an image of edk2, GUID in hexadecimal → data. It is read from its end, where its length stands.
 * @throws ATTEST_OVMF_MALFORMED
 */
export function readTable(image: Buffer): ReadonlyMap<string, Buffer> {
  if (image.length === 0 || image.length % PAGE_BYTES !== 0 || image.length > OVMF_MAX_BYTES) {
    throw malformed(`got ${image.length} bytes, want whole pages of ${PAGE_BYTES} up to ${OVMF_MAX_BYTES}`);
  }
  const end = image.length - AFTER_TABLE_BYTES;
  if (!image.subarray(end - GUID_BYTES, end).equals(TABLE_FOOTER)) throw malformed("it has no table of GUIDs");
  const length = image.readUInt16LE(end - ENTRY_END_BYTES);
  const start = end - length;
  let at = end - ENTRY_END_BYTES;
  if (length < ENTRY_END_BYTES || start < 0) throw malformed("the length of its table is wrong");
  const entries = new Map<string, Buffer>();
  while (at > start) {
    if (at - ENTRY_END_BYTES < start) throw malformed("an entry of its table is cut");
    const size = image.readUInt16LE(at - ENTRY_END_BYTES);
    if (size < ENTRY_END_BYTES || at - size < start) throw malformed("an entry of its table has a wrong length");
    const guid = image.toString("hex", at - GUID_BYTES, at);
    if (entries.has(guid)) throw malformed("its table has an entry twice");
    entries.set(guid, image.subarray(at - size, at - ENTRY_END_BYTES));
    at -= size;
  }
  return entries;
}

function readSections(image: Buffer, fromEnd: number): OvmfSection[] {
  const start = image.length - fromEnd;
  if (start < 0 || start + METADATA_HEADER_BYTES > image.length) throw malformed("its metadata is not inside it");
  if (image.toString("latin1", start, start + 4) !== "ASEV") throw malformed("its metadata has no signature");
  const length = image.readUInt32LE(start + 4);
  const version = image.readUInt32LE(start + 8);
  const count = image.readUInt32LE(start + 12);
  if (version !== 1) throw malformed(`got metadata of version ${version}, want 1`);
  if (
    count > SECTIONS_MAX ||
    length !== METADATA_HEADER_BYTES + count * METADATA_ITEM_BYTES ||
    start + length > image.length
  ) {
    throw malformed(`got ${count} sections in ${length} bytes of metadata`);
  }
  const sections = Array.from({ length: count }, (_, i) => {
    const item = start + METADATA_HEADER_BYTES + i * METADATA_ITEM_BYTES;
    const kind = SECTION_KINDS[image.readUInt32LE(item + 8)];
    if (kind === undefined)
      throw malformed(`section ${i} is of kind ${image.readUInt32LE(item + 8)}, which is not known`);
    const section = { kind, gpa: image.readUInt32LE(item), bytes: image.readUInt32LE(item + 4) };
    if (section.gpa % PAGE_BYTES !== 0 || section.bytes % PAGE_BYTES !== 0 || section.bytes === 0) {
      throw malformed(`section ${i} is not made of whole pages`);
    }
    return section;
  });
  const bytes = sections.reduce((sum, section) => sum + section.bytes, 0);
  if (bytes > SECTIONS_MAX_BYTES) {
    throw malformed(`its sections have ${bytes} bytes, want at most ${SECTIONS_MAX_BYTES}`);
  }
  return sections;
}
