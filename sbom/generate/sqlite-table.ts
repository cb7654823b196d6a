/**
 * The blobs of one table of an SQLite database (sqlite.org/fileformat2.html), read without SQLite: an
 * image's database is a stranger's bytes, and a schema can hold views and expressions that run for ever
 * (ADR 0026). Every page is read at most once, so work and memory are bounded by the file's size.
 *
 * Not read: a write-ahead log beside the file, tables without row ids, text that is not UTF-8.
 */

const MAGIC = Buffer.from("SQLite format 3\0", "latin1");
const FILE_HEADER_BYTES = 100;
const UTF8 = 1;
const LEAF = 0x0d;
const INTERIOR = 0x05;
/** SQLite's own (BTCURSOR_MAX_DEPTH). */
const DEPTH_MAX = 20;
/** The columns of sqlite_schema: type, name, tbl_name, rootpage, sql. */
const [TYPE, NAME, ROOT_PAGE] = [0, 1, 3];

interface Database {
  readonly bytes: Buffer;
  readonly pageBytes: number;
  readonly usableBytes: number;
  /** One for each page, the first at 1. */
  readonly wasRead: Uint8Array;
}

/**
 * The value of column `column` (0 the first) in each row of `table`, in the order of row ids; the bytes are
 * parts of `bytes` where they lie together in it.
 * @throws RangeError if the database is malformed or has no such table, or the value is no blob.
 */
export function* readTableBlobs(bytes: Buffer, table: string, column: number): Generator<Buffer> {
  const database = openDatabase(bytes);
  const root = findRootPage(database, table);
  for (const record of recordsOf(database, root, 0)) {
    const value = columnOf(record, column);
    if (!Buffer.isBuffer(value)) throw new RangeError(`a row of ${table} has no blob`);
    yield value;
  }
}

function openDatabase(bytes: Buffer): Database {
  if (bytes.length < 512 || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new RangeError("not an SQLite database");
  }
  const stated = bytes.readUInt16BE(16);
  const pageBytes = stated === 1 ? 65_536 : stated;
  const usableBytes = pageBytes - (bytes[20] as number);
  const isPower = pageBytes >= 512 && (pageBytes & (pageBytes - 1)) === 0;
  if (!isPower || usableBytes < 480) throw new RangeError(`a page size of ${pageBytes} bytes`);
  if (bytes.readUInt32BE(56) !== UTF8) throw new RangeError("text that is not UTF-8");
  const pages = Math.floor(bytes.length / pageBytes);
  return { bytes, pageBytes, usableBytes, wasRead: new Uint8Array(pages + 1) };
}

function findRootPage(database: Database, table: string): number {
  for (const record of recordsOf(database, 1, 0)) {
    if (columnOf(record, TYPE) !== "table" || columnOf(record, NAME) !== table) continue;
    const root = columnOf(record, ROOT_PAGE);
    if (typeof root === "number") return root;
  }
  throw new RangeError(`no table ${table}`);
}

/** The page with that number, once. */
function takePage({ bytes, pageBytes, wasRead }: Database, number: number): Buffer {
  if (number < 1 || number >= wasRead.length) throw new RangeError(`page ${number} is not in the file`);
  if (wasRead[number] === 1) throw new RangeError(`page ${number} is used twice`);
  wasRead[number] = 1;
  return bytes.subarray((number - 1) * pageBytes, number * pageBytes);
}

/** The payload of each cell of a table's b-tree. */
function* recordsOf(database: Database, number: number, depth: number): Generator<Buffer> {
  if (depth > DEPTH_MAX) throw new RangeError("the tree of pages is too deep");
  const page = takePage(database, number);
  const start = number === 1 ? FILE_HEADER_BYTES : 0;
  const kind = page[start];
  if (kind !== LEAF && kind !== INTERIOR) throw new RangeError(`page ${number} is none of a table`);
  const cells = page.readUInt16BE(start + 3);
  const pointers = start + (kind === LEAF ? 8 : 12);
  if (pointers + 2 * cells > page.length) throw new RangeError(`page ${number} has too many cells`);
  for (let i = 0; i < cells; i += 1) {
    const at = page.readUInt16BE(pointers + 2 * i);
    if (kind === LEAF) yield payloadAt(database, page, at);
    else yield* recordsOf(database, page.readUInt32BE(at), depth + 1);
  }
  if (kind === INTERIOR) yield* recordsOf(database, page.readUInt32BE(start + 8), depth + 1);
}

/** Fileformat2 section 1.6: how much of a payload is in the page, and the rest in a chain of others. */
function payloadAt(database: Database, page: Buffer, at: number): Buffer {
  const size = readVarint(page, at);
  const start = readVarint(page, size.end).end;
  if (size.value > database.bytes.length) throw new RangeError("a row is larger than the file");
  const usable = database.usableBytes;
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const fitting = least + ((size.value - least) % (usable - 4));
  const most = usable - 35;
  const local = size.value <= most ? size.value : fitting <= most ? fitting : least;
  if (start + local > usable) throw new RangeError("a row reaches beyond its page");
  if (local === size.value) return page.subarray(start, start + local);
  const parts = [page.subarray(start, start + local)];
  let left = size.value - local;
  for (let next = page.readUInt32BE(start + local); left > 0; ) {
    const overflow = takePage(database, next);
    const part = overflow.subarray(4, Math.min(usable, 4 + left));
    parts.push(part);
    left -= part.length;
    next = overflow.readUInt32BE(0);
  }
  return Buffer.concat(parts);
}

/** Section 2.1: a blob or a text, an integer, null, or undefined of a kind that is not needed. */
function columnOf(record: Buffer, column: number): Buffer | string | number | null | undefined {
  const header = readVarint(record, 0);
  let type = { value: 0, end: header.end };
  let at = header.value;
  for (let i = 0; ; i += 1) {
    // A row may lack columns that the table got later.
    if (type.end >= header.value) return null;
    type = readVarint(record, type.end);
    if (i === column) break;
    at += bytesOf(type.value);
  }
  const end = at + bytesOf(type.value);
  if (end > record.length) throw new RangeError("a column reaches beyond its row");
  if (type.value >= 12) {
    const content = record.subarray(at, end);
    return type.value % 2 === 0 ? content : content.toString("utf8");
  }
  if (type.value === 0) return null;
  if (type.value === 8 || type.value === 9) return type.value - 8;
  return type.value >= 1 && type.value <= 5 ? record.readIntBE(at, end - at) : undefined;
}

function bytesOf(serialType: number): number {
  if (serialType >= 12) return Math.floor((serialType - 12) / 2);
  return [0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0][serialType] as number;
}

/** Above 2^53 the value is not exact, and is refused by whoever takes it for a size. */
function readVarint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let i = 0; i < 9; i += 1) {
    const byte = bytes[start + i];
    if (byte === undefined) throw new RangeError("a number reaches beyond its page");
    if (i === 8) return { value: value * 256 + byte, end: start + 9 };
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return { value, end: start + i + 1 };
  }
  throw new RangeError("a number is too long");
}
