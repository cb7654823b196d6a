/** RFC 8785 (JCS): the one byte string for a JSON value. Everything we write as JSON is written so. */
import canonicalize from "canonicalize";

/** The canonical UTF-8 bytes of `value`, without a final newline. Undefined members are left out. */
export function canonicalJson(value: unknown): Buffer {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError("value has no JSON form");
  return Buffer.from(text, "utf8");
}

/**
 * The JSON value in `bytes`, or undefined unless `bytes` are exactly its canonical form. That refuses
 * duplicate members, which two parsers may read differently, as well as other spellings.
 */
export function parseCanonicalJson(bytes: Uint8Array): unknown {
  const text = Buffer.from(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text.toString("utf8"));
    return canonicalJson(value).equals(text) ? value : undefined;
  } catch {
    return undefined;
  }
}
