/**
 * The dynamic section of an ELF file (System V ABI, chapters 4 and 5; symbol versions as in the LSB): what
 * it needs from which library. 64-bit little-endian, because both our platforms are.
 */

/** Gives `length` bytes at `offset`; fewer where the file ends. */
export type ReadBytes = (offset: number, length: number) => Buffer;

export interface ElfFile {
  /** e_machine: 62 is x86-64, 183 is AArch64. */
  readonly machine: number;
  /** The program interpreter (ld.so), where there is one. */
  readonly interpreter?: string;
  readonly needed: readonly string[];
  /** DT_RUNPATH or DT_RPATH, split at colons. */
  readonly runPath: readonly string[];
  /** Library → versions of its symbols without which the file does not start. */
  readonly versionsNeeded: ReadonlyMap<string, readonly string[]>;
  readonly versionsDefined: ReadonlySet<string>;
}

const [PT_LOAD, PT_DYNAMIC, PT_INTERP] = [1, 2, 3];
const [DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH] = [1n, 5n, 10n, 15n, 29n];
const [DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM] = [0x6ffffffcn, 0x6ffffffdn, 0x6ffffffen, 0x6fffffffn];
const VER_FLG_WEAK = 2;
const TABLE_MAX_BYTES = 16 * 1024 * 1024;
const ITEMS_MAX = 65_536;

/** Whether `start`, the first bytes of a file, are those of a program or shared library (not of a `.o`). */
export function isElfProgram(start: Buffer): boolean {
  if (start.length < 20 || start.readUInt32BE(0) !== 0x7f454c46) return false;
  const type = start[5] === 2 ? start.readUInt16BE(16) : start.readUInt16LE(16);
  return type === 2 || type === 3;
}

/** @throws RangeError or Error if the file is not a whole 64-bit little-endian ELF file. */
export function parseElf(read: ReadBytes): ElfFile {
  const header = read(0, 64);
  if (header[4] !== 2 || header[5] !== 1) throw new Error("not a 64-bit little-endian ELF file");
  const machine = header.readUInt16LE(18);
  const [entrySize, count] = [header.readUInt16LE(54), header.readUInt16LE(56)];
  if (entrySize < 56) throw new Error("its program headers are too small");
  const table = exactly(read, toNumber(header.readBigUInt64LE(32)), entrySize * count);
  const segments = Array.from({ length: count }, (_, i) => {
    const at = i * entrySize;
    const field = (offset: number): number => toNumber(table.readBigUInt64LE(at + offset));
    return { type: table.readUInt32LE(at), offset: field(8), address: field(16), size: field(32) };
  });
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  const elf = {
    machine,
    ...(interpreter && { interpreter: cString(exactly(read, interpreter.offset, interpreter.size), 0) }),
  };
  if (!dynamic) return { ...elf, needed: [], runPath: [], versionsNeeded: new Map(), versionsDefined: new Set() };

  const tags = readTags(exactly(read, dynamic.offset, dynamic.size));
  const first = (tag: bigint): number | undefined => tags.find(([key]) => key === tag)?.[1];
  const offsetOf = (address: number): number => {
    const segment = segments.find(
      (item) => item.type === PT_LOAD && item.address <= address && address < item.address + item.size,
    );
    if (!segment) throw new Error("a table lies outside its segments");
    return segment.offset + address - segment.address;
  };
  const [strings, stringsSize] = [first(DT_STRTAB), first(DT_STRSZ)];
  if (strings === undefined || stringsSize === undefined) throw new Error("it has no dynamic strings");
  const names = exactly(read, offsetOf(strings), stringsSize);
  const all = (tag: bigint): string[] => tags.filter(([key]) => key === tag).map(([, value]) => cString(names, value));
  const paths = all(DT_RUNPATH).length > 0 ? all(DT_RUNPATH) : all(DT_RPATH);

  const versionsNeeded = new Map<string, string[]>();
  const needAt = first(DT_VERNEED);
  for (const [at, entry] of chain(read, needAt && offsetOf(needAt), first(DT_VERNEEDNUM) ?? 0, 16, 12)) {
    const library = cString(names, entry.readUInt32LE(4));
    const versions = versionsNeeded.get(library) ?? [];
    versionsNeeded.set(library, versions);
    for (const [, version] of chain(read, at + entry.readUInt32LE(8), entry.readUInt16LE(2), 16, 12)) {
      const weak = (version.readUInt16LE(4) & VER_FLG_WEAK) !== 0;
      if (!weak) versions.push(cString(names, version.readUInt32LE(8)));
    }
  }
  const versionsDefined = new Set<string>();
  const definedAt = first(DT_VERDEF);
  for (const [at, entry] of chain(read, definedAt && offsetOf(definedAt), first(DT_VERDEFNUM) ?? 0, 20, 16)) {
    versionsDefined.add(cString(names, exactly(read, at + entry.readUInt32LE(12), 8).readUInt32LE(0)));
  }
  return {
    ...elf,
    needed: all(DT_NEEDED),
    runPath: paths.flatMap((path) => path.split(":")).filter((path) => path !== ""),
    versionsNeeded,
    versionsDefined,
  };
}

/** The records of a list in which each says how far away the next is; 0 ends it. */
function* chain(
  read: ReadBytes,
  start: number | undefined,
  count: number,
  size: number,
  nextOffset: number,
): Generator<[number, Buffer]> {
  if (start === undefined) return;
  let at = start;
  for (let i = 0; i < Math.min(count, ITEMS_MAX); i += 1) {
    const record = exactly(read, at, size);
    yield [at, record];
    const next = record.readUInt32LE(nextOffset);
    if (next === 0) return;
    at += next;
  }
}

function readTags(section: Buffer): [bigint, number][] {
  const tags: [bigint, number][] = [];
  for (let at = 0; at + 16 <= section.length && tags.length < ITEMS_MAX; at += 16) {
    const tag = section.readBigUInt64LE(at);
    if (tag === 0n) break;
    const value = section.readBigUInt64LE(at + 8);
    // Some tags hold no address or size but flags of all 64 bits; none of those is ours.
    tags.push([tag, value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.MAX_SAFE_INTEGER]);
  }
  return tags;
}

function exactly(read: ReadBytes, offset: number, length: number): Buffer {
  if (length > TABLE_MAX_BYTES) throw new Error(`got a table of ${length} bytes, want at most ${TABLE_MAX_BYTES}`);
  const bytes = read(offset, length);
  if (bytes.length !== length) throw new Error("a table lies beyond its end");
  return bytes;
}

function toNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error("an offset is out of range");
  return Number(value);
}

function cString(table: Buffer, offset: number): string {
  const end = table.indexOf(0, offset);
  if (offset >= table.length || end < 0) throw new Error("a name lies outside its table");
  return table.toString("utf8", offset, end);
}
