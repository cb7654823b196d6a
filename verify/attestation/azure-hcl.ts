/**
 * The envelope in which Azure's confidential VMs keep their report (in the vTPM, NV index 0x01400001): a header,
 * the report, and "runtime data", JSON with the keys of the vTPM, whose digest is in the report's REPORT_DATA.
 * Who believes it trusts Microsoft's paravisor to be what was measured. A quote of the vTPM: verify-vtpm.ts.
 */
import { createHash } from "node:crypto";
import { attestationError } from "./error.ts";
import { SNP_REPORT_BYTES } from "./snp-report.ts";

const MAGIC = "HCLA";
const HEADER_BYTES = 32;
const RUNTIME_HEADER_BYTES = 20;
const SNP_REPORT_TYPE = 2;
const REPORT_DATA_OFFSET = 0x50;
const REPORT_DATA_BYTES = 64;
const HASHES: Readonly<Record<number, string>> = { 1: "sha256", 2: "sha384", 3: "sha512" };

export interface AzureEnvelope {
  readonly report: Buffer;
  /** JSON, not parsed. Its digest is the one in the report. */
  readonly runtimeData: Buffer;
}

export function isAzureEnvelope(bytes: Buffer): boolean {
  return bytes.toString("latin1", 0, MAGIC.length) === MAGIC;
}

/**
 * @throws ATTEST_EVIDENCE_MALFORMED, also if the runtime data is not what REPORT_DATA names. The envelope may be
 * followed by zeros, as the vTPM gives it.
 */
export function parseAzureEnvelope(bytes: Buffer): AzureEnvelope {
  const malformed = (problem: string): Error =>
    attestationError("ATTEST_EVIDENCE_MALFORMED", `Azure's envelope: ${problem}`);
  const runtimeStart = HEADER_BYTES + SNP_REPORT_BYTES;
  const dataStart = runtimeStart + RUNTIME_HEADER_BYTES;
  if (!isAzureEnvelope(bytes) || bytes.length < dataStart) throw malformed(`got ${bytes.length} bytes, too few`);
  const report = bytes.subarray(HEADER_BYTES, runtimeStart);
  const header = bytes.subarray(runtimeStart, dataStart);
  if (header.readUInt32LE(8) !== SNP_REPORT_TYPE) {
    throw malformed(`got a report of type ${header.readUInt32LE(8)}, want ${SNP_REPORT_TYPE} (SEV-SNP)`);
  }
  const hash = HASHES[header.readUInt32LE(12)];
  if (hash === undefined) throw malformed(`got hash ${header.readUInt32LE(12)}, want 1, 2 or 3`);
  const length = header.readUInt32LE(16);
  const end = dataStart + length;
  if (length === 0 || end > bytes.length) throw malformed(`${length} bytes of runtime data are not in it`);
  if (bytes.subarray(end).some((byte) => byte !== 0)) throw malformed("bytes follow the runtime data");
  const runtimeData = bytes.subarray(dataStart, end);
  const want = Buffer.alloc(REPORT_DATA_BYTES);
  createHash(hash).update(runtimeData).digest().copy(want);
  if (!report.subarray(REPORT_DATA_OFFSET, REPORT_DATA_OFFSET + REPORT_DATA_BYTES).equals(want)) {
    throw malformed("the runtime data is not what the report names");
  }
  return { report, runtimeData };
}
