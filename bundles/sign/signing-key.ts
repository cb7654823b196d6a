/**
 * What signs: a private key in memory, or a command of the key's owner that signs with a key which nobody can
 * read (a PKCS #11 token, an HSM, a signing service). Sealift knows no PKCS #11 itself: the tools that speak to
 * tokens are others', and better known to those who guard one.
 */
import { spawnSync } from "node:child_process";
import { KeyObject, sign, verify } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { p256 } from "@noble/curves/nist.js";
import { signError } from "./error.ts";
import type { PrivateKey } from "./key-file.ts";
import type { PublicKey } from "./public-key-file.ts";

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
/** A signature has at most 72; what is more is none. */
const OUTPUT_MAX_BYTES = 1024;

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
  const { failure, output } = runOverFiles(command, bytes);
  if (failure !== undefined) refuse(failure);
  const signature = output.length === RAW_SIGNATURE_BYTES ? derOf(output) : output;
  try {
    if (verify("sha256", bytes, publicKey, signature)) return signature;
  } catch (cause) {
    return refuse("gave no ECDSA signature", cause);
  }
  return refuse("gave a signature that does not hold with the public key");
}

/**
 * Standard input and output are files and no pipes: Node's pipes are sockets, which a command that opens
 * /dev/stdin or /dev/stdout, as pkcs11-tool has to, cannot open.
 */
function runOverFiles(command: string, input: Buffer): { readonly failure?: string; readonly output: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), "sealift-signer-"));
  const [inPath, outPath] = [join(directory, "in"), join(directory, "out")];
  const fds: number[] = [];
  try {
    writeFileSync(inPath, input);
    fds.push(openSync(inPath, "r"), openSync(outPath, "w+"));
    const [stdin, stdout] = fds as [number, number];
    const { status, signal, error } = spawnSync("sh", ["-c", command], { stdio: [stdin, stdout, "inherit"] });
    const output = Buffer.alloc(OUTPUT_MAX_BYTES);
    const length = readSync(stdout, output, 0, OUTPUT_MAX_BYTES, 0);
    const failure = error?.message ?? (status === 0 ? undefined : `ended with ${status ?? signal}`);
    return { ...(failure !== undefined && { failure }), output: output.subarray(0, length) };
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A DER signature of P-256 has 68 to 72 bytes nearly always, and never 64 where both numbers are of full length. */
function derOf(raw: Buffer): Buffer {
  try {
    return Buffer.from(p256.Signature.fromBytes(raw, "compact").toBytes("der"));
  } catch {
    return raw;
  }
}
