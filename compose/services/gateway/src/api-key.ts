/**
 * API keys: `sealift_`, a prefix that names the key, `_`, 256 random bits. The database never sees a key,
 * only what `presentKey` makes of it with a pepper that is not in the database.
 */
import { createHmac, type KeyObject, randomBytes } from "node:crypto";

const KEY = /^sealift_([a-z2-7]{12})_[A-Za-z0-9_-]{43}$/;
const PREFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const PREFIX_LENGTH = 12;
const SECRET_BYTES = 32;

export interface NewApiKey {
  /** Shown once, to the one who asked for it. */
  readonly key: string;
  readonly prefix: string;
}

export function newApiKey(): NewApiKey {
  // 32 letters: five bits of each byte, without a bias.
  const prefix = Array.from(randomBytes(PREFIX_LENGTH), (byte) => PREFIX_ALPHABET[byte & 31]).join("");
  return { key: `sealift_${prefix}_${randomBytes(SECRET_BYTES).toString("base64url")}`, prefix };
}

/** The prefix of what has the form of a key; undefined for anything else. */
export function keyPrefix(text: string): string | undefined {
  return KEY.exec(text)?.[1];
}

/** What a login presents: 32 bytes, which SHA-256 of the database's row must equal. */
export function presentKey(key: string, pepper: KeyObject): Buffer {
  return createHmac("sha256", pepper).update(key).digest();
}
