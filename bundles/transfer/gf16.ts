/**
 * The field that PAR2 calculates in: 65,536 elements, polynomials over GF(2) modulo x^16 + x^12 + x^3 + x + 1.
 * Addition is XOR. The rules for constants and exponents are those of "Parity Volume Set Specification 2.0".
 */

const POLYNOMIAL = 0x1100b;
/** Of the multiplicative group: every element but 0 is a power of 2, the 65,535th is 1 again. */
export const GROUP_ORDER = 65_535;

const EXP = new Uint16Array(2 * GROUP_ORDER);
const LOG = new Uint16Array(GROUP_ORDER + 1);
for (let i = 0, element = 1; i < GROUP_ORDER; i++) {
  EXP[i] = element;
  EXP[i + GROUP_ORDER] = element;
  LOG[element] = i;
  element <<= 1;
  if (element > GROUP_ORDER) element ^= POLYNOMIAL;
}

export function product(a: number, b: number): number {
  if (a === 0 || b === 0) return 0;
  return EXP[(LOG[a] as number) + (LOG[b] as number)] as number;
}

/** @throws RangeError for 0, which has none */
export function inverse(a: number): number {
  if (a === 0) throw new RangeError("0 has no inverse");
  return EXP[GROUP_ORDER - (LOG[a] as number)] as number;
}

/** `base` is not 0. */
export function power(base: number, exponent: number): number {
  return EXP[((LOG[base] as number) * exponent) % GROUP_ORDER] as number;
}

/** PAR2 can number this many data blocks. */
export const CONSTANTS_MAX = 32_768;

/** The constant of each of `count` data blocks: the powers of 2 that generate the whole group, in order. */
export function blockConstants(count: number): Uint16Array {
  if (count > CONSTANTS_MAX) throw new RangeError(`got ${count} blocks, want at most ${CONSTANTS_MAX}`);
  const constants = new Uint16Array(count);
  for (let found = 0, log = 1; found < count; log++) {
    if (log % 3 === 0 || log % 5 === 0 || log % 17 === 0 || log % 257 === 0) continue;
    constants[found++] = EXP[log] as number;
  }
  return constants;
}

/**
 * How lost blocks follow from recovery blocks. Recovery block `e` is the sum of every data block times its
 * constant to the power `e`. With what is known subtracted from each, lost block `j` is the sum over the
 * recovery blocks `i` of `result[j][i]` times recovery block `i`.
 * Undefined if these recovery blocks do not determine the lost ones.
 */
export function solve(lost: readonly number[], exponents: readonly number[]): Uint16Array[] | undefined {
  const width = lost.length + exponents.length;
  const rows = exponents.map((exponent, i) => {
    const row = new Uint16Array(width);
    for (const [j, constant] of lost.entries()) row[j] = power(constant, exponent);
    row[lost.length + i] = 1;
    return row;
  });
  for (let column = 0; column < lost.length; column++) {
    const pivot = rows.findIndex((row, i) => i >= column && row[column] !== 0);
    if (pivot < 0) return undefined;
    const [row] = rows.splice(pivot, 1);
    if (!row) return undefined;
    rows.splice(column, 0, row);
    scale(row, inverse(row[column] as number));
    for (const [i, other] of rows.entries()) if (i !== column) addScaled(other, row, other[column] as number);
  }
  return rows.slice(0, lost.length).map((row) => row.subarray(lost.length));
}

function scale(row: Uint16Array, factor: number): void {
  for (let i = 0; i < row.length; i++) row[i] = product(row[i] as number, factor);
}

function addScaled(to: Uint16Array, row: Uint16Array, factor: number): void {
  if (factor === 0) return;
  for (let i = 0; i < row.length; i++) to[i] = (to[i] as number) ^ product(row[i] as number, factor);
}
