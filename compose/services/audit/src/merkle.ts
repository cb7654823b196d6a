/** The Merkle tree of RFC 6962, section 2.1: SHA-256, leaves and nodes apart by their first byte. */
import { hash } from "node:crypto";

export const HASH_BYTES = 32;

/** The root of a tree without entries. */
export const EMPTY_ROOT: Buffer = sha256(Buffer.alloc(0));

export function sha256(bytes: Uint8Array): Buffer {
  return hash("sha256", bytes, "buffer");
}

export function leafHash(entry: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(1 + entry.length);
  input[0] = 0;
  input.set(entry, 1);
  return sha256(input);
}

const nodeInput = Buffer.alloc(1 + 2 * HASH_BYTES, 1);

export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  nodeInput.set(left, 1);
  nodeInput.set(right, 1 + HASH_BYTES);
  return sha256(nodeInput);
}

/**
 * The root over `hashes`: roots of trees of one size that is a power of two, of which only the last may
 * be smaller. Pairing neighbours and carrying an odd one up is the same tree as RFC 6962's splitting.
 */
export function rootOf(hashes: readonly Uint8Array[]): Buffer {
  let level = hashes;
  if (level.length === 0) return EMPTY_ROOT;
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Uint8Array;
      const right = level[i + 1];
      above.push(right ? nodeHash(left, right) : left);
    }
    level = above;
  }
  return Buffer.from(level[0] as Uint8Array);
}
