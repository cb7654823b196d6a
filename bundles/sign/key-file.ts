/**
 * Signing keys as files: ECDSA P-256, and only that, because it is the one kind that every cosign and
 * sigstore client signs and verifies alike. The private key is encrypted as cosign does it: JSON with
 * scrypt parameters and a NaCl secretbox over the PKCS #8 DER, in a PEM block.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  scryptSync,
} from "node:crypto";
import { closeSync, constants, existsSync, fsyncSync, openSync, rmSync, writeFileSync } from "node:fs";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { modelError } from "../model/error.ts";
import { fileExists } from "../model/file-exists.ts";
import { requireP256 } from "../model/public-key.ts";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { signError } from "./error.ts";
import { type PublicKey, readKeyText } from "./public-key-file.ts";

export type PrivateKey = KeyObject;

const PEM_LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY";
/** The label before cosign 2. */
const OLD_PEM_LABEL = "ENCRYPTED COSIGN PRIVATE KEY";
const PEM_BLOCK = /^\s*-----BEGIN ([A-Z ]+)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*$/;
const SCRYPT = { N: 65536, r: 8, p: 1 };
/**
 * A key file is input: without a bound its parameters could ask for any amount of memory (128·N·r bytes)
 * and time (N·r·p). Twice what cosign writes is allowed: 128 MiB, about half a second.
 */
const SCRYPT_N_MAX = 2 ** 18;
const SCRYPT_NRP_MAX = 2 * SCRYPT.N * SCRYPT.r * SCRYPT.p;
const NONCE_BYTES = 24;
/** A P-256 key in PKCS #8 is 138 bytes; RSA-4096, refused with its own code, some 2,400. */
const CIPHERTEXT_MAX_BYTES = 4096;

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

export function publicKeyPem(key: KeyObject): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return publicKey.export({ format: "pem", type: "spki" }) as string;
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

/**
 * Writes PREFIX.key (0600) and PREFIX.pub, neither of which may exist; if the second cannot be written,
 * the first goes too. @throws FILE_EXISTS | KEY_WRITE_FAILED
 */
export function generateKeyFiles(prefix: string, password: string): { readonly publicKey: PublicKey } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const [keyPath, pubPath] = [`${prefix}.key`, `${prefix}.pub`];
  // Before the key's file is made, so that an old .pub does not cost the new .key a write and a removal.
  if (existsSync(pubPath)) throw fileExists(pubPath);
  writeNew(keyPath, encryptPrivateKey(privateKey, password), 0o600);
  try {
    writeNew(pubPath, publicKeyPem(publicKey), 0o644);
  } catch (cause) {
    rmSync(keyPath, { force: true });
    throw cause;
  }
  return { publicKey };
}

function writeNew(path: string, text: string, mode: number): void {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw fileExists(path, undefined, cause);
    throw signError("KEY_WRITE_FAILED", `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } catch (cause) {
    rmSync(path, { force: true });
    throw signError("KEY_WRITE_FAILED", `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  } finally {
    closeSync(fd);
  }
}

/** Bounded by what is read, not by what `stat` says, because a key may come through a pipe. */
/** Whether `path` holds a private key in cosign's format, without opening it. */
export function isPrivateKeyFile(path: string): boolean {
  return readKeyText(path).includes("PRIVATE KEY-----");
}

/**
 * The private key in a file of `key generate` or of cosign 1, 2 or 3. Plain PEM keys are refused: a key
 * that a copy of the file gives away should not sign releases.
 * @throws KEY_NOT_FOUND | KEY_UNREADABLE, and what `parsePrivateKey` throws
 */
export function loadPrivateKey(path: string, password: string): PrivateKey {
  return parsePrivateKey(readKeyText(path), password, `key ${JSON.stringify(path)}`);
}

/** `what` names the key in errors. @throws KEY_MALFORMED | KEY_NOT_ENCRYPTED | KEY_NOT_P256 | KEY_PASSWORD_WRONG */
export function parsePrivateKey(pem: string, password: string, what: string): PrivateKey {
  const [, label, body = ""] = PEM_BLOCK.exec(pem) ?? [];
  if (label === "PRIVATE KEY" || label === "EC PRIVATE KEY" || label === "RSA PRIVATE KEY") {
    throw signError("KEY_NOT_ENCRYPTED", `${what}: a private key without a password`, {
      hints: ["cosign import-key-pair --key FILE encrypts it; then remove the plain file"],
    });
  }
  if (label !== PEM_LABEL && label !== OLD_PEM_LABEL) {
    throw modelError("KEY_MALFORMED", `${what}: not an encrypted Sigstore private key`, {
      hints: ["sealift key generate and cosign generate-key-pair make one"],
    });
  }
  const encrypted = parseEncrypted(body, what);
  const { N, r, p } = encrypted.params;
  const secret = scryptSync(password, encrypted.salt, 32, { N, r, p, maxmem: 256 * N * r });
  let der: Uint8Array;
  try {
    der = xsalsa20poly1305(secret, encrypted.nonce).decrypt(encrypted.ciphertext);
  } catch (cause) {
    // The secretbox's tag fails for a wrong password and for a changed file alike.
    throw signError("KEY_PASSWORD_WRONG", `${what}: the password does not open it, or the file was changed`, { cause });
  }
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
  } catch (cause) {
    throw modelError("KEY_MALFORMED", `${what}: holds no PKCS #8 key`, { cause });
  } finally {
    der.fill(0);
    secret.fill(0);
  }
  requireP256(key, what);
  return key;
}

function parseEncrypted(body: string, what: string) {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body, "base64").toString("utf8"));
  } catch (cause) {
    throw modelError("KEY_MALFORMED", `${what}: its body is not JSON`, { cause });
  }
  const problem = schemaProblem(encryptedSchema, value);
  if (problem !== undefined) throw modelError("KEY_MALFORMED", `${what}: ${problem}`);
  const { kdf, cipher, ciphertext } = value as EncryptedKey;
  const { N, r, p } = kdf.params;
  if (!Number.isInteger(Math.log2(N)) || N * r * p > SCRYPT_NRP_MAX) {
    throw modelError("KEY_MALFORMED", `${what}: scrypt parameters N=${N} r=${r} p=${p} are out of bounds`);
  }
  const parts = {
    params: kdf.params,
    salt: Buffer.from(kdf.salt, "base64"),
    nonce: Buffer.from(cipher.nonce, "base64"),
    ciphertext: Buffer.from(ciphertext, "base64"),
  };
  if (parts.nonce.length !== NONCE_BYTES || parts.ciphertext.length > CIPHERTEXT_MAX_BYTES) {
    throw modelError("KEY_MALFORMED", `${what}: nonce or ciphertext of the wrong size`);
  }
  return parts;
}
