/** National ids that are digits alone: one look at a number's length, form and check digits for each country. */
import type { PiiClass } from "../classes.ts";
import type { Candidate } from "./candidate.ts";
import { type Digits, isDayOfYear, luhn, mod11and10, modulo, verhoeff, weighted } from "./checksum.ts";
import type { NumberPrefix } from "./number-run.ts";

const sum = (digits: Digits): number => digits.reduce((total, digit) => total + digit, 0);
const number = (digits: Digits, from: number, to: number): number => Number(digits.slice(from, to).join(""));
const allSame = (digits: Digits): boolean => digits.every((digit) => digit === digits[0]);

/** A score of 0: not one. */
type Judge = (prefix: NumberPrefix) => number;

/** Social Security Administration, numbers since 2011: no area 000, 666, 9xx, no group 00, no serial 0000. */
const usSsn: Judge = ({ digits, shape, separator }) => {
  const area = number(digits, 0, 3);
  if (area === 0 || area === 666 || area > 899 || number(digits, 3, 5) === 0 || number(digits, 5, 9) === 0) return 0;
  // Printed in examples and on sample cards ever since.
  if (area === 78 && number(digits, 3, 9) === 51_120) return 0.3;
  if (allSame(digits)) return 0;
  if (shape === "3-2-4") return separator === "-" ? 0.85 : separator === " " ? 0.6 : 0.5;
  return shape === "9" ? 0.2 : 0;
};

/** Steuer-Identifikationsnummer: one digit two or three times among the first ten, the others at most once. */
const deTaxId: Judge = ({ digits, shape, separator }) => {
  if (digits[0] === 0 || !mod11and10(digits)) return 0;
  const counts = new Array<number>(10).fill(0);
  for (const digit of digits.slice(0, 10)) counts[digit] = (counts[digit] as number) + 1;
  const repeated = counts.filter((count) => count > 1);
  if (repeated.length !== 1 || (repeated[0] as number) > 3) return 0;
  if (shape === "2-3-3-3") return separator === " " ? 0.8 : 0;
  return shape === "11" ? 0.5 : 0;
};

/** Numéro d'inscription au répertoire: sex, year, month, department, commune, order, key 97. */
const frNir: Judge = ({ digits, shape, separator }) => {
  const month = number(digits, 3, 5);
  if ((digits[0] !== 1 && digits[0] !== 2) || !(isMonth(month) || (month >= 20 && month <= 42))) return 0;
  if (number(digits, 5, 7) === 0 || number(digits, 13, 15) !== 97 - modulo(digits.slice(0, 13), 97)) return 0;
  if (shape === "1-2-2-2-3-3-2") return separator === " " || separator === "-" || separator === "." ? 0.98 : 0;
  return shape === "15" || shape === "13-2" ? 0.9 : 0;
};
const isMonth = (month: number): boolean => month >= 1 && month <= 12;

/** Burgerservicenummer: the "elfproef". */
const nlBsn: Judge = ({ digits, shape, separator }) => {
  if (allSame(digits) || weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 !== 0) return 0;
  if (shape === "4-2-3") return separator === "." ? 0.7 : 0.4;
  return shape === "9" ? 0.35 : shape === "3-3-3" ? 0.3 : 0;
};

/** PESEL: birth date with the century in the month, weights 1 3 7 9. */
const plPesel: Judge = ({ digits, shape }) => {
  if (shape !== "11" || weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 !== 0) return 0;
  return isDayOfYear(number(digits, 2, 4) % 20, number(digits, 4, 6)) ? 0.6 : 0;
};

/** Personnummer and samordningsnummer (day + 60): Luhn over the last ten digits. */
const sePersonnummer: Judge = ({ digits, shape, separator }) => {
  const ten = digits.slice(-10);
  const day = number(ten, 4, 6);
  if (!isDayOfYear(number(ten, 2, 4), day > 60 ? day - 60 : day) || !luhn(ten)) return 0;
  if (digits.length === 12) {
    const century = number(digits, 0, 2);
    if (century !== 19 && century !== 20) return 0;
    return shape === "8-4" && separator === "-" ? 0.85 : shape === "12" ? 0.5 : 0;
  }
  return shape === "6-4" && separator === "-" ? 0.7 : shape === "10" ? 0.3 : 0;
};

/** Cadastro de Pessoas Físicas: two check digits modulo 11. */
const brCpf: Judge = ({ digits, shape, separator }) => {
  if (allSame(digits)) return 0;
  const first = (weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10) % 11;
  const second = (weighted(digits, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10) % 11;
  if (first % 10 !== digits[9] || second % 10 !== digits[10]) return 0;
  if (shape === "3-3-3-2") return separator === "mixed" ? 0.95 : 0.7;
  return shape === "9-2" ? 0.8 : shape === "11" ? 0.55 : 0;
};

/** Aadhaar: begins with 2 to 9, Verhoeff's check digit. */
const inAadhaar: Judge = ({ digits, shape, separator }) => {
  if ((digits[0] as number) < 2 || allSame(digits) || !verhoeff(digits)) return 0;
  if (shape === "4-4-4") return separator === " " || separator === "-" ? 0.65 : 0;
  return shape === "12" ? 0.4 : 0;
};

const JUDGES: readonly (readonly [PiiClass, readonly number[], Judge])[] = [
  ["us-ssn", [9], usSsn],
  ["nl-bsn", [9], nlBsn],
  ["se-personnummer", [10, 12], sePersonnummer],
  ["de-tax-id", [11], deTaxId],
  ["pl-pesel", [11], plPesel],
  ["br-cpf", [11], brCpf],
  ["in-aadhaar", [12], inAadhaar],
  ["fr-nir", [15], frNir],
];
const BY_LENGTH = new Map<number, (readonly [PiiClass, Judge])[]>();
for (const [piiClass, lengths, judge] of JUDGES) {
  for (const length of lengths) BY_LENGTH.set(length, [...(BY_LENGTH.get(length) ?? []), [piiClass, judge]]);
}

/** Every country's id that the number can be: the words around it decide between them. */
export function findNationalNumbers(prefix: NumberPrefix): Candidate[] {
  const found: Candidate[] = [];
  if (prefix.separator === "/" || sum(prefix.digits) === 0) return found;
  for (const [piiClass, judge] of BY_LENGTH.get(prefix.digits.length) ?? []) {
    const score = judge(prefix);
    if (score > 0) found.push({ class: piiClass, end: prefix.end, score });
  }
  return found;
}
