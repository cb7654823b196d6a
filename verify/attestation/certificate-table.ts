/**
 * The certificate table that a host gives with a report (AMD 56421, GHCB, "SNP Extended Guest Request"): entries
 * of a GUID, an offset and a length, ended by one of zeros, then the certificates. The host writes it, so it is
 * as hostile as anything else. Its root is never taken: the root comes with the verifier's own collateral.
 */
import { attestationError } from "./error.ts";

/** The kernel gives at most four pages (Linux, sev-guest driver). */
export const CERTIFICATE_TABLE_MAX_BYTES = 16 * 1024;
const ENTRY_BYTES = 24;
/** Five kinds are known; more is not an honest host's. */
const ENTRIES_MAX = 16;

/** GUIDs as they lie in memory: the first three groups little-endian. */
const WANTED: ReadonlyMap<string, string> = new Map([
  ["8d75da6364e66445adc5f4b93be8accd", "VCEK"],
  ["c24b07a85aa23e48aae639c045a0b8a1", "VLEK"],
  ["79b3b74aacbbe44fa02f05aef327c782", "ASK"],
]);

/** The leaf and intermediate certificates in `table`, not parsed. An empty table has none. @throws ATTEST_EVIDENCE_MALFORMED */
export function readCertificateTable(table: Buffer): Buffer[] {
  const malformed = (problem: string): Error =>
    attestationError("ATTEST_EVIDENCE_MALFORMED", `certificate table: ${problem}`);
  if (table.length === 0) return [];
  if (table.length > CERTIFICATE_TABLE_MAX_BYTES) {
    throw malformed(`got ${table.length} bytes, want at most ${CERTIFICATE_TABLE_MAX_BYTES}`);
  }
  const certificates: Buffer[] = [];
  for (let i = 0; i < ENTRIES_MAX; i += 1) {
    const entry = table.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES);
    if (entry.length < ENTRY_BYTES) throw malformed("it ends without its last entry");
    if (entry.every((byte) => byte === 0)) return certificates;
    const offset = entry.readUInt32LE(16);
    const length = entry.readUInt32LE(20);
    if (length === 0 || offset + length > table.length) {
      throw malformed(`entry ${i}: ${length} bytes at ${offset} are not inside its ${table.length}`);
    }
    if (WANTED.has(entry.toString("hex", 0, 16))) certificates.push(table.subarray(offset, offset + length));
  }
  throw malformed(`more than ${ENTRIES_MAX} entries`);
}
