/**
 * Computes MRTD, which a TD reports of what it was made from (Intel TDX module ABI, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND):
 * SHA-384 over a record for each page that is put in, and for each 256 bytes whose content is measured. Nothing that the
 * firmware itself starts is in it; that is in RTMRs, which are not computed here.
 */
import { createHash, type Hash } from "node:crypto";
import { PAGE_BYTES } from "./ovmf.ts";
import type { TdvfSection } from "./tdvf.ts";

/**
 * VMMs differ in when they measure: page by page as the page is put in (Linux 6.16 and newer), or the whole section after
 * all of its pages (the kernels before, which the first clouds and distributions had).
 */
export const TD_ORDERS = ["page-by-page", "section-by-section"] as const;
export type TdOrder = (typeof TD_ORDERS)[number];

const RECORD_BYTES = 128;
const ADDRESS_OFFSET = 16;
const CHUNK_BYTES = 256;

/** 48 bytes. */
export function measureTd(sections: readonly TdvfSection[], order: TdOrder): Buffer {
  const hash = createHash("sha384");
  for (const section of sections) {
    const pages = Array.from({ length: section.bytes / PAGE_BYTES }, (_, i) => i * PAGE_BYTES);
    for (const page of pages) {
      if (section.isAdded) record(hash, "MEM.PAGE.ADD", section.gpa + BigInt(page));
      if (order === "page-by-page" && section.isMeasured) extend(hash, section, page);
    }
    if (order !== "section-by-section" || !section.isMeasured) continue;
    for (const page of pages) extend(hash, section, page);
  }
  return hash.digest();
}

function extend(hash: Hash, { content, gpa }: TdvfSection, page: number): void {
  for (let at = page; at < page + PAGE_BYTES; at += CHUNK_BYTES) {
    record(hash, "MR.EXTEND", gpa + BigInt(at));
    const chunk = content.subarray(at, at + CHUNK_BYTES);
    hash.update(chunk);
    if (chunk.length < CHUNK_BYTES) hash.update(Buffer.alloc(CHUNK_BYTES - chunk.length));
  }
}

function record(hash: Hash, name: string, gpa: bigint): void {
  const bytes = Buffer.alloc(RECORD_BYTES);
  bytes.write(name, "latin1");
  bytes.writeBigUInt64LE(gpa, ADDRESS_OFFSET);
  hash.update(bytes);
}
