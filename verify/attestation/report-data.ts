/** REPORT_DATA: the 64 bytes of a report that whoever asks for it chooses, so that the report answers a question. */

export const NONCE_MIN_BYTES = 16;
export const NONCE_MAX_BYTES = 64;

/** What REPORT_DATA is for `nonce`: the nonce, and zeros up to 64 bytes. @throws RangeError for another length. */
export function reportDataOf(nonce: Buffer): Buffer {
  if (nonce.length < NONCE_MIN_BYTES || nonce.length > NONCE_MAX_BYTES) {
    throw new RangeError(`got ${nonce.length} bytes, want ${NONCE_MIN_BYTES} to ${NONCE_MAX_BYTES}`);
  }
  return Buffer.concat([nonce, Buffer.alloc(NONCE_MAX_BYTES - nonce.length)]);
}
