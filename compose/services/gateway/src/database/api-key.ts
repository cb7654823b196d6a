/**
 * API keys: `slk_<prefix>_<secret>`. The prefix names the key in logs and lists; the secret is 256 random
 * bits. The database never sees a key: it gets an HMAC of it under the pepper, and keeps only a hash of that.
 */
import { createHash, createHmac, randomBytes } from "node:crypto";

/** What the database needs to know who holds a key. Worth as much as the key, to somebody who can ask the database. */
export interface ApiKeyProof {
  readonly prefix: string;
  readonly presented: Buffer;
}

export interface NewApiKey {
  /** Shown once. */
  readonly key: string;
  readonly prefix: string;
  /** What the table keeps. */
  readonly hash: Buffer;
}

/** What a key may be for. */
export const CAPABILITIES = ["chat", "models", "usage"] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** Letters of base32; not secret. */
const PREFIX_LENGTH = 12;
const PREFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const SECRET_BYTES = 32;
const KEY = /^slk_([a-z2-7]{12})_([A-Za-z0-9_-]{43})$/;

/** Undefined where the text is no key at all. `pepper` is the content of the pepper's file. */
export function proveApiKey(text: string, pepper: string): ApiKeyProof | undefined {
  const prefix = KEY.exec(text)?.[1];
  if (prefix === undefined) return undefined;
  return { prefix, presented: createHmac("sha256", pepper).update(`sealift api key v1|${text}`).digest() };
}

/** `prefix` is one that nobody has yet. */
export function makeApiKey(pepper: string, prefix: string = makePrefix()): NewApiKey {
  const key = `slk_${prefix}_${randomBytes(SECRET_BYTES).toString("base64url")}`;
  const proof = proveApiKey(key, pepper) as ApiKeyProof;
  return { key, prefix, hash: createHash("sha256").update(proof.presented).digest() };
}

function makePrefix(): string {
  // 256 is a multiple of 32, so every letter is equally likely.
  const letters = [...randomBytes(PREFIX_LENGTH)].map((byte) => PREFIX_ALPHABET[byte % PREFIX_ALPHABET.length]);
  return letters.join("");
}
