/**
 * Signing keys as files: ECDSA P-256, and only that, because it is the one kind that every cosign and
 * sigstore client signs and verifies alike. The private key is encrypted as cosign does it: JSON with
 * scrypt parameters and a NaCl secretbox over the PKCS #8 DER, in a PEM block.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  scryptSync,
} from "node:crypto";
import { closeSync, constants, fsyncSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { signError } from "./error.ts";

export type PrivateKey = KeyObject;
export type PublicKey = KeyObject;

const PEM_LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY";
/** The label before cosign 2. */
const OLD_PEM_LABEL = "ENCRYPTED COSIGN PRIVATE KEY";
const KEY_FILE_MAX_BYTES = 16 * 1024;
const SCRYPT = { N: 65536, r: 8, p: 1 };
/** A key file is input: without a bound its parameters could ask for any amount of memory and time. */
const SCRYPT_N_MAX = 2 ** 18;

const encryptedSchema: JsonSchema = {
  type: "object",
  required: ["kdf", "cipher", "ciphertext"],
  properties: {
    kdf: {
      type: "object",
      required: ["name", "params", "salt"],
      properties: {
        name: { const: "scrypt" },
        params: {
          type: "object",
          required: ["N", "r", "p"],
          properties: {
            N: { type: "integer", minimum: 1024, maximum: SCRYPT_N_MAX },
            r: { type: "integer", minimum: 1, maximum: 16 },
            p: { type: "integer", minimum: 1, maximum: 4 },
          },
        },
        salt: { type: "string" },
      },
    },
    cipher: {
      type: "object",
      required: ["name", "nonce"],
      properties: { name: { const: "nacl/secretbox" }, nonce: { type: "string" } },
    },
    ciphertext: { type: "string" },
  },
};

interface EncryptedKey {
  readonly kdf: {
    readonly params: { readonly N: number; readonly r: number; readonly p: number };
    readonly salt: string;
  };
  readonly cipher: { readonly nonce: string };
  readonly ciphertext: string;
}

/** SHA-256 of the key's SubjectPublicKeyInfo in DER, 64 hexadecimal digits: a key's name everywhere in Sealift. */
export function keyFingerprint(key: KeyObject): string {
  return createHash("sha256").update(publicKeyDer(key)).digest("hex");
}

/** The hint of a Sigstore bundle, as cosign writes it: the same hash in base64. */
export function keyHint(key: KeyObject): string {
  return createHash("sha256").update(publicKeyDer(key)).digest("base64");
}

function publicKeyDer(key: KeyObject): Buffer {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return publicKey.export({ format: "der", type: "spki" });
}

export function publicKeyPem(key: KeyObject): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return publicKey.export({ format: "pem", type: "spki" }) as string;
}

function requireP256(key: KeyObject, what: string): KeyObject {
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw signError(
      "KEY_NOT_P256",
      `${what}: got a ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType} key, want ECDSA P-256`,
    );
  }
  return key;
}

/** The PEM text of `key` under `password`, which may be empty, as cosign allows. */
export function encryptPrivateKey(key: PrivateKey, password: string): string {
  const salt = randomBytes(32);
  const nonce = randomBytes(24);
  const secret = scryptSync(password, salt, 32, { ...SCRYPT, maxmem: 256 * SCRYPT.N * SCRYPT.r });
  const der = key.export({ format: "der", type: "pkcs8" });
  const ciphertext = Buffer.from(xsalsa20poly1305(secret, nonce).encrypt(der));
  const body = JSON.stringify({
    kdf: { name: "scrypt", params: SCRYPT, salt: salt.toString("base64") },
    cipher: { name: "nacl/secretbox", nonce: nonce.toString("base64") },
    ciphertext: ciphertext.toString("base64"),
  });
  const lines =
    Buffer.from(body)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${PEM_LABEL}-----\n${lines.join("\n")}\n-----END ${PEM_LABEL}-----\n`;
}

/** Writes PREFIX.key (0600) and PREFIX.pub, neither of which may exist. @throws KEY_EXISTS | KEY_UNREADABLE */
export function generateKeyFiles(prefix: string, password: string): { readonly publicKey: PublicKey } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  for (const path of [`${prefix}.key`, `${prefix}.pub`]) {
    if (statSync(path, { throwIfNoEntry: false })) {
      throw signError("KEY_EXISTS", `${JSON.stringify(path)} is there already`, {
        hints: ["choose another --out; a key is never overwritten"],
      });
    }
  }
  writeNew(`${prefix}.key`, encryptPrivateKey(privateKey, password), 0o600);
  writeNew(`${prefix}.pub`, publicKeyPem(publicKey), 0o644);
  return { publicKey };
}

function writeNew(path: string, text: string, mode: number): void {
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw signError("KEY_UNREADABLE", `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}

function readKeyText(path: string): string {
  try {
    if (statSync(path).size > KEY_FILE_MAX_BYTES) throw new RangeError(`larger than ${KEY_FILE_MAX_BYTES} bytes`);
    return readFileSync(path, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "KEY_NOT_FOUND" : "KEY_UNREADABLE";
    throw signError(code, `key ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}

/** Whether `path` holds a private key in cosign's format, without opening it. */
export function isPrivateKeyFile(path: string): boolean {
  return readKeyText(path).includes("PRIVATE KEY-----");
}

/** @throws KEY_NOT_FOUND | KEY_UNREADABLE | KEY_MALFORMED | KEY_NOT_P256 | KEY_PASSWORD_WRONG */
export function loadPrivateKey(path: string, password: string): PrivateKey {
  return parsePrivateKey(readKeyText(path), password, `key ${JSON.stringify(path)}`);
}

/** `what` names the key in errors. @throws KEY_MALFORMED | KEY_NOT_P256 | KEY_PASSWORD_WRONG */
export function parsePrivateKey(pem: string, password: string, what: string): PrivateKey {
  const match = /^-----BEGIN ([A-Z ]+)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*$/.exec(pem.trimStart());
  if (!match || (match[1] !== PEM_LABEL && match[1] !== OLD_PEM_LABEL)) {
    throw signError("KEY_MALFORMED", `${what}: not an encrypted Sigstore private key`, {
      hints: [
        "sealift key generate and cosign generate-key-pair make one",
        "cosign import-key-pair encrypts a plain PEM key",
      ],
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(match[2] as string, "base64").toString("utf8"));
  } catch (cause) {
    throw signError("KEY_MALFORMED", `${what}: its body is not JSON`, { cause });
  }
  const problem = schemaProblem(encryptedSchema, value);
  if (problem !== undefined) throw signError("KEY_MALFORMED", `${what}: ${problem}`);
  const { kdf, cipher, ciphertext } = value as EncryptedKey;
  const { N, r, p } = kdf.params;
  let der: Uint8Array;
  try {
    const secret = scryptSync(password, Buffer.from(kdf.salt, "base64"), 32, { N, r, p, maxmem: 256 * N * r });
    der = xsalsa20poly1305(secret, Buffer.from(cipher.nonce, "base64")).decrypt(Buffer.from(ciphertext, "base64"));
  } catch (cause) {
    // The secretbox's tag fails for a wrong password and for a changed file alike.
    throw signError("KEY_PASSWORD_WRONG", `${what}: the password does not open it, or the file was changed`, { cause });
  }
  try {
    return requireP256(createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" }), what);
  } catch (cause) {
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    throw signError("KEY_MALFORMED", `${what}: holds no PKCS #8 key`, { cause });
  }
}

/** @throws KEY_NOT_FOUND | KEY_UNREADABLE | KEY_MALFORMED | KEY_NOT_P256 */
export function loadPublicKey(path: string): PublicKey {
  const pem = readKeyText(path);
  const what = `key ${JSON.stringify(path)}`;
  if (!pem.includes("-----BEGIN PUBLIC KEY-----")) throw signError("KEY_MALFORMED", `${what}: not a PEM public key`);
  try {
    return requireP256(createPublicKey(pem), what);
  } catch (cause) {
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    throw signError("KEY_MALFORMED", `${what}: not a PEM public key`, { cause });
  }
}
