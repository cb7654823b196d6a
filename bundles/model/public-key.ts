/**
 * Public keys: ECDSA on P-256 and nothing else, because it is the one kind that cosign 2, cosign 3 and
 * sigstore-js all sign and verify alike.
 */
import type { KeyObject } from "node:crypto";
import { modelError } from "./error.ts";

// Not imported, as in digest.ts.
const { createHash, createPublicKey } = process.getBuiltinModule("node:crypto");

const PEM_MAX_LENGTH = 4096;
const PEM = /^\s*-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]+-----END PUBLIC KEY-----\s*$/;

/**
 * The key in `pem`: exactly one PEM block `PUBLIC KEY` (SPKI), nothing beside it. A private key is
 * refused, although its public half could be computed: it should not lie where public keys do.
 * `name` stands in the message.
 * @throws KEY_MALFORMED | KEY_NOT_P256
 */
export function parsePublicKey(pem: string, name: string): KeyObject {
  if (pem.length > PEM_MAX_LENGTH || !PEM.test(pem)) {
    const private_ = pem.includes("PRIVATE KEY-----");
    throw modelError("KEY_MALFORMED", `${name}: ${private_ ? "a private key" : "not one PEM block PUBLIC KEY"}`, {
      hints: private_ ? ["give the .pub file of the pair"] : [],
    });
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw modelError("KEY_MALFORMED", `${name}: not a public key in SPKI form`, { cause });
  }
  requireP256(key, name);
  return key;
}

/** @throws KEY_NOT_P256 unless `key`, public or private, is ECDSA on P-256. */
export function requireP256(key: KeyObject, name: string): void {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === "ec" && curve === "prime256v1") return;
  throw modelError("KEY_NOT_P256", `${name}: got a ${curve ?? key.asymmetricKeyType} key, want ECDSA P-256`, {
    hints: ["sealift key generate --out PREFIX makes a key of the right kind"],
  });
}

export interface KeyNames {
  readonly fingerprint: string;
  readonly hint: string;
}

/** Both names of a key, by one hash. Of a private key: of its public half. */
export function keyNames(key: KeyObject): KeyNames {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const hash = createHash("sha256")
    .update(publicKey.export({ format: "der", type: "spki" }))
    .digest();
  return { fingerprint: hash.toString("hex"), hint: hash.toString("base64") };
}

/**
 * A key's name everywhere in Sealift: SHA-256 of its SubjectPublicKeyInfo in DER, 64 hexadecimal digits,
 * as `openssl pkey -pubin -outform DER | sha256sum` prints it. Of a private key: of its public half.
 */
export function keyFingerprint(key: KeyObject): string {
  return keyNames(key).fingerprint;
}

/** The same hash in base64: what cosign writes as a Sigstore bundle's `publicKey.hint`. */
export function keyHint(key: KeyObject): string {
  return keyNames(key).hint;
}
