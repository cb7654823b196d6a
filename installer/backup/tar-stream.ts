/**
 * A tar as a stream, for GNU tar to unpack by hand: POSIX ustar headers, each rendered from name, size, mode and
 * owner alone, so that reading one means rendering it again and comparing all of it. Plain files only: a backup
 * holds no links, no devices and no directories of its own.
 *
 * A name is at most 255 bytes of printable ASCII, split at a `/` into prefix and name where it is longer than 100.
 */
import { BLOCK_BYTES, paddedSize, renderEnd } from "../../bundles/layout/tar-format.ts";
import { backupError } from "./error.ts";

export interface TarMember {
  readonly path: string;
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  /** User and group. */
  readonly uid: number;
}

const NAME_MAX = 100;
const PREFIX_MAX = 155;
const OCTAL_SIZE_MAX = 8 ** 11 - 1;
const OCTAL_ID_MAX = 8 ** 7 - 1;
/** Relative, no empty, `.` or `..` part, nothing that a shell or a terminal could mistake. */
const PATH = /^(?!\.{1,2}(?:\/|$))[A-Za-z0-9._@%+=,:~-]+(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._@%+=,:~-]+)*$/;

export function isMemberPath(path: string): boolean {
  return PATH.test(path) && splitName(path) !== undefined;
}

function splitName(path: string): readonly [prefix: string, name: string] | undefined {
  if (path.length <= NAME_MAX) return ["", path];
  const slash = path.lastIndexOf("/", PREFIX_MAX);
  if (slash < 0 || path.length - slash - 1 > NAME_MAX) return undefined;
  return [path.slice(0, slash), path.slice(slash + 1)];
}

/** The 512 bytes before a member. */
function memberHeader({ path, size, mode, uid }: TarMember): Buffer {
  const split = isMemberPath(path) ? splitName(path) : undefined;
  if (!split || !Number.isSafeInteger(size) || size < 0 || uid < 0 || uid > OCTAL_ID_MAX || mode > 0o777) {
    throw new TypeError(`not a member of a backup: ${JSON.stringify({ path, size, mode, uid })}`);
  }
  const [prefix, name] = split;
  const header = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, digits: number, at: number): void => {
    header.write(`${value.toString(8).padStart(digits, "0")}\0`, at, "latin1");
  };
  header.write(name, 0, "latin1");
  octal(mode, 7, 100);
  octal(uid, 7, 108);
  octal(uid, 7, 116);
  if (size <= OCTAL_SIZE_MAX) octal(size, 11, 124);
  else {
    // GNU's base-256 form, which GNU tar, Go and node-tar read.
    header.writeBigUInt64BE(BigInt(size), 128);
    header[124] = 0x80;
  }
  octal(0, 11, 136);
  header.write("        ", 148, "latin1");
  header.write("0", 156, "latin1");
  header.write("ustar\0" + "00", 257, "latin1");
  header.write(prefix, 345, "latin1");
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** What a member takes in the tar. */
export function memberBytes(size: number): number {
  return BLOCK_BYTES + paddedSize(size);
}

/** The two zero blocks at the end. */
export const END_BYTES = renderEnd().length;

export function tarEnd(): Buffer {
  return renderEnd();
}

/**
 * Header, content and padding of one member. `content` must give exactly `size` bytes: a file that changed while it
 * was read would shift everything behind it. @throws BACKUP_WRITE_FAILED if it does not, and what `content` throws
 */
export async function* tarMember(member: TarMember, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield memberHeader(member);
  let size = 0;
  for await (const chunk of content) {
    size += chunk.length;
    if (size > member.size) break;
    yield chunk;
  }
  if (size !== member.size) {
    const problem = `it changed while it was read, from ${member.size} bytes`;
    throw backupError("BACKUP_WRITE_FAILED", `source ${JSON.stringify(member.path)}: ${problem}`);
  }
  const padding = paddedSize(size) - size;
  if (padding > 0) yield Buffer.alloc(padding);
}

/** Reads a tar of this form from a stream: `next`, then all of `content`, and so on. */
export class TarReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = Buffer.alloc(0);
  #left = 0;
  #padding = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next member; undefined at the end, behind which nothing may follow. @throws BACKUP_MALFORMED | BACKUP_TRUNCATED */
  async next(): Promise<TarMember | undefined> {
    if (this.#left > 0) throw new TypeError("the content of the member before was not read");
    if (!isZero(await this.#exactly(this.#padding))) throw malformed("padding is not zero");
    this.#padding = 0;
    const block = await this.#exactly(BLOCK_BYTES);
    if (isZero(block)) {
      if (!isZero(await this.#exactly(END_BYTES - BLOCK_BYTES))) throw malformed("the second end block is not zero");
      if ((await this.#some()).length > 0) throw malformed("bytes follow its end");
      return undefined;
    }
    const member = readHeader(block);
    if (!member || !memberHeader(member).equals(block)) throw malformed("a header that Sealift does not write");
    this.#left = member.size;
    this.#padding = paddedSize(member.size) - member.size;
    return member;
  }

  /** @throws BACKUP_TRUNCATED */
  async *content(): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) {
      const chunk = await this.#some();
      if (chunk.length === 0) throw truncated();
      const part = chunk.subarray(0, this.#left);
      this.#rest = chunk.subarray(part.length);
      this.#left -= part.length;
      yield part;
    }
  }

  /** What is there, at least one byte; none at the end of the source. */
  async #some(): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#source.next();
      if (done) return Buffer.alloc(0);
      this.#rest = value;
    }
    return this.#rest;
  }

  async #exactly(length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    for (let filled = 0; filled < length; ) {
      const part = (await this.#some()).subarray(0, length - filled);
      if (part.length === 0) throw truncated();
      bytes.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return bytes;
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function readHeader(block: Buffer): TarMember | undefined {
  const text = (at: number, length: number): string => {
    const field = block.subarray(at, at + length);
    const end = field.indexOf(0);
    return field.subarray(0, end < 0 ? length : end).toString("latin1");
  };
  const octal = (at: number, length: number): number =>
    /^[0-7]+$/.test(text(at, length)) ? Number.parseInt(text(at, length), 8) : Number.NaN;
  const prefix = text(345, PREFIX_MAX);
  const path = prefix === "" ? text(0, NAME_MAX) : `${prefix}/${text(0, NAME_MAX)}`;
  const size = block[124] === 0x80 ? Number(block.readBigUInt64BE(128)) : octal(124, 12);
  const [mode, uid] = [octal(100, 8), octal(108, 8)];
  return isMemberPath(path) && Number.isSafeInteger(size) && mode <= 0o777 && uid <= OCTAL_ID_MAX
    ? { path, size, mode, uid }
    : undefined;
}

function malformed(what: string): Error {
  return backupError("BACKUP_MALFORMED", `the tar in the backup: ${what}`);
}

function truncated(): Error {
  return backupError("BACKUP_TRUNCATED", "the tar in the backup ends before its end");
}
