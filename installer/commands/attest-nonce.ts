import { NONCE_MAX_BYTES, NONCE_MIN_BYTES } from "../../verify/attestation/report-data.ts";
import { usageError } from "./command.ts";

/** The nonce of an attestation question. @throws USAGE unless `text` is 16 to 64 bytes in hexadecimal. */
export function readNonce(verb: string, text: string | undefined): Buffer | null {
  if (text === undefined) return null;
  const bytes = text.length / 2;
  if (!/^(?:[0-9a-f]{2})+$/i.test(text) || bytes < NONCE_MIN_BYTES || bytes > NONCE_MAX_BYTES) {
    const want = `${NONCE_MIN_BYTES} to ${NONCE_MAX_BYTES} bytes in hexadecimal, e.g. of openssl rand -hex 32`;
    throw usageError(verb, `--nonce: got ${JSON.stringify(text)}, want ${want}`);
  }
  return Buffer.from(text, "hex");
}
