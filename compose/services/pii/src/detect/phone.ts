/**
 * Phone numbers have no check digit: only how they are written, and the words around them, tell. With `+` or in
 * North American form they are told without words; other national forms count for little until a word helps.
 */

import { isDigit, isWord, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";
import type { NumberPrefix } from "./number-run.ts";

/** With the year first or last; whether it is a year, the digits tell. */
const YEAR_FIRST = /^4-[12]-[12](?:-|$)/;
const YEAR_LAST = /^[12]-[12]-4(?:-|$)/;

/** `lead` is what stands before the first digit: "+", "(", "+(" or nothing. */
export function findPhone(view: TextView, lead: string, prefix: NumberPrefix): Candidate | undefined {
  const score = phoneScore(lead, prefix);
  if (score === 0) return undefined;
  return { class: "phone", end: extensionEnd(view, prefix.end), score };
}

function phoneScore(lead: string, { digits, shape, separator, groups, brackets }: NumberPrefix): number {
  const { length } = digits;
  const first = digits[0] as number;
  const bracketed = brackets || lead.includes("(");
  if (lead.includes("+")) {
    if (length < 8 || length > 15 || first === 0) return 0;
    return first === 1 && !(length === 11 && isNorthAmerican(digits.slice(1))) ? 0.4 : 0.85;
  }
  // An open bracket has its other half in the run.
  if (lead === "(" && !brackets) return 0;
  if (length < 7 || length > 15 || separator === "/" || isDate(digits, shape)) return 0;
  const country = length === 11 && first === 1 ? 1 : shape.startsWith("3-1-") && first === 0 ? 4 : 0;
  const national = digits.slice(country);
  if (isNorthAmerican(national) && (country > 0 || groups > 1) && /(?:^|-)3-3-4$/.test(shape)) {
    return separator === " " ? 0.65 : separator === "." ? 0.75 : 0.8;
  }
  if (groups === 1) return length < 9 ? 0.25 : length > 12 ? 0 : first === 0 || length === 10 ? 0.4 : 0.3;
  if (separator === ".") return shape === "2-2-2-2-2" && first === 0 ? 0.6 : shape === "3-3-4" ? 0.4 : 0;
  if (groups > 6 || /(?:^|-)1(?:-|$)/.test(shape) || length > 13) return 0;
  return bracketed || (first === 0 && length > 8) ? 0.5 : 0.4;
}

function isDate(digits: readonly number[], shape: string): boolean {
  const at = YEAR_FIRST.test(shape) ? 0 : YEAR_LAST.test(shape) ? Number(shape[0]) + Number(shape[2]) : -1;
  const century = at < 0 ? 0 : (digits[at] as number) * 10 + (digits[at + 1] as number);
  return century === 19 || century === 20;
}

/** Area code and exchange begin with 2 to 9; neither is a service code such as 911. */
function isNorthAmerican(digits: readonly number[]): boolean {
  if (digits.length !== 10) return false;
  const [a, b, c, d, e, f] = digits as [number, number, number, number, number, number];
  return a > 1 && d > 1 && !(b === 1 && c === 1) && !(e === 1 && f === 1);
}

/** After `x123`, ` x123` or ` ext. 123`. */
function extensionEnd(view: TextView, end: number): number {
  let at = view.code(end) === 0x20 ? end + 1 : end;
  const word = ["ext. ", "ext.", "ext ", "x"].find((marker) => view.startsWith(marker, at));
  if (word === undefined) return end;
  at += word.length;
  const digits = at;
  while (at - digits < 6 && isDigit(view.code(at))) at++;
  return at === digits || isWord(view.code(at)) ? end : at;
}
