/**
 * SSH public keys and the wire encoding they share with signatures (RFC 4251 section 5, RFC 4253 6.6,
 * RFC 5656, PROTOCOL.u2f). Only kinds that an operator may sign with are read; certificates are not keys.
 */
import { createHash } from "node:crypto";
import { siteError } from "./error.ts";

/** Thrown by the readers below; whoever called turns it into the code of what was being read. */
export class WireError extends Error {}

/** Reads length-prefixed fields from bytes of anybody's making: never beyond the end, nothing left over. */
export class WireReader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  bytes(length: number): Buffer {
    if (length > this.#bytes.length - this.#position) throw new WireError("cut short");
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }

  byte(): number {
    return this.bytes(1).readUInt8();
  }

  uint32(): number {
    return this.bytes(4).readUInt32BE();
  }

  string(): Buffer {
    return this.bytes(this.uint32());
  }

  /** A string of printable ASCII. */
  text(): string {
    const text = this.string().toString("latin1");
    if (!/^[\x20-\x7e]*$/.test(text)) throw new WireError("a name is not printable ASCII");
    return text;
  }

  /** A positive integer in its one shortest form. */
  mpint(): Buffer {
    const raw = this.string();
    const [first = 0x80, second = 0] = raw;
    if (first >= 0x80) throw new WireError("an integer is not positive");
    if (first !== 0) return raw;
    if (raw.length < 2 || second < 0x80) throw new WireError("an integer is not in its shortest form");
    return raw.subarray(1);
  }

  end(): void {
    if (this.#position !== this.#bytes.length) throw new WireError("bytes are left over");
  }
}

export const KEY_TYPES = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
  "ssh-rsa",
] as const;

export type SshKeyType = (typeof KEY_TYPES)[number];

export interface SshKey {
  readonly type: SshKeyType;
  /** The base64 of the key blob, as in an authorized_keys file. */
  readonly base64: string;
  /** `SHA256:…` as `ssh-keygen -lf` prints it. */
  readonly fingerprint: string;
  /** A FIDO key: its signatures say whether somebody touched it. */
  readonly isHardware: boolean;
}

const RSA_MIN_BITS = 3072;
const RSA_MAX_BITS = 16384;
const KEY_BLOB_MAX_BYTES = 8192;

export function isKeyType(type: string): type is SshKeyType {
  return (KEY_TYPES as readonly string[]).includes(type);
}

/** The key in `blob`. The point is not checked to lie on its curve; ssh-keygen does that. @throws WireError */
export function readKeyBlob(blob: Buffer): SshKey {
  if (blob.length > KEY_BLOB_MAX_BYTES) throw new WireError("longer than any key");
  const reader = new WireReader(blob);
  const type = reader.text();
  if (!isKeyType(type)) throw new WireError(`got a key of type ${JSON.stringify(type)}, want ${KEY_TYPES.join(", ")}`);
  const isHardware = type.startsWith("sk-");
  if (type === "ssh-rsa") readRsa(reader);
  else if (type.includes("ed25519")) readEd25519(reader);
  else readP256(reader);
  if (isHardware && !reader.text().startsWith("ssh:")) throw new WireError("a hardware key is not made for SSH");
  reader.end();
  return { type, base64: blob.toString("base64"), fingerprint: fingerprintOf(blob), isHardware };
}

function readEd25519(reader: WireReader): void {
  if (reader.string().length !== 32) throw new WireError("an Ed25519 key is not 32 bytes long");
}

function readP256(reader: WireReader): void {
  if (reader.text() !== "nistp256") throw new WireError("the curve is not nistp256");
  const point = reader.string();
  if (point.length !== 65 || point[0] !== 4) throw new WireError("the point is not an uncompressed one of P-256");
}

function readRsa(reader: WireReader): void {
  const exponent = reader.mpint();
  const modulus = reader.mpint();
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
    throw new WireError(`got an RSA key of ${bits} bits, want ${RSA_MIN_BITS} to ${RSA_MAX_BITS}`);
  }
  if (exponent.length < 3 || exponent.length > 8 || ((exponent.at(-1) ?? 0) & 1) === 0) {
    throw new WireError("the RSA exponent is not one that is in use");
  }
}

function fingerprintOf(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/**
 * The key written as `TYPE BASE64`. `name` stands in the message. @throws SSH_KEY_MALFORMED, also for a
 * certificate, a kind that is not in KEY_TYPES and RSA below 3072 bits
 */
export function parseSshKey(type: string, base64: string, name: string): SshKey {
  try {
    const blob = Buffer.from(base64, "base64");
    if (blob.toString("base64") !== base64) throw new WireError("not base64 in its one form");
    const key = readKeyBlob(blob);
    if (key.type !== type) throw new WireError(`says ${JSON.stringify(type)} and holds ${key.type}`);
    return key;
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    throw siteError("SSH_KEY_MALFORMED", `${name}: ${cause.message}`, {
      cause,
      hints: ["ssh-keygen -t ed25519-sk makes a key that needs a touch, -t ed25519 one without hardware"],
    });
  }
}
