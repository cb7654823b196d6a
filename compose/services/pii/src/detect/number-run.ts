/**
 * A number as people write it: groups of digits with one separator, or a bracket and a space, between them.
 * Read once at each place where a number may start; every detector of numbers looks at the same run.
 */

import { isDigit, isWord, type TextView } from "../text-view.ts";
import type { Digits } from "./checksum.ts";

const DIGITS_MAX = 20;
const GROUPS_MAX = 9;
/** No number of any kind here has fewer digits, or more groups of one. */
const DIGITS_MIN = 7;
const SINGLES_MAX = 3;

const SPACE = 0x20;
const OPEN = 0x28;
const CLOSE = 0x29;
const DASH = 0x2d;
const DOT = 0x2e;
const SLASH = 0x2f;
const COLON = 0x3a;
const COMMA = 0x2c;

const NONE: readonly NumberPrefix[] = [];

const isSeparator = (code: number): boolean => code === SPACE || code === DASH || code === DOT || code === SLASH;

/** The first groups of a run, ending where a number may end. */
export interface NumberPrefix {
  readonly end: number;
  readonly digits: Digits;
  /** Lengths of the groups, e.g. `4-4-4-4`. */
  readonly shape: string;
  /** What stands between the groups: one of " -./", "" for a single group, "mixed" for anything else. */
  readonly separator: string;
  readonly groups: number;
  /** Something with brackets in it, as phone numbers have. */
  readonly brackets: boolean;
}

/**
 * The longest prefix first. Empty where no number starts, or where it is a part of something longer: of a
 * word, of a number with more digits than any that has a meaning, of a UUID, a version, a decimal fraction.
 */
export function numberPrefixes(view: TextView, start: number): readonly NumberPrefix[] {
  if (!hasDigits(view, start)) return NONE;
  const digits: number[] = [];
  const separators: string[] = [];
  const lengths: number[] = [];
  const ends: number[] = [];
  let at = start;
  let singles = 0;
  for (;;) {
    let length = 0;
    while (isDigit(view.code(at)) && digits.length <= DIGITS_MAX) {
      digits.push(view.code(at) - 0x30);
      length++;
      at++;
    }
    // The last group is of another number, or this is none.
    if (digits.length > DIGITS_MAX) {
      digits.length -= length;
      break;
    }
    lengths.push(length);
    ends.push(at);
    if (length === 1) singles++;
    if (lengths.length === GROUPS_MAX || singles === SINGLES_MAX) break;
    const next = separatorEnd(view, at);
    if (next === at || !isDigit(view.code(next))) break;
    separators.push(view.text.slice(at, next));
    at = next;
  }
  const prefixes: NumberPrefix[] = [];
  let taken = digits.length;
  for (let groups = lengths.length; groups > 0 && taken >= DIGITS_MIN; groups--) {
    const end = ends[groups - 1] as number;
    if (mayEnd(view, end)) {
      const between = separators.slice(0, groups - 1);
      const [first = ""] = between;
      prefixes.push({
        end,
        digits: digits.slice(0, taken),
        shape: lengths.slice(0, groups).join("-"),
        separator: between.every((separator) => separator === first) && first.length <= 1 ? first : "mixed",
        groups,
        brackets: between.some((separator) => separator.includes("(") || separator.includes(")")),
      });
    }
    taken -= lengths[groups - 1] as number;
  }
  return prefixes;
}

/** Tells cheaply that a number is too short: most are. */
function hasDigits(view: TextView, start: number): boolean {
  let at = start;
  let digits = 0;
  for (;;) {
    while (isDigit(view.code(at))) {
      if (++digits === DIGITS_MIN) return true;
      at++;
    }
    const next = separatorEnd(view, at);
    if (next === at || !isDigit(view.code(next))) return false;
    at = next;
  }
}

/** After one separator, or after ` (`, `) `, `)-` and the like. */
function separatorEnd(view: TextView, start: number): number {
  let at = start;
  if (isSeparator(view.code(at))) at++;
  if (view.code(at) === OPEN) return at + 1;
  if (view.code(start) === CLOSE) {
    at = start + 1;
    if (isSeparator(view.code(at))) at++;
  }
  return at;
}

/** A separator with a word right behind it joins, except a space; so do a comma and a colon between digits. */
function mayEnd(view: TextView, end: number): boolean {
  const code = view.code(end);
  // The extension of a phone number.
  if (code === 0x78 && isDigit(view.code(end + 1))) return true;
  if (isWord(code) || code === 0x5f || code === 0x25) return false;
  if (code === DASH || code === SLASH) return !isDigit(view.code(end + 1));
  if (code === DOT || code === COLON) return !isDigit(view.code(end + 1));
  return !(code === COMMA && isThousand(view, end + 1));
}

function isThousand(view: TextView, at: number): boolean {
  for (let index = 0; index < 3; index++) if (!isDigit(view.code(at + index))) return false;
  return !isDigit(view.code(at + 3));
}

/** Whether a number may start here: not inside a word, and not joined to one by what joins. */
export function mayStartNumber(view: TextView, start: number): boolean {
  const before = view.before(start);
  if (before === DASH || before === DOT || before === 0x5f || before === SLASH) return !isWord(view.before(start - 1));
  if (before === COLON) return !isDigit(view.before(start - 1));
  if (before === COMMA) return !(isDigit(view.before(start - 1)) && isThousand(view, start));
  return !isWord(before) && before !== 0x24 && before !== 0x20ac && before !== 0xa3;
}
