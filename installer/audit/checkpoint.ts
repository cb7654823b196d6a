/**
 * Reading a log's signed head: C2SP tlog-checkpoint in a C2SP signed note, with Ed25519. Written apart from
 * the audit service, which makes it: two that agree say more than one.
 */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { auditError } from "./error.ts";

export const CHECKPOINT_MAX_BYTES = 64 * 1024;

export interface Checkpoint {
  /** The log's name. */
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Buffer;
  readonly signatures: readonly NoteSignature[];
  /** What is signed. */
  readonly text: Buffer;
}

export interface NoteSignature {
  readonly name: string;
  /** Eight hexadecimal digits that hint at the key. */
  readonly keyId: string;
  readonly signature: Buffer;
}

/** An Ed25519 key that a log signs with. */
export interface LogKey {
  readonly publicKey: KeyObject;
  /** If the key came as a signed note's verifier key, the log's name in it. */
  readonly origin: string | undefined;
}

const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const VERIFIER_KEY = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/;

/**
 * A public key: PEM (SPKI), or a signed note's verifier key `<name>+<id>+<base64>`, one line. `name` stands
 * in the message. @throws AUDIT_KEY_MALFORMED, also for a private key and for other algorithms
 */
export function parseLogKey(text: string, name: string): LogKey {
  const malformed = (problem: string, cause?: unknown): Error =>
    auditError("AUDIT_KEY_MALFORMED", `key ${JSON.stringify(name)}: ${problem}`, {
      cause,
      hints: ["give the log's public key: an Ed25519 key in PEM, or one line `name+id+key`"],
    });
  const [, origin, id, encoded] = VERIFIER_KEY.exec(text.trim()) ?? [];
  if (text.includes("PRIVATE KEY")) throw malformed("a private key, which should not leave the log");
  try {
    const bytes = Buffer.from(encoded ?? "", "base64");
    if (origin !== undefined && bytes[0] !== 1) throw malformed("want type 1, Ed25519");
    const publicKey = createPublicKey(
      origin === undefined
        ? text
        : { key: Buffer.concat([SPKI_PREFIX, bytes.subarray(1)]), format: "der", type: "spki" },
    );
    if (publicKey.asymmetricKeyType !== "ed25519") throw malformed(`got ${publicKey.asymmetricKeyType}, want Ed25519`);
    if (origin !== undefined && id !== keyIdOf(origin, publicKey)) throw malformed("its id is not the one of its key");
    return { publicKey, origin };
  } catch (cause) {
    throw (cause as { code?: unknown }).code === "AUDIT_KEY_MALFORMED" ? cause : malformed("not a public key", cause);
  }
}

/** The first four bytes of SHA-256 over name, newline, key type and key, in hexadecimal. */
function keyIdOf(name: string, publicKey: KeyObject): string {
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(SPKI_PREFIX.length);
  return createHash("sha256").update(`${name}\n\x01`).update(raw).digest("hex").slice(0, 8);
}

/**
 * The parts of a checkpoint; no signature is checked. Extension lines are allowed. `name` stands in the
 * message. @throws AUDIT_CHECKPOINT_MALFORMED
 */
export function parseCheckpoint(note: Buffer, name: string): Checkpoint {
  const malformed = (problem: string): Error =>
    auditError("AUDIT_CHECKPOINT_MALFORMED", `checkpoint ${JSON.stringify(name)}: ${problem}`);
  const whole = note.toString("utf8");
  if (!Buffer.from(whole).equals(note)) throw malformed("not UTF-8");
  if ([...whole].some((character) => character < " " && character !== "\n")) throw malformed("a control character");
  const split = whole.lastIndexOf("\n\n");
  if (split < 0 || !whole.endsWith("\n")) throw malformed("not a signed note");
  const [origin = "", size = "", root = "", ...extensions] = whole.slice(0, split).split("\n");
  if (origin === "" || extensions.includes("")) throw malformed("an empty line");
  if (!/^(?:0|[1-9]\d{0,14})$/.test(size)) throw malformed(`got size ${JSON.stringify(size)}, want a number`);
  if (!/^[A-Za-z0-9+/]{43}=$/.test(root)) throw malformed("the root is not 32 bytes in base64");
  const lines = whole.slice(split + 2, -1).split("\n");
  const signatures = lines.map((line): NoteSignature => {
    const [, signer = "", encoded = ""] = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? [];
    const bytes = Buffer.from(encoded, "base64");
    if (bytes.length < 5 || bytes.toString("base64") !== encoded)
      throw malformed("a line behind the text is not a signature");
    return { name: signer, keyId: bytes.toString("hex", 0, 4), signature: bytes.subarray(4) };
  });
  const text = Buffer.from(whole.slice(0, split + 1));
  return { origin, size: Number(size), root: Buffer.from(root, "base64"), signatures, text };
}

/**
 * Checks that `key` signed `checkpoint` as the log of the checkpoint's own name. Signatures of others, such
 * as witnesses, are not looked at. @throws AUDIT_SIGNATURE_INVALID
 */
export function requireSignature(checkpoint: Checkpoint, key: LogKey, name: string): void {
  const { origin, signatures, text } = checkpoint;
  const invalid = (problem: string): Error =>
    auditError("AUDIT_SIGNATURE_INVALID", `checkpoint ${JSON.stringify(name)}: ${problem}`, {
      hints: ["keep the directory as evidence; compare the key with the one that the site was installed with"],
    });
  if (key.origin !== undefined && key.origin !== origin) {
    throw invalid(`got a log named ${JSON.stringify(origin)}, want ${JSON.stringify(key.origin)}`);
  }
  const keyId = keyIdOf(origin, key.publicKey);
  const own = signatures.filter((signature) => signature.name === origin && signature.keyId === keyId);
  if (own.length === 0)
    throw invalid(`no signature of key ${keyId}, but of ${signatures.map(({ keyId }) => keyId).join(", ")}`);
  if (!own.every(({ signature }) => verify(null, text, key.publicKey, signature))) {
    throw invalid("the signature does not hold: the checkpoint was changed or made by somebody else");
  }
}
