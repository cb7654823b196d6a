/**
 * What an image of edk2 says about its launch under Intel TDX (TDX Virtual Firmware Design Guide, "TDVF descriptor";
 * OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm): which parts of it and which empty pages the VMM puts into a TD.
 */
import { modelError } from "./error.ts";
import { guidBytes } from "./guid.ts";
import { PAGE_BYTES, readTable } from "./ovmf.ts";

export interface TdvfSection {
  /** Where its bytes lie in the image; what is beyond them is zeros. */
  readonly content: Buffer;
  /** Guest physical address and length; both multiples of a page. */
  readonly gpa: bigint;
  readonly bytes: number;
  /** Its content is measured. */
  readonly isMeasured: boolean;
  /** Its pages are there from the start; others are given to the TD later, and their addresses are not measured. */
  readonly isAdded: boolean;
}

const METADATA = guidBytes("e47a6535-984a-4798-865e-4685a7bf8ec2");
const HEADER_BYTES = 16;
const SECTION_BYTES = 32;
const SECTIONS_MAX = 64;
/** All together; edk2's have some 16 MiB, of which 2 to 4 are measured. */
const SECTIONS_MAX_BYTES = 256 * 1024 * 1024;
const EXTEND_MEASUREMENT = 1;
const PAGE_AUG = 2;

const malformed = (problem: string): Error => modelError("ATTEST_OVMF_MALFORMED", `OVMF: TDX: ${problem}`);

/** In the order of measurement. @throws ATTEST_OVMF_MALFORMED, also for an image that was not built for TDX */
export function readTdvf(image: Buffer): readonly TdvfSection[] {
  const entry = readTable(image).get(METADATA.toString("hex"));
  if (entry === undefined) throw malformed("it says nothing about TDX; it was built without support for it");
  if (entry.length < 4) throw malformed("an entry of its table is too short");
  const start = image.length - entry.readUInt32LE(entry.length - 4);
  if (start < 0 || start + HEADER_BYTES > image.length) throw malformed("its metadata is not inside it");
  if (image.toString("latin1", start, start + 4) !== "TDVF") throw malformed("its metadata has no signature");
  const version = image.readUInt32LE(start + 8);
  const count = image.readUInt32LE(start + 12);
  if (version !== 1) throw malformed(`got metadata of version ${version}, want 1`);
  const end = start + HEADER_BYTES + count * SECTION_BYTES;
  if (count === 0 || count > SECTIONS_MAX || end > image.length) throw malformed(`got ${count} sections of metadata`);
  const sections = Array.from({ length: count }, (_, i) =>
    readSection(image, start + HEADER_BYTES + i * SECTION_BYTES, i),
  );
  const bytes = sections.reduce((sum, section) => sum + section.bytes, 0);
  if (bytes > SECTIONS_MAX_BYTES)
    throw malformed(`its sections have ${bytes} bytes, want at most ${SECTIONS_MAX_BYTES}`);
  if (!sections.some(({ isMeasured }) => isMeasured)) throw malformed("nothing of it is measured, so it could be any");
  return sections;
}

function readSection(image: Buffer, at: number, i: number): TdvfSection {
  const [offset, length] = [image.readUInt32LE(at), image.readUInt32LE(at + 4)];
  const [gpa, size] = [image.readBigUInt64LE(at + 8), image.readBigUInt64LE(at + 16)];
  const attributes = image.readUInt32LE(at + 28);
  const page = BigInt(PAGE_BYTES);
  if (gpa % page !== 0n || size % page !== 0n || size > BigInt(SECTIONS_MAX_BYTES)) {
    throw malformed(`section ${i} is not made of whole pages, or too large`);
  }
  const bytes = Number(size);
  if (length > bytes || offset + length > image.length) throw malformed(`section ${i} is not inside the image`);
  if ((attributes & ~(EXTEND_MEASUREMENT | PAGE_AUG)) !== 0) {
    throw malformed(`section ${i} has attributes 0x${attributes.toString(16)}, which are not known`);
  }
  const isMeasured = (attributes & EXTEND_MEASUREMENT) !== 0;
  const isAdded = (attributes & PAGE_AUG) === 0;
  if (isMeasured && !isAdded) throw malformed(`section ${i} is measured, but not there from the start`);
  return { content: image.subarray(offset, offset + length), gpa, bytes, isMeasured, isAdded };
}
