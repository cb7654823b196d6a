/** REPORT_DATA: the 64 bytes of a report that whoever asks for it chooses, so that the report answers a question. */
import { createHash } from "node:crypto";

export const NONCE_MIN_BYTES = 16;
export const NONCE_MAX_BYTES = 64;

/** What REPORT_DATA is for `nonce`: the nonce, and zeros up to 64 bytes. @throws RangeError for another length. */
export function reportDataOf(nonce: Buffer): Buffer {
  if (nonce.length < NONCE_MIN_BYTES || nonce.length > NONCE_MAX_BYTES) {
    throw new RangeError(`got ${nonce.length} bytes, want ${NONCE_MIN_BYTES} to ${NONCE_MAX_BYTES}`);
  }
  return Buffer.concat([nonce, Buffer.alloc(NONCE_MAX_BYTES - nonce.length)]);
}

/** What a report stands for when a key is to be released for it. Bytes as they are; digests as their text. */
export interface BoundFields {
  readonly nonce: Uint8Array;
  readonly release: string;
  readonly siteId: string;
  readonly ledgerHead: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly hostKey: Uint8Array;
  /** X25519, 32 bytes. */
  readonly transportKey: Uint8Array;
  readonly policy: string;
  /** SHA-256 of the challenge's bytes: its times, too, are part of the question. */
  readonly challenge: string;
}

const BINDING = "sealift-attestation-binding-v1";

/**
 * What REPORT_DATA is for `fields`, 64 bytes: SHA-512 of a label, then each field's name and value, every one of them
 * behind its length (32 bits, big-endian). So no two different sets of fields have the same bytes.
 */
export function boundReportData(fields: BoundFields): Buffer {
  const hash = createHash("sha512");
  const add = (bytes: Uint8Array): void => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  add(Buffer.from(BINDING));
  const order = ["nonce", "release", "siteId", "ledgerHead", "hostKey", "transportKey", "policy", "challenge"] as const;
  for (const name of order) {
    const value = fields[name];
    add(Buffer.from(name));
    add(typeof value === "string" ? Buffer.from(value) : value);
  }
  return hash.digest();
}
