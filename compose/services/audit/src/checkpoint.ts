/**
 * The log's signed head: a C2SP checkpoint (tlog-checkpoint) in a C2SP signed note with one Ed25519
 * signature. The key's name in the note is the log's origin.
 */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { HASH_BYTES, sha256 } from "./merkle.ts";

export interface Checkpoint {
  readonly size: number;
  readonly root: Buffer;
}

/** Signs and reads the checkpoints of one log. */
export interface CheckpointSigner {
  readonly origin: string;
  readonly privateKey: KeyObject;
}

/** A name as signed notes allow it, kept to characters that need no thought. */
export const ORIGIN = /^[A-Za-z0-9][A-Za-z0-9./_-]{0,127}$/;

const ED25519 = 0x01;
const KEY_ID_BYTES = 4;
const CHECKPOINT_MAX_BYTES = 64 * 1024;

/** The 32 bytes of an Ed25519 public key, which end its DER form. */
function rawPublicKey(key: KeyObject): Buffer {
  return createPublicKey(key.export({ format: "pem", type: key.type === "private" ? "pkcs8" : "spki" }))
    .export({ format: "der", type: "spki" })
    .subarray(-32);
}

function keyId(origin: string, publicKey: Buffer): Buffer {
  return sha256(Buffer.concat([Buffer.from(`${origin}\n`), Buffer.of(ED25519), publicKey])).subarray(0, KEY_ID_BYTES);
}

/** The key as other verifiers of signed notes take it: `<origin>+<key id>+<base64 of type and key>`. */
export function verifierKey({ origin, privateKey }: CheckpointSigner): string {
  const key = rawPublicKey(privateKey);
  const encoded = Buffer.concat([Buffer.of(ED25519), key]).toString("base64");
  return `${origin}+${keyId(origin, key).toString("hex")}+${encoded}`;
}

export function signCheckpoint({ origin, privateKey }: CheckpointSigner, { size, root }: Checkpoint): Buffer {
  const text = Buffer.from(`${origin}\n${size}\n${root.toString("base64")}\n`);
  const signature = Buffer.concat([keyId(origin, rawPublicKey(privateKey)), sign(null, text, privateKey)]);
  return Buffer.concat([text, Buffer.from(`\n\u2014 ${origin} ${signature.toString("base64")}\n`)]);
}

/** What is wrong with a checkpoint that the log should have written itself. */
export class CheckpointError extends Error {}

/**
 * The checkpoint in `note` if this log's key signed it for this origin; signatures of others are allowed
 * and not looked at. @throws CheckpointError
 */
export function readCheckpoint({ origin, privateKey }: CheckpointSigner, note: Buffer): Checkpoint {
  if (note.length > CHECKPOINT_MAX_BYTES) throw new CheckpointError("the checkpoint is too long");
  const end = note.lastIndexOf("\n\n") + 1;
  const text = note.subarray(0, end);
  const lines = text.toString("utf8").split("\n");
  const [name, digits = "", hash = ""] = lines;
  if (lines.length !== 4 || name !== origin) throw new CheckpointError("the checkpoint is of another log");
  const size = Number(digits);
  const root = Buffer.from(hash, "base64");
  if (!/^(?:0|[1-9]\d{0,14})$/.test(digits) || root.length !== HASH_BYTES || root.toString("base64") !== hash) {
    throw new CheckpointError("the checkpoint is malformed");
  }
  const publicKey = createPublicKey(privateKey.export({ format: "pem", type: "pkcs8" }));
  const id = keyId(origin, rawPublicKey(privateKey));
  const ours = note
    .subarray(end + 1)
    .toString("utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([dash, signer]) => dash === "\u2014" && signer === origin)
    .map(([, , signature = ""]) => Buffer.from(signature, "base64"))
    .filter((signature) => signature.subarray(0, KEY_ID_BYTES).equals(id));
  if (ours.length === 0) throw new CheckpointError("the checkpoint is signed by another key");
  if (!ours.every((signature) => verify(null, text, publicKey, signature.subarray(KEY_ID_BYTES)))) {
    throw new CheckpointError("the checkpoint's signature does not hold");
  }
  return { size, root };
}
