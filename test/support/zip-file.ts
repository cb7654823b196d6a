/** Makes ZIP archives, whole ones and such as a scan must refuse. */
import { crc32, deflateRawSync } from "node:zlib";

export interface ZipParts {
  readonly name: string;
  readonly content: string | Buffer;
  readonly isStored?: boolean;
}

export function zipFile(members: readonly ZipParts[]): Buffer {
  return Buffer.concat([...zipChunks(members)]);
}

/** The archive piece by piece, for one that is larger than memory; ZIP64's end where it has more than 65,535 members. */
export function* zipChunks(members: Iterable<ZipParts>): Generator<Buffer> {
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name, content, isStored } of members) {
    const bytes = Buffer.from(content);
    const data = isStored ? bytes : deflateRawSync(bytes);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(isStored ? 0 : 8, 4);
    fields.writeUInt32LE(crc32(bytes), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(bytes.length, 18);
    fields.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), fields, Buffer.from(name), data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    central.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), fields, tail, Buffer.from(name)]));
    yield local;
    offset += local.length;
  }
  const directory = Buffer.concat(central);
  yield directory;
  const isWide = central.length >= 0xffff;
  if (isWide) yield wideEnd(central.length, directory.length, offset);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(isWide ? 0xffff : central.length, 4);
  end.writeUInt16LE(isWide ? 0xffff : central.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  yield Buffer.concat([Buffer.from("PK\x05\x06"), end]);
}

function wideEnd(count: number, directoryBytes: number, offset: number): Buffer {
  const end = Buffer.alloc(56);
  end.write("PK\x06\x06", 0, "latin1");
  end.writeBigUInt64LE(44n, 4);
  end.writeUInt16LE(45, 12);
  end.writeUInt16LE(45, 14);
  end.writeBigUInt64LE(BigInt(count), 24);
  end.writeBigUInt64LE(BigInt(count), 32);
  end.writeBigUInt64LE(BigInt(directoryBytes), 40);
  end.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.write("PK\x06\x07", 0, "latin1");
  locator.writeBigUInt64LE(BigInt(offset + directoryBytes), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([end, locator]);
}
