/** National ids with letters in them. */

import { isAlphanumeric, isWord, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";
import { icaoCheckDigit, isDayOfYear } from "./checksum.ts";

const SPACED_MAX = 24;
const CODE_MAX = 16;
/** Of the most parted form, a NIR. */
const SEPARATORS_MAX = 6;

/** The first `CODE_MAX` letters and digits from here, without single spaces, dashes or dots between them. */
interface Code {
  /** Capitals. */
  readonly text: string;
  /** Offset after the nth letter or digit. */
  readonly ends: readonly number[];
  /** Lengths of the parts up to the nth, as far as there are separators. */
  readonly separators: readonly number[];
}

function readCode(view: TextView, start: number): Code {
  let text = "";
  const ends: number[] = [];
  const separators: number[] = [];
  let at = start;
  while (text.length < CODE_MAX && at - start < SPACED_MAX) {
    const code = view.code(at);
    if (isAlphanumeric(code)) {
      text += view.text[at];
      ends.push(at + 1);
    } else if ((code === 0x20 || code === 0x2d || code === 0x2e) && isAlphanumeric(view.code(at + 1))) {
      if (separators.length === SEPARATORS_MAX) break;
      separators.push(text.length);
    } else {
      break;
    }
    at++;
  }
  return { text: text.toUpperCase(), ends, separators };
}

interface Form {
  readonly class: Candidate["class"];
  readonly length: number;
  readonly pattern: RegExp;
  readonly holds: (text: string) => boolean;
  /** By where separators stand, e.g. "" for none and "8" for one before the ninth character. */
  readonly scores: Readonly<Record<string, number>>;
}

const DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE";
const dniHolds = (digits: string, letter: string | undefined): boolean => DNI_LETTERS[Number(digits) % 23] === letter;

/** Values of a codice fiscale's characters at odd places, counted from one. */
const ODD_DIGITS = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
const ODD_LETTERS = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
/** A digit of a codice fiscale may be written as one of these, where two people would have the same. */
const OMOCODIA = "LMNPQRSTUV";
const plainDigit = (char: string): string => (OMOCODIA.includes(char) ? String(OMOCODIA.indexOf(char)) : char);

function fiscalCodeHolds(text: string): boolean {
  const digits = [...text].map(plainDigit).join("");
  const day = Number(digits.slice(9, 11));
  if (!isDayOfYear("ABCDEHLMPRST".indexOf(text[8] as string) + 1, day > 40 ? day - 40 : day)) return false;
  let sum = 0;
  for (let index = 0; index < 15; index++) {
    const code = text.charCodeAt(index);
    const digit = code < 0x40;
    const value = code - (digit ? 0x30 : 0x41);
    sum += index % 2 === 1 ? value : ((digit ? ODD_DIGITS : ODD_LETTERS)[value] as number);
  }
  return text.charCodeAt(15) - 0x41 === sum % 26;
}

/** With 2A or 2B, the two departments of Corsica, whose key is made with 19 and 18 in their place. */
function corsicanNirHolds(text: string): boolean {
  const body = text.slice(0, 13).replace("2A", "19").replace("2B", "18");
  return Number(text.slice(13)) === 97 - Number(BigInt(body) % 97n);
}

const FORMS: readonly Form[] = [
  {
    // No check digit: HMRC's list of prefixes that are not given out.
    class: "uk-nino",
    length: 9,
    pattern: /^(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]$/,
    holds: () => true,
    scores: { "": 0.65, "2,4,6,8": 0.9, "2,8": 0.8, "2": 0.7 },
  },
  {
    class: "es-dni",
    length: 9,
    pattern: /^\d{8}[A-HJ-NP-TV-Z]$/,
    holds: (text) => dniHolds(text.slice(0, 8), text[8]),
    scores: { "": 0.6, "8": 0.75, "2,5": 0.8, "2,5,8": 0.85 },
  },
  {
    class: "es-dni",
    length: 9,
    pattern: /^[XYZ]\d{7}[A-HJ-NP-TV-Z]$/,
    holds: (text) => dniHolds("XYZ".indexOf(text[0] as string) + text.slice(1, 8), text[8]),
    scores: { "": 0.7, "1,8": 0.85, "8": 0.75 },
  },
  {
    // Ausweisnummer of nine and its check digit: no vowels, no letters that look like digits.
    class: "de-id-card",
    length: 10,
    pattern: /^[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ\d]{8}\d$/,
    holds: (text) => /\d.*\d/.test(text.slice(0, 9)) && icaoCheckDigit(text.slice(0, 9)) === Number(text[9]),
    scores: { "": 0.5, "9": 0.4 },
  },
  {
    class: "it-fiscal-code",
    length: 16,
    pattern: /^[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]$/,
    holds: fiscalCodeHolds,
    scores: { "": 0.95, "3,6,11": 0.95 },
  },
  {
    class: "fr-nir",
    length: 15,
    pattern: /^[12]\d{4}2[AB]\d{8}$/,
    holds: corsicanNirHolds,
    scores: { "": 0.95, "1,3,5,7,10,13": 0.98, "13": 0.95 },
  },
];

export function findNationalCode(view: TextView, start: number): Candidate | undefined {
  const code = readCode(view, start);
  for (const { class: piiClass, length, pattern, holds, scores } of FORMS) {
    if (code.text.length < length) continue;
    const end = code.ends[length - 1] as number;
    if (isWord(view.code(end))) continue;
    const text = code.text.slice(0, length);
    const score = scores[code.separators.filter((place) => place < length).join(",")];
    if (score !== undefined && pattern.test(text) && holds(text)) return { class: piiClass, end, score };
  }
  return undefined;
}
