/** Everything that may begin at one place of the text, the best of it. */
import { weighContext } from "./context.ts";
import type { Candidate } from "./detect/candidate.ts";
import { findCard } from "./detect/card.ts";
import { findEmail } from "./detect/email.ts";
import { findIban } from "./detect/iban.ts";
import { findIpv4, findIpv6, mayStartIpv6 } from "./detect/ip-address.ts";
import { findNationalCode } from "./detect/national-code.ts";
import { findNationalNumbers } from "./detect/national-number.ts";
import { mayStartNumber, type NumberPrefix, numberPrefixes } from "./detect/number-run.ts";
import { findMachineReadableZone } from "./detect/passport.ts";
import { findPhone } from "./detect/phone.ts";
import {
  assignedTo,
  findAssignedSecret,
  findPrivateKey,
  findToken,
  findUrlCredential,
  mayStartToken,
  SCHEME_MAX,
} from "./detect/secret.ts";
import { DIGIT, hasKind, isDigit, isHex, isLetter, isUpper, isWord, type TextView, UPPER } from "./text-view.ts";

/** Of a score below this nothing is told. */
export const SCORE_MIN = 0.3;
/** A number that starts inside a weaker one and has at least this score is looked at instead. */
const STRONG = 0.8;
/** Taken from a number after which the same separator and more digits follow. */
const GOES_ON = 0.15;

/** Lengths that the first word of a national code can have, by what it begins with. */
const CODES_FROM_DIGIT: ReadonlySet<number> = new Set([1, 2, 8, 9, 13, 15]);
const CODES_FROM_LETTER: ReadonlySet<number> = new Set([8, 9, 10, 16]);

export interface Word {
  readonly start: number;
  readonly end: number;
  readonly hasDigit: boolean;
  /** Whether an `@` is near enough for an address. */
  readonly nearAt: boolean;
}

const COLON = 0x3a;
const PLUS = 0x2b;
const OPEN = 0x28;
const DASH = 0x2d;
const LESS = 0x3c;

/**
 * False for most words of a text, quickly: nothing begins at them, whatever follows. Only for a word without a
 * digit, no `@` near it and two code units behind it.
 */
export function mayBegin(text: string, start: number, end: number): boolean {
  const next = text.charCodeAt(end);
  if (next === COLON || next === PLUS || next === LESS) return true;
  const second = text.charCodeAt(start + 1);
  if (hasKind(second, UPPER) || mayStartToken(text.charCodeAt(start), second)) return true;
  if (assignedTo(text, start) > 0) return true;
  return end - start < 3 && hasKind(text.charCodeAt(end + 1), DIGIT);
}

export function findAtWord(view: TextView, word: Word): Candidate | undefined {
  const { start, end, hasDigit } = word;
  const first = view.code(start);
  // The one detector whose score has the context in it already comes first.
  let chosen = isDigit(first) ? numberAt(view, start) : undefined;
  if (word.nearAt) chosen = better(view, start, chosen, findEmail(view, start));
  if (isDigit(first)) {
    if (CODES_FROM_DIGIT.has(end - start)) chosen = better(view, start, chosen, findNationalCode(view, start));
  } else if (isLetter(first)) {
    if (hasDigit) chosen = better(view, start, chosen, findIban(view, start));
    if (hasDigit ? CODES_FROM_LETTER.has(end - start) : mayStartSpacedCode(view, word))
      chosen = better(view, start, chosen, findNationalCode(view, start));
    if (isUpper(first) && (view.code(start + 1) === LESS || isUpper(view.code(start + 1)))) {
      chosen = better(view, start, chosen, findMachineReadableZone(view, start));
    }
    if (end - start <= SCHEME_MAX && (view.code(end) === COLON || view.code(end) === PLUS))
      chosen = better(view, start, chosen, findUrlCredential(view, start));
    if (mayStartToken(first, view.code(start + 1))) chosen = better(view, start, chosen, findToken(view, start));
  }
  if (chosen === undefined || chosen.score < STRONG) {
    chosen = better(view, start, chosen, findAssignedSecret(view, start));
  }
  if (end - start <= 4 && isHex(first) && view.code(end) === COLON && mayStartIpv6(view, start)) {
    chosen = better(view, start, chosen, findIpv6(view, start));
  }
  return chosen;
}

/** `AB 12 34 56 C`, `X-1234567-L`, `RSS MRA 85T10 A562S`: letters, a separator, and more of it. */
function mayStartSpacedCode(view: TextView, { start, end }: Word): boolean {
  if (end - start > 3) return false;
  const next = view.code(end + 1);
  return end - start === 3 ? isUpper(view.code(start)) && isUpper(next) : isDigit(next);
}

/** At `+`, `(` and `-`, before which no word stands. */
export function findAtSign(view: TextView, start: number): Candidate | undefined {
  const first = view.code(start);
  if (first === DASH) return view.before(start) === DASH ? undefined : findPrivateKey(view, start);
  let digits = start + 1;
  if (first === PLUS && view.code(digits) === OPEN) digits++;
  if (!isDigit(view.code(digits))) return undefined;
  const lead = view.text.slice(start, digits);
  const phones = numberPrefixes(view, digits).map((prefix) => weighEnd(view, prefix, findPhone(view, lead, prefix)));
  return unlessStronger(view, start, best(view, start, phones));
}

export function isSign(code: number): boolean {
  return code === PLUS || code === OPEN || code === DASH;
}

/** Its score has the context in it. */
function numberAt(view: TextView, start: number): Candidate | undefined {
  return unlessStronger(view, start, best(view, start, numbersAt(view, start)));
}

/** Gives a weak number up where a strong one starts inside it. */
function unlessStronger(view: TextView, start: number, candidate: Candidate | undefined): Candidate | undefined {
  if (candidate === undefined || candidate.score >= STRONG) return candidate;
  for (let at = start + 1; at < candidate.end; at++) {
    if (!isDigit(view.code(at)) || isWord(view.before(at))) continue;
    const inner = best(view, at, numbersAt(view, at));
    if (inner && inner.score >= STRONG) return undefined;
  }
  return candidate;
}

function numbersAt(view: TextView, start: number): (Candidate | undefined)[] {
  const before = view.before(start);
  const found: (Candidate | undefined)[] = [];
  if (before !== 0x2e && before !== 0x5f && !(before === DASH && isWord(view.before(start - 1)))) {
    found.push(findIpv4(view, start));
  }
  if (!mayStartNumber(view, start)) return found;
  for (const prefix of numberPrefixes(view, start)) {
    const here = [findCard(prefix), findPhone(view, "", prefix), ...findNationalNumbers(prefix)];
    for (const candidate of here) found.push(weighEnd(view, prefix, candidate));
  }
  return found;
}

/** Lower where the number goes on after what was taken for one. */
function weighEnd(
  view: TextView,
  { end, separator }: NumberPrefix,
  candidate: Candidate | undefined,
): Candidate | undefined {
  if (candidate === undefined || separator.length !== 1) return candidate;
  const goesOn = view.code(end) === separator.charCodeAt(0) && isDigit(view.code(end + 1));
  return goesOn ? { ...candidate, score: candidate.score - GOES_ON } : candidate;
}

function best(view: TextView, start: number, found: readonly (Candidate | undefined)[]): Candidate | undefined {
  let chosen: Candidate | undefined;
  for (const candidate of found) chosen = better(view, start, chosen, candidate);
  return chosen;
}

/** By score with the context weighed in (the chosen one's already is); of equals the longer. */
function better(
  view: TextView,
  start: number,
  chosen: Candidate | undefined,
  candidate: Candidate | undefined,
): Candidate | undefined {
  if (candidate === undefined) return chosen;
  const score = weighContext(view, candidate.class, start, candidate.end, candidate.score);
  if (score < SCORE_MIN) return chosen;
  if (chosen && (score < chosen.score || (score === chosen.score && candidate.end <= chosen.end))) return chosen;
  return { ...candidate, score };
}
