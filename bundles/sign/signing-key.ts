/**
 * What signs: a private key in memory, or a command of the key's owner that signs with a key which nobody can
 * read (a PKCS #11 token, an HSM, a signing service). Sealift knows no PKCS #11 itself: the tools that speak to
 * tokens are others', and better known to those who guard one.
 */
import { spawnSync } from "node:child_process";
import { KeyObject, sign, verify } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";
import { signError } from "./error.ts";
import type { PrivateKey, PublicKey } from "./key-file.ts";

/** A key that only `command` can use. */
export interface ExternalKey {
  readonly publicKey: PublicKey;
  /**
   * A line for `sh`. On standard input it gets the bytes to sign; on standard output it must give the ECDSA
   * signature over their SHA-256, in DER or as 64 bytes r and s. What it asks its user it asks on the terminal.
   */
  readonly command: string;
}

export type SigningKey = PrivateKey | ExternalKey;

const RAW_SIGNATURE_BYTES = 64;
const OUTPUT_MAX_BYTES = 64 * 1024;

/** The key for hints and fingerprints. */
export function hintedKey(key: SigningKey): KeyObject {
  return key instanceof KeyObject ? key : key.publicKey;
}

/** ECDSA in DER over the SHA-256 of `bytes`. @throws SIGNER_FAILED, also for a signature that is another key's */
export function signBytes(key: SigningKey, bytes: Buffer): Buffer {
  return key instanceof KeyObject ? sign("sha256", bytes, key) : signByCommand(key, bytes);
}

function signByCommand({ publicKey, command }: ExternalKey, bytes: Buffer): Buffer {
  const refuse = (what: string, cause?: unknown): never => {
    throw signError("SIGNER_FAILED", `signer command ${JSON.stringify(command)}: ${what}`, { cause });
  };
  const { status, signal, stdout, error } = spawnSync("sh", ["-c", command], {
    input: bytes,
    maxBuffer: OUTPUT_MAX_BYTES,
    stdio: ["pipe", "pipe", "inherit"],
  });
  if (error) refuse(error.message, error);
  if (status !== 0) refuse(`ended with ${status ?? signal}`);
  const signature = stdout.length === RAW_SIGNATURE_BYTES ? derOf(stdout) : stdout;
  try {
    if (verify("sha256", bytes, publicKey, signature)) return signature;
  } catch (cause) {
    return refuse("gave no ECDSA signature", cause);
  }
  return refuse("gave a signature that does not hold with the public key");
}

/** A DER signature of P-256 has 68 to 72 bytes nearly always, and never 64 where both numbers are of full length. */
function derOf(raw: Buffer): Buffer {
  try {
    return Buffer.from(p256.Signature.fromBytes(raw, "compact").toBytes("der"));
  } catch {
    return raw;
  }
}
