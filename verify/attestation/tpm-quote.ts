/**
 * A TPM's quote (TCG TPM 2.0 Library, part 2): TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE as a TPM writes it, over PCRs of the
 * SHA-256 bank. Reading proves nothing; verify-vtpm.ts checks who signed it.
 */
import { attestationError } from "./error.ts";

/** TPM_GENERATED_VALUE: a TPM puts it first, and signs nothing from outside that begins so. */
const GENERATED = 0xff544347;
const ATTEST_QUOTE = 0x8018;
const ALGORITHM_RSASSA = 0x0014;
const ALGORITHM_SHA256 = 0x000b;
const SHA256_BYTES = 32;
/** TPM2B_NAME and TPM2B_DATA hold an algorithm and its digest at most, SHA-512's. */
const NAME_MAX_BYTES = 66;
export const PCR_COUNT = 24;
export const QUOTE_MAX_BYTES = 1024;
export const QUOTE_SIGNATURE_MAX_BYTES = 1024;

export interface TpmQuote {
  /** What was signed. */
  readonly bytes: Buffer;
  /** What whoever asked has put in: their nonce. */
  readonly extraData: Buffer;
  readonly resetCount: number;
  readonly restartCount: number;
  /** The selected PCRs, ascending. */
  readonly pcrs: readonly number[];
  /** SHA-256 over the selected PCRs' values, in that order. */
  readonly pcrDigest: Buffer;
}

function malformed(problem: string): Error {
  return attestationError("ATTEST_EVIDENCE_MALFORMED", `TPM quote: ${problem}`);
}

/** @throws ATTEST_EVIDENCE_MALFORMED, also for another bank than SHA-256's, for several banks, and for bytes behind it */
export function parseTpmQuote(bytes: Buffer): TpmQuote {
  if (bytes.length > QUOTE_MAX_BYTES) throw malformed(`got ${bytes.length} bytes, want at most ${QUOTE_MAX_BYTES}`);
  const at = new Reader(bytes);
  if (at.uint32() !== GENERATED) throw malformed("no TPM made it");
  const type = at.uint16();
  if (type !== ATTEST_QUOTE) throw malformed(`got attestation type 0x${type.toString(16)}, want that of a quote`);
  at.sized(NAME_MAX_BYTES, "the signer's name");
  const extraData = at.sized(NAME_MAX_BYTES, "the nonce");
  at.bytes(8); // The clock, which a host can stop.
  const resetCount = at.uint32();
  const restartCount = at.uint32();
  const safe = at.bytes(1)[0];
  if (safe !== 0 && safe !== 1) throw malformed(`got ${safe} for yes or no`);
  at.bytes(8); // The firmware's version, which every vendor counts in its own way.
  const banks = at.uint32();
  if (banks !== 1) throw malformed(`got PCRs of ${banks} banks, want 1`);
  const algorithm = at.uint16();
  if (algorithm !== ALGORITHM_SHA256) throw malformed(`got bank 0x${algorithm.toString(16)}, want SHA-256's`);
  const [length = 0] = at.bytes(1);
  if (length !== PCR_COUNT / 8) throw malformed(`got a selection of ${length} bytes, want ${PCR_COUNT / 8}`);
  const selected = at.bytes(length);
  const pcrs = Array.from({ length: PCR_COUNT }, (_, i) => i).filter((i) => ((selected[i >> 3] ?? 0) >> (i & 7)) & 1);
  const pcrDigest = at.sized(SHA256_BYTES, "the digest of the PCRs");
  if (pcrDigest.length !== SHA256_BYTES) throw malformed(`got a digest of ${pcrDigest.length} bytes`);
  at.end();
  return { bytes, extraData, resetCount, restartCount, pcrs, pcrDigest };
}

/**
 * The bytes of an RSASSA signature with SHA-256: TPMT_SIGNATURE as tpm2_quote writes it, or the signature alone.
 * @throws ATTEST_EVIDENCE_MALFORMED for another scheme
 */
export function readQuoteSignature(bytes: Buffer): Buffer {
  if (bytes.length > QUOTE_SIGNATURE_MAX_BYTES) throw malformed(`got a signature of ${bytes.length} bytes`);
  const HEADER_BYTES = 6;
  const isWrapped =
    bytes.length > HEADER_BYTES &&
    bytes.readUInt16BE(0) === ALGORITHM_RSASSA &&
    bytes.readUInt16BE(4) === bytes.length - HEADER_BYTES;
  if (!isWrapped) return bytes;
  if (bytes.readUInt16BE(2) !== ALGORITHM_SHA256) throw malformed("its signature is not by SHA-256");
  return bytes.subarray(HEADER_BYTES);
}

/** Big-endian, as all of a TPM's numbers. Never reads past the end. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  bytes(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed("it ends too early");
    const read = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return read;
  }

  uint16(): number {
    return this.bytes(2).readUInt16BE();
  }

  uint32(): number {
    return this.bytes(4).readUInt32BE();
  }

  /** A TPM2B: its length in two bytes, then its bytes. */
  sized(max: number, what: string): Buffer {
    const length = this.uint16();
    if (length > max) throw malformed(`${what}: got ${length} bytes, want at most ${max}`);
    return this.bytes(length);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed(`${this.#bytes.length - this.#at} bytes follow it`);
  }
}
