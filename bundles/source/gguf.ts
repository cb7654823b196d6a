/**
 * Writes GGUF version 3, the file format of models for llama.cpp (ggml's docs/gguf.md): magic, counts,
 * metadata, tensor infos, padding, tensor data. Little-endian; tensors are 32-bit floats. The bytes are a
 * function of what is given.
 */

export type GgufValue =
  | { readonly type: "uint32" | "float32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "float32s" | "int32s"; readonly value: readonly number[] };

export interface GgufTensor {
  readonly name: string;
  /** Innermost first; the product is the length of `data`. */
  readonly dimensions: readonly number[];
  readonly data: Float32Array;
}

const VERSION = 3;
const ALIGNMENT = 32;
const TYPES = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;
const TENSOR_F32 = 0;

export function renderGguf(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Buffer {
  const parts: Buffer[] = [];
  parts.push(Buffer.from("GGUF"), uint32(VERSION), uint64(tensors.length), uint64(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), renderValue(value));
  let offset = 0;
  for (const { name, dimensions, data } of tensors) {
    if (dimensions.reduce((product, size) => product * size, 1) !== data.length) {
      throw new TypeError(`tensor ${name}: ${data.length} values do not fill ${dimensions.join(" x ")}`);
    }
    parts.push(text(name), uint32(dimensions.length), ...dimensions.map(uint64), uint32(TENSOR_F32), uint64(offset));
    offset = aligned(offset + data.length * 4);
  }
  parts.push(padding(parts.reduce((sum, part) => sum + part.length, 0)));
  for (const { data } of tensors) {
    const bytes = Buffer.alloc(data.length * 4);
    for (const [index, value] of data.entries()) bytes.writeFloatLE(value, index * 4);
    parts.push(bytes, padding(bytes.length));
  }
  return Buffer.concat(parts);
}

function renderValue(given: GgufValue): Buffer {
  switch (given.type) {
    case "uint32":
      return Buffer.concat([uint32(TYPES.uint32), uint32(given.value)]);
    case "float32":
      return Buffer.concat([uint32(TYPES.float32), float32(given.value)]);
    case "bool":
      return Buffer.concat([uint32(TYPES.bool), Buffer.from([given.value ? 1 : 0])]);
    case "string":
      return Buffer.concat([uint32(TYPES.string), text(given.value)]);
    case "strings":
      return array(TYPES.string, given.value.map(text));
    case "float32s":
      return array(TYPES.float32, given.value.map(float32));
    case "int32s":
      return array(TYPES.int32, given.value.map(int32));
  }
}

function array(type: number, items: readonly Buffer[]): Buffer {
  return Buffer.concat([uint32(TYPES.array), uint32(type), uint64(items.length), ...items]);
}

/** Length in bytes, then UTF-8. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function float32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function padding(length: number): Buffer {
  return Buffer.alloc(aligned(length) - length);
}
