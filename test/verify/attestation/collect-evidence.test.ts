import assert from "node:assert/strict";
import test from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { collateralNeedsOf } from "../../../verify/attestation/collateral-needs.ts";
import { collectReport, TSM_DIRECTORY, type TsmFiles } from "../../../verify/attestation/collect-evidence.ts";
import { readEvidence, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import { parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import { coded } from "../../support/test-trust.ts";
import { simulator } from "./evidence.ts";
import { judgeTdx, tdxPlatform } from "./tdx-evidence.ts";

const REPORT_DATA = Buffer.alloc(64, 0x42);

function errno(code: string): Error {
  return Object.assign(new Error(`${code}: as the kernel says it`), { code });
}

interface Entry {
  generation: number;
  inblob: Buffer;
  level: number;
}

/** What may go wrong in the fake kernel. */
interface Faults {
  /** The nth operation (from 0) fails with this error. */
  readonly at?: number;
  readonly code?: string;
  readonly provider?: string;
  /** The kernel takes a write and then drops it, without a word. */
  readonly drops?: "inblob" | "privlevel";
  /** Somebody else writes the same entry once before outblob is read. */
  readonly stranger?: "once" | "always";
  readonly outblob?: (report: Buffer) => Buffer;
  readonly floor?: string;
  readonly generation?: string;
  readonly noAuxblob?: boolean;
}

/** The kernel's side of configfs-tsm for one guest, of SEV-SNP unless the provider is TDX's, with its states: what it really does, as far as we know. */
class FakeKernel implements TsmFiles {
  readonly entries = new Map<string, Entry>();
  readonly operations: string[] = [];
  readonly #faults: Faults;
  #strangers = 0;

  constructor(faults: Faults = {}) {
    this.#faults = faults;
  }

  #step(operation: string): void {
    this.operations.push(operation);
    if (this.#faults.at === this.operations.length - 1) throw errno(this.#faults.code ?? "EIO");
  }

  #entry(path: string): readonly [Entry, string] {
    const at = path.lastIndexOf("/");
    const entry = this.entries.get(path.slice(0, at));
    if (!entry) throw errno("ENOENT");
    return [entry, path.slice(at + 1)];
  }

  mkdir(path: string): void {
    this.#step("mkdir");
    assert.ok(path.startsWith(`${TSM_DIRECTORY}/`));
    if (this.entries.has(path)) throw errno("EEXIST");
    this.entries.set(path, { generation: 0, inblob: Buffer.alloc(0), level: 0 });
  }

  rmdir(path: string): void {
    this.#step("rmdir");
    if (!this.entries.delete(path)) throw errno("ENOENT");
  }

  read(path: string, maxBytes: number): Buffer {
    const [entry, name] = this.#entry(path);
    this.#step(`read ${name}`);
    const bytes = this.#attribute(entry, name);
    assert.ok(bytes.length <= maxBytes);
    return bytes;
  }

  #attribute(entry: Entry, name: string): Buffer {
    if (name === "provider") return Buffer.from(`${this.#faults.provider ?? "sev_guest"}\n`);
    if (name === "generation") return Buffer.from(this.#faults.generation ?? `${entry.generation}\n`);
    // Only SEV-SNP has levels.
    if (name === "privlevel_floor" && this.#faults.provider === "tdx_guest") throw errno("ENOENT");
    if (name === "privlevel_floor") return Buffer.from(`${this.#faults.floor ?? "0"}\n`);
    if (name === "auxblob") {
      if (this.#faults.noAuxblob) throw errno("ENOENT");
      return Buffer.alloc(0);
    }
    assert.equal(name, "outblob");
    if (this.#faults.stranger === "always" || (this.#faults.stranger === "once" && this.#strangers === 0)) {
      this.#strangers += 1;
      entry.generation += 1;
    }
    // The driver takes exactly 64 bytes, and no level below its own.
    if (entry.inblob.length !== 64 || entry.level < Number(this.#faults.floor ?? 0)) throw errno("EINVAL");
    const report =
      this.#faults.provider === "tdx_guest"
        ? Buffer.concat([tdxPlatform.quote({ version: 5, reportData: entry.inblob }), Buffer.alloc(70)])
        : simulator().report({ reportData: entry.inblob, vmpl: entry.level });
    return this.#faults.outblob?.(report) ?? report;
  }

  write(path: string, bytes: Buffer): void {
    const [entry, name] = this.#entry(path);
    this.#step(`write ${name}`);
    if (this.#faults.drops === name) return;
    if (name === "inblob") {
      if (bytes.length > 64) throw errno("EFBIG");
      entry.inblob = Buffer.from(bytes);
    } else if (name === "privlevel") {
      if (!/^[0-3]$/.test(bytes.toString())) throw errno("EINVAL");
      entry.level = Number(bytes.toString());
    } else throw errno("EACCES");
    entry.generation += 1;
  }
}

test("a report is collected, carries what was asked, and the kernel's entry is removed", () => {
  const kernel = new FakeKernel();
  const { report, provider, certificateTable, leftover } = collectReport(REPORT_DATA, undefined, kernel);
  assert.ok(report.subarray(0x50, 0x90).equals(REPORT_DATA));
  assert.deepEqual(
    { provider, leftover, bytes: certificateTable.length },
    { provider: "sev_guest", leftover: null, bytes: 0 },
  );
  assert.equal(kernel.entries.size, 0);
  assert.deepEqual(kernel.operations, [
    "mkdir",
    "read provider",
    "read generation",
    "read privlevel_floor",
    "write inblob",
    "read outblob",
    "read auxblob",
    "read generation",
    "rmdir",
  ]);
});

test("what is collected can be written and read again as evidence", () => {
  const { report, provider, certificateTable } = collectReport(REPORT_DATA, undefined, new FakeKernel());
  const evidence = readEvidence(writeCollectedEvidence(provider, report, certificateTable));
  assert.ok(evidence.report.equals(report));
});

test("a level is asked for, and under an SVSM the least one without being told", () => {
  const asked = collectReport(REPORT_DATA, 3, new FakeKernel());
  assert.equal(asked.report.readUInt32LE(0x30), 3);
  const under = collectReport(REPORT_DATA, undefined, new FakeKernel({ floor: "2" }));
  assert.equal(under.report.readUInt32LE(0x30), 2);
  assert.throws(() => collectReport(REPORT_DATA, 0, new FakeKernel({ floor: "2" })), coded("ATTEST_TSM_FAILED"));
});

test("whichever operation fails, with whichever error, the error has a code and the entry does not stay", () => {
  const operations = new FakeKernel();
  collectReport(REPORT_DATA, 1, operations);
  const errors = ["EINVAL", "ENXIO", "ENOTTY", "EBUSY", "EFBIG", "ETXTBSY", "EIO", "ENOENT", "EACCES", "ENOSPC"];
  for (const [at, operation] of operations.operations.entries()) {
    for (const errorNumber of errors) {
      const kernel = new FakeKernel({ at, code: errorNumber });
      const what = `${operation} ${errorNumber}`;
      if (operation === "rmdir") {
        const { leftover } = collectReport(REPORT_DATA, 1, kernel);
        assert.equal(leftover, [...kernel.entries.keys()][0], what);
        continue;
      }
      // A certificate table is not there on many machines.
      if (operation === "read auxblob" && errorNumber === "ENOENT") {
        assert.equal(collectReport(REPORT_DATA, 1, kernel).certificateTable.length, 0);
        continue;
      }
      assert.throws(
        () => collectReport(REPORT_DATA, 1, kernel),
        (error) => error instanceof SealiftError && error.code.startsWith("ATTEST_TSM_"),
        what,
      );
      assert.equal(kernel.entries.size, 0, what);
    }
  }
});

test("why there is no report is told apart: no kernel support, no right, no answer", () => {
  const first = (errorNumber: string) => () =>
    collectReport(REPORT_DATA, undefined, new FakeKernel({ at: 0, code: errorNumber }));
  assert.throws(first("ENOENT"), coded("ATTEST_TSM_UNAVAILABLE"));
  assert.throws(first("ENXIO"), coded("ATTEST_TSM_UNAVAILABLE"));
  assert.throws(first("EACCES"), coded("ATTEST_TSM_DENIED"));
  assert.throws(first("EIO"), coded("ATTEST_TSM_FAILED"));
});

test("of a TDX guest a quote is collected, carries what was asked, and is read again as evidence of its kind", () => {
  const kernel = new FakeKernel({ provider: "tdx_guest" });
  const { report, provider, certificateTable } = collectReport(REPORT_DATA, undefined, kernel);
  assert.deepEqual(parseTdxQuote(report).td.reportData, REPORT_DATA);
  assert.equal(kernel.entries.size, 0);
  const evidence = readEvidence(writeCollectedEvidence(provider, report, certificateTable));
  assert.deepEqual([evidence.kind, evidence.report.equals(report)], ["tdx", true]);
  const judged = judgeTdx({ evidence: writeCollectedEvidence(provider, report, certificateTable) });
  assert.equal(judged.decision, "simulated");
});

test("of a TDX guest another answer than a quote to this question is refused, and a level cannot be asked for", () => {
  const tdx = { provider: "tdx_guest" };
  assert.throws(() => collectReport(REPORT_DATA, 0, new FakeKernel(tdx)), coded("ATTEST_TSM_FAILED"));
  for (const outblob of [
    () => Buffer.alloc(0),
    (quote: Buffer) => quote.subarray(0, 700),
    () => simulator().report({ reportData: REPORT_DATA }),
    () => tdxPlatform.quote({ reportData: Buffer.alloc(64, 1) }),
  ]) {
    const kernel = new FakeKernel({ ...tdx, outblob });
    assert.throws(() => collectReport(REPORT_DATA, undefined, kernel), coded("ATTEST_TSM_FAILED"));
    assert.equal(kernel.entries.size, 0);
  }
});

test("what a connected machine fetches for a quote names its platform and its authority", () => {
  const [info, ...others] = collateralNeedsOf(tdxPlatform.quote());
  assert.match(info ?? "", /\/tdx\/certification\/v4\/tcb\?fmspc=00806f050000$/);
  assert.equal(others.length, 3);
  assert.match(others[1] ?? "", /ca=platform/);
  assert.ok(collateralNeedsOf(simulator().report()).every((address) => address.includes("amd.com")));
});

test("a provider that is neither SEV-SNP's nor TDX's is refused by name", () => {
  const kernel = new FakeKernel({ provider: "arm_cca_guest" });
  assert.throws(() => collectReport(REPORT_DATA, undefined, kernel), coded("ATTEST_TSM_PROVIDER"));
  assert.equal(kernel.entries.size, 0);
});

test("a write that the kernel drops in silence is noticed", () => {
  // Without any input the kernel itself says so when the report is read.
  assert.throws(() => collectReport(REPORT_DATA, 1, new FakeKernel({ drops: "inblob" })), coded("ATTEST_TSM_FAILED"));
  // Without the level it would answer for another one.
  assert.throws(() => collectReport(REPORT_DATA, 1, new FakeKernel({ drops: "privlevel" })), coded("ATTEST_TSM_RACED"));
});

test("somebody else's write is a race: asked again once, refused if it goes on", () => {
  const once = new FakeKernel({ stranger: "once" });
  assert.ok(collectReport(REPORT_DATA, undefined, once).report.length > 0);
  assert.equal(once.operations.filter((operation) => operation === "mkdir").length, 2);
  const always = new FakeKernel({ stranger: "always" });
  assert.throws(() => collectReport(REPORT_DATA, undefined, always), coded("ATTEST_TSM_RACED"));
  assert.equal(always.operations.filter((operation) => operation === "mkdir").length, 3);
  assert.equal(always.entries.size, 0);
});

test("an empty, a short and somebody else's report are refused", () => {
  const other = Buffer.alloc(64, 1);
  for (const outblob of [
    () => Buffer.alloc(0),
    (report: Buffer) => report.subarray(1),
    () => simulator().report({ reportData: other }),
  ]) {
    assert.throws(() => collectReport(REPORT_DATA, undefined, new FakeKernel({ outblob })), coded("ATTEST_TSM_FAILED"));
  }
});

test("a generation or a level that is no number is refused", () => {
  for (const faults of [{ generation: "x\n" }, { generation: "" }, { floor: "9" }]) {
    assert.throws(() => collectReport(REPORT_DATA, undefined, new FakeKernel(faults)), coded("ATTEST_TSM_FAILED"));
  }
});

test("a machine without the kernel's files says so", { skip: process.platform !== "linux" && "not Linux" }, (t) => {
  try {
    collectReport(REPORT_DATA);
    t.skip("this machine is a confidential VM");
  } catch (error) {
    assert.ok(
      ["ATTEST_TSM_UNAVAILABLE", "ATTEST_TSM_DENIED", "ATTEST_TSM_FAILED"].includes((error as SealiftError).code),
    );
  }
});

test("without a certificate table the report is taken alone", () => {
  assert.equal(collectReport(REPORT_DATA, undefined, new FakeKernel({ noAuxblob: true })).certificateTable.length, 0);
});
