import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { renderGguf } from "../../bundles/source/gguf.ts";
import { renderTestModel } from "../../bundles/source/test-model.ts";

interface ReadModel {
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: readonly { name: string; dimensions: number[]; type: number; start: number }[];
}

/** A reader of its own, after ggml's docs/gguf.md. */
function readGguf(bytes: Buffer): ReadModel {
  let at = 4;
  const take = (length: number): Buffer => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const uint32 = (): number => take(4).readUInt32LE();
  const uint64 = (): number => Number(take(8).readBigUInt64LE());
  const text = (): string => take(uint64()).toString("utf8");
  const value = (type: number): unknown => {
    if (type === 4) return uint32();
    if (type === 5) return take(4).readInt32LE();
    if (type === 6) return take(4).readFloatLE();
    if (type === 7) return take(1)[0] === 1;
    if (type === 8) return text();
    assert.equal(type, 9);
    const inner = uint32();
    return Array.from({ length: uint64() }, () => value(inner));
  };
  assert.equal(bytes.toString("latin1", 0, 4), "GGUF");
  assert.equal(uint32(), 3);
  const [tensorCount, valueCount] = [uint64(), uint64()];
  const metadata = new Map<string, unknown>();
  for (let index = 0; index < valueCount; index += 1) metadata.set(text(), value(uint32()));
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text();
    const dimensions = Array.from({ length: uint32() }, uint64);
    return { name, dimensions, type: uint32(), offset: uint64() };
  });
  const data = Math.ceil(at / 32) * 32;
  return { metadata, tensors: infos.map(({ offset, ...info }) => ({ ...info, start: data + offset })) };
}

test("the test model is the same bytes everywhere, and says what it is", () => {
  const bytes = renderTestModel();
  // Changes only with the writer: then releases get another model, and this line says so.
  assert.equal(
    createHash("sha256").update(bytes).digest("hex"),
    "4c8b4138fd22a5f3b879ac0dba0893a81a25d14fc53f30c2ecf34af3a80b2e23",
  );
  const { metadata, tensors } = readGguf(bytes);
  assert.equal(metadata.get("general.name"), "sealift-test-model");
  assert.match(String(metadata.get("general.description")), /random weights.*never trained.*gibberish/);
  const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  assert.equal(new Set(tokens).size, tokens.length);
  assert.deepEqual(tokens.slice(0, 4), ["<unk>", "<s>", "</s>", "<0x00>"]);
  assert.equal((metadata.get("tokenizer.ggml.token_type") as number[]).length, tokens.length);
  let end = 0;
  for (const { name, dimensions, type, start } of tensors) {
    assert.equal(type, 0, name);
    assert.equal(start % 32, 0, name);
    const count = dimensions.reduce((product, size) => product * size, 1);
    end = start + count * 4;
    assert.ok(end <= bytes.length, name);
    for (let index = 0; index < count; index += 97) assert.ok(Number.isFinite(bytes.readFloatLE(start + index * 4)));
  }
  assert.equal(Math.ceil(end / 32) * 32, bytes.length, "nothing behind the last tensor");
});

test("a GGUF file holds every kind of value as it was given", () => {
  const bytes = renderGguf(
    {
      "a.number": { type: "uint32", value: 4_294_967_295 },
      "a.float": { type: "float32", value: -0.5 },
      "a.truth": { type: "bool", value: true },
      "a.text": { type: "string", value: "ä\n" },
      "a.texts": { type: "strings", value: ["", "x"] },
      "a.floats": { type: "float32s", value: [1.5, -2] },
      "a.ints": { type: "int32s", value: [-1, 7] },
    },
    [
      { name: "one", dimensions: [3], data: Float32Array.of(1, 2, 3) },
      { name: "two", dimensions: [2, 1], data: Float32Array.of(4, 5) },
    ],
  );
  const { metadata, tensors } = readGguf(bytes);
  assert.deepEqual([...metadata.values()], [4_294_967_295, -0.5, true, "ä\n", ["", "x"], [1.5, -2], [-1, 7]]);
  assert.deepEqual(
    tensors.map(({ name, dimensions, start }) => [name, dimensions, bytes.readFloatLE(start)]),
    [
      ["one", [3], 1],
      ["two", [2, 1], 4],
    ],
  );
  assert.throws(
    () => renderGguf({}, [{ name: "x", dimensions: [2, 2], data: new Float32Array(3) }]),
    /do not fill 2 x 2/,
  );
});
