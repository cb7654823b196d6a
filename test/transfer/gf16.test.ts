import assert from "node:assert/strict";
import test from "node:test";
import { blockConstants, GROUP_ORDER, inverse, power, product, solve } from "../../bundles/transfer/gf16.ts";
import { TABLE_BYTES, threadKernel, writeTable } from "../../bundles/transfer/gf16-kernel.ts";
import { BLOCKS_PER_PART, recoveryBlocks } from "../../bundles/transfer/split-plan.ts";
import { random } from "../support/faulty-disk.ts";

/** Multiplication as it is defined, bit by bit. */
function slowProduct(a: number, b: number): number {
  let sum = 0;
  for (let bit = 15; bit >= 0; bit--) {
    sum <<= 1;
    if (sum > 0xffff) sum ^= 0x1100b;
    if ((b >> bit) & 1) sum ^= a;
  }
  return sum;
}

test("the field's products are those of its definition, and every element but 0 has its inverse", () => {
  const next = random(1);
  for (let i = 0; i < 20_000; i++) {
    const [a, b] = [Math.floor(next() * 65_536), Math.floor(next() * 65_536)];
    assert.equal(product(a, b), slowProduct(a, b));
    if (a !== 0) assert.equal(product(a, inverse(a)), 1);
  }
  assert.throws(() => inverse(0), RangeError);
});

test("blocks have the constants of the PAR2 specification, in its order", () => {
  // Its section on the generator: 2, 4, 16, 128, 256, 2048, 8192, ...
  assert.deepEqual([...blockConstants(7)], [2, 4, 16, 128, 256, 2048, 8192]);
  const constants = blockConstants(32_768);
  assert.equal(new Set(constants).size, 32_768);
  assert.throws(() => blockConstants(32_769), RangeError);
  assert.equal(power(2, GROUP_ORDER), 1);
});

test("the kernel adds the multiples that the field has", () => {
  const next = random(2);
  const BYTES = 4096;
  const { memory, multiply } = threadKernel(TABLE_BYTES + 2 * BYTES);
  const words = new DataView(memory.buffer);
  for (let i = TABLE_BYTES; i < TABLE_BYTES + 2 * BYTES; i++) memory[i] = next() * 256;
  for (const factor of [0, 1, 2, 0x1234, 0xffff, 0x8000]) {
    const before = Buffer.from(memory);
    writeTable(memory, 0, factor);
    multiply(TABLE_BYTES, TABLE_BYTES + BYTES, BYTES - 64, 0);
    for (let i = 0; i < BYTES; i += 2) {
      const from = before.readUInt16LE(TABLE_BYTES + i);
      const to = before.readUInt16LE(TABLE_BYTES + BYTES + i);
      const want = i < BYTES - 64 ? to ^ slowProduct(factor, from) : to;
      assert.equal(words.getUint16(TABLE_BYTES + BYTES + i, true), want, `factor ${factor}, byte ${i}`);
    }
  }
});

/** Which of `count` things `size` are chosen, each way once. */
function* choices(count: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) yield [];
  for (let i = from; i <= count - size && size > 0; i++) {
    for (const rest of choices(count, size - 1, i + 1)) yield [i, ...rest];
  }
}

/** Whether the parts `lost` follow from the parity files `kept`. */
function canBeMadeAgain(lost: readonly number[], kept: readonly number[], perFile: number): boolean {
  const constants = blockConstants((Math.max(...lost) + 1) * BLOCKS_PER_PART);
  const unknown = lost.flatMap((part) => [...constants.subarray(part * BLOCKS_PER_PART, (part + 1) * BLOCKS_PER_PART)]);
  const exponents = kept.flatMap((file) => Array.from({ length: perFile }, (_, i) => file * perFile + i));
  return solve(unknown, exponents) !== undefined;
}

test("of 16 parts any two and a parity file can be lost where there are three", () => {
  for (const lost of choices(16, 2)) {
    for (const kept of choices(3, 2)) assert.ok(canBeMadeAgain(lost, kept, recoveryBlocks(3)), `${lost}; ${kept}`);
  }
});

test("a pattern of losses that has no solution without a block to spare has one with it", () => {
  assert.equal(canBeMadeAgain([7, 12, 13], [0, 2, 3], BLOCKS_PER_PART), false);
  assert.equal(canBeMadeAgain([7, 12, 13], [0, 2, 3], recoveryBlocks(4)), true);
});
