/**
 * The inner loop of parity, `to += factor × from` over a run of bytes, as a WebAssembly function of some
 * sixty instructions. They stand here as source and are put together when this is loaded: JavaScript needs
 * six times as long for them, and a native module would have to be built.
 *
 * The multiplication is that of Plank, Greenan and Miller, "Screaming Fast Galois Field Arithmetic Using
 * Intel SIMD Instructions" (FAST 2013): a 16-bit element is four nibbles, the product of each with the
 * factor is looked up in a table of 16, for 16 elements at once. Elements are little-endian, as in PAR2.
 */
import { product } from "./gf16.ts";

/** What the tables of one factor take: for each nibble 16 low bytes, then for each nibble 16 high bytes. */
export const TABLE_BYTES = 128;
/** Runs are a multiple of this long and lie at any address. */
export const STEP_BYTES = 32;

/** Adds `factor ×` the `length` bytes at `from` to those at `to`; all are offsets into the kernel's memory. */
export type Multiply = (from: number, to: number, length: number, table: number) => void;

export interface Kernel {
  readonly memory: Uint8Array;
  readonly multiply: Multiply;
}

const PAGE_BYTES = 65_536;
let memory: WebAssembly.Memory | undefined;
let multiply: Multiply | undefined;

/**
 * This thread's kernel, with at least `bytes` bytes of memory that hold anything. There is one: each memory takes
 * gigabytes of address space.
 */
export function threadKernel(bytes: number): Kernel {
  memory ??= new WebAssembly.Memory({ initial: 1 });
  const lacking = Math.ceil((bytes - memory.buffer.byteLength) / PAGE_BYTES);
  if (lacking > 0) memory.grow(lacking);
  multiply ??= new WebAssembly.Instance(COMPILED, { kernel: { memory } }).exports["multiply"] as Multiply;
  return { memory: new Uint8Array(memory.buffer), multiply };
}

/** Writes the tables of `factor` to `at` of the kernel's memory. */
export function writeTable(memory: Uint8Array, at: number, factor: number): void {
  for (let nibble = 0; nibble < 4; nibble++) {
    for (let value = 0; value < 16; value++) {
      const multiple = product(factor, value << (4 * nibble));
      memory[at + 16 * nibble + value] = multiple & 0xff;
      memory[at + 64 + 16 * nibble + value] = multiple >> 8;
    }
  }
}

/** An unsigned number as the binary format has it (LEB128). */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

const I32 = 0x7f;
const V128 = 0x7b;
const vector = (opcode: number, ...immediate: number[]): number[] => [0xfd, ...unsigned(opcode), ...immediate];
const get = (local: number): number[] => [0x20, ...unsigned(local)];
const set = (local: number): number[] => [0x21, ...unsigned(local)];
const constant = (value: number): number[] => [0x41, value];
const ADD = [0x6a];
const LESS = [0x49];
const load = (offset: number): number[] => vector(0x00, 0, ...unsigned(offset));
const store = (offset: number): number[] => vector(0x0b, 0, ...unsigned(offset));
/** Of the 32 bytes of two vectors those at these places. */
const shuffle = (places: readonly number[]): number[] => vector(0x0d, ...places);
/** `look up` in the vector below the top of the stack, by each byte of the top. */
const LOOK_UP = vector(0x0e);
const LOW_NIBBLE = [...constant(15), ...vector(0x0f), ...vector(0x4e)];
const HIGH_NIBBLE = [...constant(4), ...vector(0x6d)];
const XOR = vector(0x51);

/** Parameters first, then locals in the order of their declaration. */
const [FROM, TO, LENGTH, TABLE, END, TABLES, LOW, HIGH, NIBBLE, SUM_LOW, SUM_HIGH] = [
  0, 1, 2, 3, 4, 5, 13, 14, 15, 16, 17,
] as const;
const I32_LOCALS = 1;
const V128_LOCALS = 13;

const places = (of: (i: number) => number): number[] => Array.from({ length: 16 }, (_, i) => of(i));
const EVEN = places((i) => 2 * i);
const ODD = places((i) => 2 * i + 1);
/** The first or last 8 bytes of both vectors in turn. */
const WEAVE = [0, 8].map((first) => places((i) => first + (i >> 1) + (i % 2) * 16));

function sumOf(nibble: number, extract: readonly number[]): number[] {
  const half = nibble < 2 ? LOW : HIGH;
  const add = (sum: number, table: number): number[] => [
    ...get(TABLES + table),
    ...get(NIBBLE),
    ...LOOK_UP,
    ...(nibble === 0 ? [] : [...get(sum), ...XOR]),
    ...set(sum),
  ];
  return [...get(half), ...extract, ...set(NIBBLE), ...add(SUM_LOW, nibble), ...add(SUM_HIGH, 4 + nibble)];
}

const advance = (local: number): number[] => [...get(local), ...constant(STEP_BYTES), ...ADD, ...set(local)];

const BODY = [
  ...Array.from({ length: 8 }, (_, i) => [...get(TABLE), ...load(16 * i), ...set(TABLES + i)]).flat(),
  ...[...get(FROM), ...get(LENGTH), ...ADD, ...set(END)],
  ...[0x03, 0x40], // loop
  ...[...get(FROM), ...load(0), ...get(FROM), ...load(16), ...shuffle(EVEN), ...set(LOW)],
  ...[...get(FROM), ...load(0), ...get(FROM), ...load(16), ...shuffle(ODD), ...set(HIGH)],
  ...[0, 1, 2, 3].flatMap((nibble) => sumOf(nibble, nibble % 2 === 0 ? LOW_NIBBLE : HIGH_NIBBLE)),
  ...WEAVE.flatMap((weave, i) => [
    ...[...get(TO), ...get(TO), ...load(16 * i)],
    ...[...get(SUM_LOW), ...get(SUM_HIGH), ...shuffle(weave), ...XOR, ...store(16 * i)],
  ]),
  ...[...advance(FROM), ...advance(TO)],
  ...[...get(FROM), ...get(END), ...LESS, 0x0d, 0], // again while from < end
  0x0b,
  0x0b,
];

const sized = (bytes: readonly number[]): number[] => [...unsigned(bytes.length), ...bytes];
const section = (id: number, bytes: readonly number[]): number[] => [id, ...sized(bytes)];
const text = (value: string): number[] => sized([...Buffer.from(value)]);

const MODULE = [
  ...[0, ...Buffer.from("asm"), 1, 0, 0, 0],
  ...section(1, [1, 0x60, 4, I32, I32, I32, I32, 0]),
  ...section(2, [1, ...text("kernel"), ...text("memory"), 2, 0, 0]),
  ...section(3, [1, 0]),
  ...section(7, [1, ...text("multiply"), 0, 0]),
  ...section(10, [1, ...sized([2, I32_LOCALS, I32, V128_LOCALS, V128, ...BODY])]),
];
const COMPILED = new WebAssembly.Module(Uint8Array.from(MODULE));
