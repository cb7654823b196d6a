/** Machine-readable zones of ICAO 9303: passports (two lines of 44), visas and cards (36, three of 30). */

import { isDigit, isUpper, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";
import { icaoCheckDigit } from "./checksum.ts";

const FILLER = 0x3c;
const SHAPES = [
  { lines: 2, width: 44 },
  { lines: 2, width: 36 },
  { lines: 3, width: 30 },
];

const isZone = (code: number): boolean => isUpper(code) || isDigit(code) || code === FILLER;

/** From the first letter of the document's kind on. The check digits of number, birth and expiry must hold. */
export function findMachineReadableZone(view: TextView, start: number): Candidate | undefined {
  const kind = view.code(start);
  if (kind !== 0x50 && kind !== 0x56 && kind !== 0x49 && kind !== 0x41 && kind !== 0x43) return undefined;
  for (const { lines, width } of SHAPES) {
    const read = readLines(view, start, lines, width);
    if (read && (lines === 3 ? cardHolds(read.rows) : bookletHolds(read.rows))) {
      return { class: "passport-mrz", end: read.end, score: 0.99 };
    }
  }
  return undefined;
}

function readLines(
  view: TextView,
  start: number,
  lines: number,
  width: number,
): { readonly rows: readonly string[]; readonly end: number } | undefined {
  const rows: string[] = [];
  let at = start;
  for (;;) {
    const from = at;
    while (at - from < width && isZone(view.code(at))) at++;
    if (at - from < width || isZone(view.code(at))) return undefined;
    rows.push(view.text.slice(from, at));
    if (rows.length === lines) return { rows, end: at };
    // Line ends of every system, also as JSON or code writes them, and a single space.
    const before = at;
    while (at - before < 4 && isLineEnd(view, at)) at++;
    if (at === before) return undefined;
  }
}

function isLineEnd(view: TextView, at: number): boolean {
  const code = view.code(at);
  if (code === 0x0a || code === 0x0d || code === 0x20 || code === 0x5c) return true;
  return (code === 0x6e || code === 0x72) && view.before(at) === 0x5c;
}

const holds = (row: string, from: number, length: number): boolean =>
  icaoCheckDigit(row.slice(from, from + length)) === Number(row[from + length]);

function bookletHolds(rows: readonly string[]): boolean {
  const row = rows[1] as string;
  return holds(row, 0, 9) && holds(row, 13, 6) && holds(row, 21, 6);
}

function cardHolds(rows: readonly string[]): boolean {
  const [first, second] = rows as [string, string];
  return holds(first, 5, 9) && holds(second, 0, 6) && holds(second, 8, 6);
}
