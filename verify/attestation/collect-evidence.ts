/**
 * Asks the kernel for a report through configfs (Linux 6.7 and newer, Documentation/ABI/testing/configfs-tsm-report).
 *
 * What is particular to it: a directory of its own for each question; a binary attribute takes effect when its file
 * is closed, and the kernel throws away the error that happens then; so the generation is read before and after,
 * and must have grown by exactly what we wrote, or somebody else wrote too, or our own write was lost.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, mkdirSync, openSync, readSync, rmdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { CERTIFICATE_TABLE_MAX_BYTES } from "./certificate-table.ts";
import { attestationError } from "./error.ts";
import { SNP_REPORT_BYTES } from "./snp-report.ts";
import { parseTdxQuote, TDX_QUOTE_MAX_BYTES } from "./tdx-quote.ts";

/** Where the kernel has it. Only root can make a directory in it. */
export const TSM_DIRECTORY = "/sys/kernel/config/tsm/report";

/** The kernel's files, as far as they are needed; each call may throw an error with a `code`. */
export interface TsmFiles {
  mkdir(path: string): void;
  rmdir(path: string): void;
  /** All bytes, at most `maxBytes`. */
  read(path: string, maxBytes: number): Buffer;
  /** Opened, written with one call, closed. */
  write(path: string, bytes: Buffer): void;
}

export interface CollectedReport {
  readonly provider: string;
  readonly report: Buffer;
  /** Empty where the host gives none, as on most machines of one's own. */
  readonly certificateTable: Buffer;
  /** A directory that could not be removed again, or null. It does no harm, and is gone after a reboot. */
  readonly leftover: string | null;
}

const REPORT_DATA_BYTES = 64;
const REPORT_DATA_OFFSET = 0x50;
const TEXT_MAX_BYTES = 4096;
const SNP_PROVIDER = "sev_guest";
const TDX_PROVIDER = "tdx_guest";
const VMPL_MAX = 3;
/** A race is somebody else's; a new directory is a new question. */
const ATTEMPTS = 3;

const failed = (problem: string, cause?: unknown): Error =>
  attestationError("ATTEST_TSM_FAILED", `the kernel's report: ${problem}`, { cause });

/**
 * A report, of TDX a quote, with this REPORT_DATA, 64 bytes. `vmpl` is that of the report, by default the least that
 * the kernel allows; TDX has none. Nothing is checked of the report but that it answers this question.
 * @throws ATTEST_TSM_UNAVAILABLE | ATTEST_TSM_DENIED | ATTEST_TSM_PROVIDER | ATTEST_TSM_FAILED | ATTEST_TSM_RACED
 */
export function collectReport(reportData: Buffer, vmpl?: number, files: TsmFiles = kernelFiles): CollectedReport {
  if (reportData.length !== REPORT_DATA_BYTES) {
    throw new RangeError(`got ${reportData.length} bytes, want ${REPORT_DATA_BYTES}`);
  }
  let raced: unknown;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const entry = makeEntry(files);
    let answer: Omit<CollectedReport, "leftover">;
    try {
      answer = ask(files, entry, reportData, vmpl);
    } catch (cause) {
      removeEntry(files, entry);
      if ((cause as { code?: string }).code !== "ATTEST_TSM_RACED") throw cause;
      raced = cause;
      continue;
    }
    return { ...answer, leftover: removeEntry(files, entry) ? null : entry };
  }
  throw raced;
}

function makeEntry(files: TsmFiles): string {
  const entry = join(TSM_DIRECTORY, `sealift-${randomBytes(8).toString("hex")}`);
  try {
    files.mkdir(entry);
    return entry;
  } catch (cause) {
    const code = errnoOf(cause);
    if (code === "EACCES" || code === "EPERM") {
      throw attestationError("ATTEST_TSM_DENIED", "the kernel's report: only root may ask for one", {
        cause,
        hints: ["run it with sudo"],
      });
    }
    if (code === "ENOENT" || code === "ENXIO" || code === "ENODEV") {
      throw attestationError("ATTEST_TSM_UNAVAILABLE", `the kernel's report: ${reasonOf(cause)}`, {
        cause,
        hints: [
          "it needs Linux 6.7 or newer in a confidential VM, configfs mounted and the sev-guest module loaded",
          "a report that another tool made can be given to sealift attest verify as it is",
        ],
      });
    }
    throw failed(reasonOf(cause), cause);
  }
}

function removeEntry(files: TsmFiles, entry: string): boolean {
  try {
    files.rmdir(entry);
    return true;
  } catch {
    return false;
  }
}

function ask(files: TsmFiles, entry: string, reportData: Buffer, vmpl?: number): Omit<CollectedReport, "leftover"> {
  const text = (name: string): string =>
    access(name, () => files.read(join(entry, name), TEXT_MAX_BYTES))
      .toString("latin1")
      .trim();
  const provider = text("provider");
  if (provider !== SNP_PROVIDER && provider !== TDX_PROVIDER) {
    throw attestationError(
      "ATTEST_TSM_PROVIDER",
      `the kernel's report: got provider ${JSON.stringify(provider)}, want ${SNP_PROVIDER} or ${TDX_PROVIDER}`,
    );
  }
  const isTdx = provider === TDX_PROVIDER;
  if (isTdx && vmpl !== undefined) throw failed("a TDX guest has no VMPL");
  const before = generation(text("generation"));
  let writes = 0n;
  const write = (name: string, bytes: Buffer): void => {
    access(name, () => files.write(join(entry, name), bytes));
    writes += 1n;
  };
  const level = vmpl ?? leastLevel(files, entry);
  if (level !== undefined) write("privlevel", Buffer.from(`${level}`));
  write("inblob", reportData);
  const mostBytes = isTdx ? TDX_QUOTE_MAX_BYTES : SNP_REPORT_BYTES;
  const report = access("outblob", () => files.read(join(entry, "outblob"), mostBytes));
  const certificateTable =
    optional(() => files.read(join(entry, "auxblob"), CERTIFICATE_TABLE_MAX_BYTES)) ?? Buffer.alloc(0);
  const after = generation(text("generation"));
  if (after !== before + writes) {
    const problem = `got generation ${after} after ${writes} writes to ${before}; somebody else wrote, or a write was lost`;
    throw attestationError("ATTEST_TSM_RACED", `the kernel's report: ${problem}`);
  }
  requireAnswer(report, isTdx, reportData);
  return { provider, report, certificateTable };
}

/** Under an SVSM the kernel runs at a higher level than 0 and must say so; undefined where it need not. */
function leastLevel(files: TsmFiles, entry: string): number | undefined {
  const floor = optional(() => files.read(join(entry, "privlevel_floor"), TEXT_MAX_BYTES));
  if (floor === undefined) return undefined;
  const level = floor.toString("latin1").trim();
  if (!/^[0-3]$/.test(level)) throw failed(`got least privilege level ${JSON.stringify(level)}, want 0 to ${VMPL_MAX}`);
  return level === "0" ? undefined : Number(level);
}

function generation(text: string): bigint {
  if (!/^[0-9]{1,20}$/.test(text)) throw failed(`got generation ${JSON.stringify(text)}, want a number`);
  return BigInt(text);
}

/** Old kernels return an empty report without an error. */
function requireAnswer(report: Buffer, isTdx: boolean, reportData: Buffer): void {
  const got = isTdx ? quotedData(report) : reportedData(report);
  if (!got.equals(reportData)) {
    throw failed("it does not carry the REPORT_DATA that was asked for");
  }
}

function reportedData(report: Buffer): Buffer {
  if (report.length !== SNP_REPORT_BYTES) throw failed(`got ${report.length} bytes, want ${SNP_REPORT_BYTES}`);
  return report.subarray(REPORT_DATA_OFFSET, REPORT_DATA_OFFSET + REPORT_DATA_BYTES);
}

function quotedData(quote: Buffer): Buffer {
  try {
    return parseTdxQuote(quote).td.reportData;
  } catch (cause) {
    throw failed(reasonOf(cause), cause);
  }
}

/** What an error number means there (Linux, drivers/virt/coco: tsm and sev-guest). */
const MEANINGS: Readonly<Record<string, string>> = {
  EINVAL: "the firmware or the kernel refuses what was asked, for example this VMPL",
  ENXIO: "the firmware gave an error",
  ENOTTY: "the kernel has no key to talk to the firmware any more, as after an error of the firmware; reboot the VM",
  EBUSY: "somebody else is using it",
  EFBIG: "it is larger than it can be",
  ETXTBSY: "it is open elsewhere",
  EWOULDBLOCK: "it changed while it was read",
};

function access<T>(name: string, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    const code = errnoOf(cause);
    throw failed(`${name}: ${MEANINGS[code] ?? reasonOf(cause)} (${code || "no error number"})`, cause);
  }
}

/** What may not be there: undefined for ENOENT. Any other error is one. */
function optional(look: () => Buffer): Buffer | undefined {
  return access("attribute", () => {
    try {
      return look();
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return undefined;
      throw cause;
    }
  });
}

const errnoOf = (cause: unknown): string => String((cause as NodeJS.ErrnoException).code ?? "");

/** The real ones. */
const kernelFiles: TsmFiles = {
  mkdir: (path) => mkdirSync(path),
  rmdir: (path) => rmdirSync(path),
  read: (path, maxBytes) => {
    const fd = openSync(path, "r");
    try {
      // One more than allowed, to see that there is more.
      const buffer = Buffer.alloc(maxBytes + 1);
      let size = 0;
      for (;;) {
        const got = readSync(fd, buffer, size, buffer.length - size, null);
        size += got;
        if (got === 0) return buffer.subarray(0, size);
        if (size > maxBytes) throw new RangeError(`larger than ${maxBytes} bytes`);
      }
    } finally {
      closeSync(fd);
    }
  },
  write: (path, bytes) => {
    // Neither created nor cut: an attribute is there, and has no length.
    const fd = openSync(path, constants.O_WRONLY);
    try {
      const written = writeSync(fd, bytes);
      if (written !== bytes.length) throw new RangeError(`only ${written} of ${bytes.length} bytes were taken`);
    } finally {
      closeSync(fd);
    }
  },
};
