import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { PAGE_BYTES } from "../../bundles/model/ovmf.ts";
import { measureTd } from "../../bundles/model/td-measurement.ts";
import { readTdvf } from "../../bundles/model/tdvf.ts";
import { smallOvmf } from "../support/small-ovmf.ts";
import { SMALL_SECTIONS, type SmallSection, smallTdvf, type TdvfChanges } from "../support/small-tdvf.ts";
import { coded } from "../support/test-trust.ts";

const MALFORMED = coded("ATTEST_OVMF_MALFORMED");
const [FIRMWARE, VOLUME, HAND_OFF] = SMALL_SECTIONS as [SmallSection, SmallSection, SmallSection];

/** The records as the module's ABI lists them, one after the other in hexadecimal. */
const record = (name: string, gpa: number): string =>
  Buffer.from(name.padEnd(16, "\0")).toString("hex") +
  gpa.toString(16).padStart(8, "0").match(/../g)?.reverse().join("") +
  "00".repeat(108);
const added = (gpa: number): string => record("MEM.PAGE.ADD", gpa);
const measured = (image: Buffer, page: number): string =>
  Array.from({ length: 16 }, (_, i) => {
    const at = page * 0x1000 + i * 256;
    return record("MR.EXTEND", 0xffff_d000 + at) + image.toString("hex", PAGE_BYTES + at, PAGE_BYTES + at + 256);
  }).join("");

test("MRTD is SHA-384 over each page that is added and each part that is measured, in the order of the VMM", () => {
  const image = smallTdvf();
  const pages = [0, 1, 2];
  const rest = added(0xffff_c000) + added(0x80_9000) + added(0x80_a000);
  const expected = {
    "page-by-page": pages.map((page) => added(0xffff_d000 + page * 0x1000) + measured(image, page)).join("") + rest,
    "section-by-section":
      pages.map((page) => added(0xffff_d000 + page * 0x1000)).join("") +
      pages.map((page) => measured(image, page)).join("") +
      rest,
  };
  for (const order of ["page-by-page", "section-by-section"] as const) {
    const want = createHash("sha384").update(Buffer.from(expected[order], "hex")).digest("hex");
    assert.equal(measureTd(readTdvf(image), order).toString("hex"), want, order);
  }
});

test("what is measured changes MRTD, and what is only carried does not", () => {
  const of = (image: Buffer): string => measureTd(readTdvf(image), "page-by-page").toString("hex");
  const own = of(smallTdvf());
  assert.notEqual(of(smallTdvf({ content: "other firmware" })), own);
  const volume = smallTdvf();
  volume.fill("variables", 0, PAGE_BYTES);
  assert.equal(of(volume), own, "the configuration volume is measured into RTMR0 by the firmware");
  const shorter = { ...FIRMWARE, length: 2 * PAGE_BYTES };
  const zeros = smallTdvf();
  zeros.fill(0, 3 * PAGE_BYTES, 4 * PAGE_BYTES);
  const padded = readTdvf(smallTdvf({ sections: [shorter, VOLUME, HAND_OFF] }));
  const [first, ...others] = readTdvf(smallTdvf());
  assert.ok(first);
  const content = Buffer.concat([first.content.subarray(0, 2 * PAGE_BYTES), Buffer.alloc(PAGE_BYTES)]);
  const same = measureTd([{ ...first, content }, ...others], "page-by-page");
  assert.deepEqual(measureTd(padded, "page-by-page"), same, "beyond its bytes a section is zeros");
});

test("firmware that was not built for TDX, or whose metadata contradict themselves, is refused", () => {
  const changed = (change: Partial<SmallSection>): TdvfChanges => ({ sections: [{ ...FIRMWARE, ...change }, VOLUME] });
  const bad: readonly TdvfChanges[] = [
    { signature: "ASEV" },
    { version: 2 },
    { count: 0 },
    { count: 65 },
    { fromEnd: 0 },
    { fromEnd: 8 },
    { fromEnd: 0xffff_ffff },
    { sections: [VOLUME, HAND_OFF] },
    changed({ gpa: 0xffff_d001n }),
    changed({ bytes: 0x3001n }),
    changed({ bytes: 0x2000n }),
    changed({ bytes: 1n << 40n }),
    changed({ offset: 2 * PAGE_BYTES }),
    changed({ attributes: 3 }),
    changed({ attributes: 5 }),
    { sections: [FIRMWARE, { ...HAND_OFF, bytes: 0x1000_0000n }] },
  ];
  for (const changes of bad)
    assert.throws(
      () => readTdvf(smallTdvf(changes)),
      MALFORMED,
      JSON.stringify(changes, (_, v) => (typeof v === "bigint" ? `${v}` : v)),
    );
  assert.throws(() => readTdvf(smallOvmf()), MALFORMED, "built for SEV-SNP alone");
  for (const image of [Buffer.alloc(0), Buffer.alloc(4096), smallTdvf().subarray(0, 100)]) {
    assert.throws(() => readTdvf(image), MALFORMED);
  }
});
