/** Shared libraries and programs of a few hundred bytes with a dynamic section and nothing else. */

export interface SmallElf {
  readonly machine?: number;
  readonly interpreter?: string;
  readonly needed?: readonly string[];
  readonly runPath?: string;
  /** Library → version of its symbols. */
  readonly needsVersion?: readonly [string, string];
  readonly definesVersion?: string;
}

const BASE = 0x1000;

export function smallElf(elf: SmallElf = {}): Buffer {
  const strings = ["\0"];
  const at = (text: string): bigint => {
    const offset = strings.join("").length;
    strings.push(`${text}\0`);
    return BigInt(offset);
  };
  const tags: [bigint, bigint][] = (elf.needed ?? []).map((name) => [1n, at(name)]);
  if (elf.runPath !== undefined) tags.push([29n, at(elf.runPath)]);
  const interpreter = Buffer.from(elf.interpreter === undefined ? "" : `${elf.interpreter}\0`);
  const need = Buffer.alloc(elf.needsVersion ? 32 : 0);
  if (elf.needsVersion) {
    need.writeUInt16LE(1, 0);
    need.writeUInt16LE(1, 2);
    need.writeUInt32LE(Number(at(elf.needsVersion[0])), 4);
    need.writeUInt32LE(16, 8);
    need.writeUInt32LE(Number(at(elf.needsVersion[1])), 24);
  }
  const defined = Buffer.alloc(elf.definesVersion === undefined ? 0 : 28);
  if (elf.definesVersion !== undefined) {
    defined.writeUInt16LE(1, 0);
    defined.writeUInt16LE(1, 6);
    defined.writeUInt32LE(20, 12);
    defined.writeUInt32LE(Number(at(elf.definesVersion)), 20);
  }
  const table = Buffer.from(strings.join(""));
  const headers = 64 + 3 * 56;
  const [interpreterAt, needAt] = [headers, headers + interpreter.length];
  const definedAt = needAt + need.length;
  const stringsAt = definedAt + defined.length;
  const dynamicAt = stringsAt + table.length;
  tags.push([5n, BigInt(BASE + stringsAt)], [10n, BigInt(table.length)]);
  if (need.length > 0) tags.push([0x6ffffffen, BigInt(BASE + needAt)], [0x6fffffffn, 1n]);
  if (defined.length > 0) tags.push([0x6ffffffcn, BigInt(BASE + definedAt)], [0x6ffffffdn, 1n]);
  tags.push([0n, 0n]);
  const dynamic = Buffer.alloc(tags.length * 16);
  for (const [i, [tag, value]] of tags.entries()) {
    dynamic.writeBigUInt64LE(tag, i * 16);
    dynamic.writeBigUInt64LE(value, i * 16 + 8);
  }
  const total = dynamicAt + dynamic.length;
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(elf.machine ?? 62, 18);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(interpreter.length > 0 ? 3 : 2, 56);
  const segments = Buffer.concat([
    segment(1, 0, total),
    segment(2, dynamicAt, dynamic.length),
    segment(3, interpreterAt, interpreter.length),
  ]);
  return Buffer.concat([header, segments, interpreter, need, defined, table, dynamic]);
}

function segment(type: number, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(56);
  bytes.writeUInt32LE(type, 0);
  bytes.writeBigUInt64LE(BigInt(offset), 8);
  bytes.writeBigUInt64LE(BigInt(BASE + offset), 16);
  bytes.writeBigUInt64LE(BigInt(size), 32);
  return bytes;
}
