/**
 * The envelope of a backup: the age format (C2SP age, age-encryption.org/v1), which `age` itself opens. X25519
 * recipients only, as every age since 1.0 knows them. 64 KiB chunks, each sealed and numbered and the last one
 * marked: a changed, moved, lost or added byte does not open. Nothing says who made the file.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { backupError } from "./error.ts";

/** The text of a file of recipients or identities has at most so many bytes. */
export const KEY_FILE_MAX_BYTES = 64 * 1024;
const READ_BYTES = 256 * 1024;
/** Far more than any number of recipients takes. The library reads a header into memory as long as it does not end. */
const HEADER_MAX_BYTES = 1024 * 1024;
const RECIPIENTS_MAX = 32;
const IDENTITY = /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/;
/** Bech32 without its checksum: whether that holds `recipientsIn` sees. */
export const RECIPIENT_PATTERN = "^age1[02-9ac-hj-np-z]{58}$";

/** A new key pair: who has `identity` opens what was sealed for `recipient`. */
export async function makeBackupKey(): Promise<{ readonly identity: string; readonly recipient: string }> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** The lines of a file as age reads it: one key a line, `#` begins a comment. */
function keyLines(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** As `age -R` takes them, sorted, each once. @throws BACKUP_RECIPIENT_MALFORMED */
export function recipientsIn(text: string, name: string): string[] {
  const malformed = (problem: string): Error =>
    backupError("BACKUP_RECIPIENT_MALFORMED", `recipients ${JSON.stringify(name)}: ${problem}`, {
      hints: ["one line `age1…` for each key that shall open backups; `sealift key generate --backup` makes one"],
    });
  if (/AGE-SECRET-KEY-/i.test(text)) throw malformed("holds a secret key, which must stay off this machine");
  const lines = [...new Set(keyLines(text))].sort();
  if (lines.length === 0) throw malformed("there is none");
  if (lines.length > RECIPIENTS_MAX) throw malformed(`got ${lines.length}, want at most ${RECIPIENTS_MAX}`);
  for (const line of lines) {
    if (!new RegExp(RECIPIENT_PATTERN).test(line) || !isRecipient(line)) throw malformed(`got ${JSON.stringify(line)}`);
  }
  return lines;
}

function isRecipient(line: string): boolean {
  try {
    new Encrypter().addRecipient(line);
    return true;
  } catch {
    return false;
  }
}

/** As `age -i` takes them, but none that is itself encrypted or on a token. @throws BACKUP_KEY_MALFORMED */
export function identitiesIn(text: string, name: string): string[] {
  const lines = keyLines(text);
  const usable = lines.length > 0 && lines.every((line) => IDENTITY.test(line) && isIdentity(line));
  if (usable) return lines;
  throw backupError("BACKUP_KEY_MALFORMED", `identity ${JSON.stringify(name)}: got no age secret key`, {
    hints: [
      "give the file with the line AGE-SECRET-KEY-1…, not the .pub beside it",
      "of a key that age keeps under a passphrase: age -d NAME.age >/dev/shm/NAME.key, and remove it afterwards",
    ],
  });
}

function isIdentity(line: string): boolean {
  try {
    new Decrypter().addIdentity(line);
    return true;
  } catch {
    return false;
  }
}

/** `plain` sealed for `recipients`, chunk by chunk. @throws what `plain` throws */
export async function* sealed(
  recipients: readonly string[],
  plain: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  yield* await encrypter.encrypt(webStream(plain));
}

/** A backup that is being read. */
export interface OpenedFile {
  /** How many there are if nothing is missing; undefined if something must be. */
  readonly plainBytes: number | undefined;
  readonly plain: AsyncIterable<Uint8Array>;
}

/**
 * Opens `path` with one of `identities`. @throws BACKUP_UNREADABLE | BACKUP_MALFORMED if it is no age file |
 * BACKUP_KEY_WRONG; from `plain` BACKUP_DAMAGED | BACKUP_TRUNCATED | BACKUP_UNREADABLE
 */
export async function openSealed(path: string, identities: readonly string[]): Promise<OpenedFile> {
  const { bytes, size } = openBytes(path);
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  const read = { bytes: 0, isHeader: true };
  const counted = counting(bytes, read, path);
  try {
    const stream = await decrypter.decrypt(webStream(counted));
    read.isHeader = false;
    return { plainBytes: plainSize(stream, size), plain: told(stream, () => damage(path, read.bytes, size)) };
  } catch (cause) {
    await counted.return(undefined);
    if (cause instanceof SealiftError) throw cause;
    const name = JSON.stringify(path);
    if (/no identity matched/.test(reasonOf(cause))) {
      throw backupError("BACKUP_KEY_WRONG", `${name}: none of the keys given opens it`, {
        cause,
        hints: ["sealift operator list names the public keys for which this site's backups are sealed now"],
      });
    }
    throw backupError("BACKUP_MALFORMED", `${name}: not a backup: ${reasonOf(cause)}`, { cause });
  }
}

/** Undefined if no whole file has this many bytes. */
function plainSize(stream: { size(bytes: number): number }, bytes: number): number | undefined {
  try {
    return stream.size(bytes);
  } catch {
    return undefined;
  }
}

/** Between damage and a missing end age sees no difference; only at the end of the file it may be the latter. */
function damage(path: string, read: number, size: number): Error {
  const name = JSON.stringify(path);
  const hints = ["copy it again from where it was kept; sha256sum against the ledger's entry backup-made tells"];
  if (read < size) return backupError("BACKUP_DAMAGED", `${name}: damaged before byte ${read} of ${size}`, { hints });
  return backupError("BACKUP_TRUNCATED", `${name}: cut off, or damaged within its last 64 KiB`, { hints });
}

async function* told(stream: AsyncIterable<Uint8Array>, say: () => Error): AsyncGenerator<Uint8Array> {
  try {
    yield* stream;
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
    throw Object.assign(say(), { cause });
  }
}

async function* counting(
  bytes: AsyncIterable<Uint8Array>,
  read: { bytes: number; readonly isHeader: boolean },
  path: string,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    read.bytes += chunk.length;
    if (read.isHeader && read.bytes > HEADER_MAX_BYTES + READ_BYTES) {
      throw backupError("BACKUP_MALFORMED", `${JSON.stringify(path)}: not a backup: its header does not end`);
    }
    yield chunk;
  }
}

/** Opened once: nobody can put another file in its place meanwhile. @throws BACKUP_UNREADABLE */
function openBytes(path: string): { readonly bytes: AsyncIterable<Uint8Array>; readonly size: number } {
  const unreadable = (cause: unknown): Error =>
    backupError("BACKUP_UNREADABLE", `source ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  let fd: number;
  let size: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      closeSync(fd);
      throw new TypeError("not a regular file");
    }
    size = stat.size;
  } catch (cause) {
    throw unreadable(cause);
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (let at = 0; ; ) {
        const chunk = Buffer.allocUnsafe(READ_BYTES);
        const got = readSync(fd, chunk, 0, chunk.length, at);
        if (got === 0) return;
        at += got;
        yield chunk.subarray(0, got);
      }
    } catch (cause) {
      throw cause instanceof SealiftError ? cause : unreadable(cause);
    } finally {
      closeSync(fd);
    }
  }
  return { bytes: chunks(), size };
}

function webStream(chunks: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const source = chunks[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await source.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: async () => {
      await source.return?.();
    },
  });
}
