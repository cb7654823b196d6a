/** A firmware image with the tables that edk2 writes for SEV-SNP, and no program: enough to be measured. */
import { guidBytes } from "../../bundles/model/guid.ts";
import { PAGE_BYTES } from "../../bundles/model/ovmf.ts";

const MEMORY = 1;
const SECRETS = 2;
const CPUID = 3;
const KERNEL_HASHES = 16;
const HASH_PAGE = 0x80_f000;

/** `memoryPages` of its first section. `takesKernel`: with a place for the hash of a kernel, as OvmfPkg/AmdSev has it. `content` fills its first page. */
export function smallOvmf({ takesKernel = true, content = "firmware", memoryPages = 2 } = {}): Buffer {
  const image = Buffer.alloc(4 * PAGE_BYTES);
  image.fill(content, 0, PAGE_BYTES);
  const sections: readonly (readonly [gpa: number, bytes: number, kind: number])[] = [
    [0x80_0000, memoryPages * PAGE_BYTES, MEMORY],
    [0x80_d000, PAGE_BYTES, SECRETS],
    [0x80_e000, PAGE_BYTES, CPUID],
    ...(takesKernel ? ([[HASH_PAGE, PAGE_BYTES, KERNEL_HASHES]] as const) : []),
  ];
  const metadata = Buffer.alloc(16 + 12 * sections.length);
  metadata.write("ASEV", 0, "latin1");
  metadata.writeUInt32LE(metadata.length, 4);
  metadata.writeUInt32LE(1, 8);
  metadata.writeUInt32LE(sections.length, 12);
  for (const [i, [gpa, bytes, kind]] of sections.entries()) {
    metadata.writeUInt32LE(gpa, 16 + 12 * i);
    metadata.writeUInt32LE(bytes, 20 + 12 * i);
    metadata.writeUInt32LE(kind, 24 + 12 * i);
  }
  const METADATA_FROM_END = 2048;
  metadata.copy(image, image.length - METADATA_FROM_END);
  const table = Buffer.concat([
    entry("dc886566-984a-4798-a75e-5585a7bf67cc", METADATA_FROM_END),
    entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", 0x0080_b004),
    ...(takesKernel ? [entry("7255371f-3a3b-4b04-927b-1da6efa8d454", HASH_PAGE + 0xc00)] : []),
  ]);
  const footer = Buffer.alloc(18);
  footer.writeUInt16LE(table.length + footer.length);
  guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d").copy(footer, 2);
  const AFTER_TABLE_BYTES = 32;
  Buffer.concat([table, footer]).copy(image, image.length - AFTER_TABLE_BYTES - table.length - footer.length);
  return image;
}

function entry(guid: string, value: number): Buffer {
  const bytes = Buffer.alloc(4 + 2 + 16);
  bytes.writeUInt32LE(value, 0);
  bytes.writeUInt16LE(bytes.length, 4);
  guidBytes(guid).copy(bytes, 6);
  return bytes;
}
