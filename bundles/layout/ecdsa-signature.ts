/**
 * The one spelling of an ECDSA P-256 signature. To each (r, s) there is a second, (r, n - s), that holds as well and
 * that anybody can compute: without a rule a stranger could change a bundle, or put a signature in once more.
 */

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const SEQUENCE = 0x30;
const INTEGER = 0x02;
/** Of a DER integer of P-256: 32 bytes, and one for the sign. */
const INTEGER_MAX_BYTES = 33;

/** The same signature with the smaller s, in DER; as it is if it is none in DER, which no verification accepts. */
export function withLowS(signature: Buffer): Buffer {
  const [, s = 0n] = readIntegers(signature) ?? [];
  return s > ORDER / 2n ? otherSpelling(signature) : signature;
}

/** The other of the two signatures that hold: (r, n - s). As it is if it is none in DER. */
export function otherSpelling(signature: Buffer): Buffer {
  const [r = 0n, s = 0n] = readIntegers(signature) ?? [];
  if (s === 0n || s >= ORDER) return signature;
  const body = Buffer.concat([renderInteger(r), renderInteger(ORDER - s)]);
  return Buffer.concat([Buffer.of(SEQUENCE, body.length), body]);
}

function readIntegers(signature: Buffer): readonly [bigint, bigint] | undefined {
  if (signature[0] !== SEQUENCE || signature[1] !== signature.length - 2) return undefined;
  const r = readInteger(signature, 2);
  const s = r && readInteger(signature, r.end);
  return r && s && s.end === signature.length ? [r.value, s.value] : undefined;
}

function readInteger(bytes: Buffer, at: number): { readonly value: bigint; readonly end: number } | undefined {
  const length = bytes[at + 1] ?? 0;
  const end = at + 2 + length;
  if (bytes[at] !== INTEGER || length === 0 || length > INTEGER_MAX_BYTES || end > bytes.length) return undefined;
  return { value: BigInt(`0x${bytes.toString("hex", at + 2, end)}`), end };
}

function renderInteger(value: bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
  const positive = (bytes[0] as number) < 0x80 ? bytes : Buffer.concat([Buffer.of(0), bytes]);
  return Buffer.concat([Buffer.of(INTEGER, positive.length), positive]);
}
