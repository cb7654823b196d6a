/** A firmware image with the table and the metadata that edk2 writes for TDX, and no program: enough to be measured. */
import { guidBytes } from "../../bundles/model/guid.ts";
import { PAGE_BYTES } from "../../bundles/model/ovmf.ts";

export interface SmallSection {
  readonly offset: number;
  readonly length: number;
  readonly gpa: bigint;
  readonly bytes: bigint;
  readonly type: number;
  readonly attributes: number;
}

/** Boot firmware, of which all but the last page is measured; a configuration volume; room for a hand-off block. */
export const SMALL_SECTIONS: readonly SmallSection[] = [
  { offset: PAGE_BYTES, length: 3 * PAGE_BYTES, gpa: 0xffff_d000n, bytes: 0x3000n, type: 0, attributes: 1 },
  { offset: 0, length: PAGE_BYTES, gpa: 0xffff_c000n, bytes: 0x1000n, type: 1, attributes: 0 },
  { offset: 0, length: 0, gpa: 0x80_9000n, bytes: 0x2000n, type: 2, attributes: 0 },
];

export interface TdvfChanges {
  readonly sections?: readonly SmallSection[];
  readonly signature?: string;
  readonly version?: number;
  /** As the metadata says it. */
  readonly count?: number;
  readonly fromEnd?: number;
  readonly content?: string;
}

export function smallTdvf(changes: TdvfChanges = {}): Buffer {
  const { sections = SMALL_SECTIONS, signature = "TDVF", version = 1, count = sections.length } = changes;
  const METADATA_FROM_END = 2048;
  const image = Buffer.alloc(4 * PAGE_BYTES);
  image.fill(changes.content ?? "firmware", PAGE_BYTES, 3 * PAGE_BYTES);
  const metadata = Buffer.alloc(16 + 32 * sections.length);
  metadata.write(signature, "latin1");
  metadata.writeUInt32LE(metadata.length, 4);
  metadata.writeUInt32LE(version, 8);
  metadata.writeUInt32LE(count, 12);
  for (const [i, { offset, length, gpa, bytes, type, attributes }] of sections.entries()) {
    const at = 16 + 32 * i;
    metadata.writeUInt32LE(offset, at);
    metadata.writeUInt32LE(length, at + 4);
    metadata.writeBigUInt64LE(gpa, at + 8);
    metadata.writeBigUInt64LE(bytes, at + 16);
    metadata.writeUInt32LE(type, at + 24);
    metadata.writeUInt32LE(attributes, at + 28);
  }
  metadata.copy(image, image.length - METADATA_FROM_END);
  const entry = Buffer.alloc(22);
  entry.writeUInt32LE(changes.fromEnd ?? METADATA_FROM_END, 0);
  entry.writeUInt16LE(entry.length, 4);
  guidBytes("e47a6535-984a-4798-865e-4685a7bf8ec2").copy(entry, 6);
  const footer = Buffer.alloc(18);
  footer.writeUInt16LE(entry.length + footer.length);
  guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d").copy(footer, 2);
  const AFTER_TABLE_BYTES = 32;
  Buffer.concat([entry, footer]).copy(image, image.length - AFTER_TABLE_BYTES - entry.length - footer.length);
  return image;
}
