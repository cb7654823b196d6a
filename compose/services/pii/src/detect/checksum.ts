/** Check digits of numbers in use. Each takes the digits as numbers, 0 to 9. */
export type Digits = readonly number[];

/** ISO/IEC 7812-1 annex B. */
export function luhn(digits: Digits): boolean {
  let sum = 0;
  for (let index = digits.length - 1, double = false; index >= 0; index--, double = !double) {
    const digit = digits[index] as number;
    sum += double ? (digit > 4 ? digit * 2 - 9 : digit * 2) : digit;
  }
  return sum % 10 === 0;
}

/** Sum of digit times weight. */
export function weighted(digits: Digits, weights: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < weights.length; index++) sum += (digits[index] as number) * (weights[index] as number);
  return sum;
}

/** The number that the digits write, modulo a small number. */
export function modulo(digits: Digits, divisor: number): number {
  let rest = 0;
  for (const digit of digits) rest = (rest * 10 + digit) % divisor;
  return rest;
}

/** ISO 7064 MOD 11,10, the last digit being the check. */
export function mod11and10(digits: Digits): boolean {
  let product = 10;
  for (let index = 0; index < digits.length - 1; index++) {
    const sum = ((digits[index] as number) + product) % 10 || 10;
    product = (sum * 2) % 11;
  }
  return (11 - product) % 10 === digits.at(-1);
}

const DIHEDRAL = [
  "0123456789",
  "1234067895",
  "2340178956",
  "3401289567",
  "4012395678",
  "5987604321",
  "6598710432",
  "7659821043",
  "8765932104",
  "9876543210",
].map((row) => [...row].map(Number));
const PERMUTED = [
  "0123456789",
  "1576283094",
  "5803796142",
  "8916043527",
  "9453126870",
  "4286573901",
  "2793806415",
  "7046913258",
].map((row) => [...row].map(Number));

/** Verhoeff's check over the dihedral group of ten elements. */
export function verhoeff(digits: Digits): boolean {
  let check = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = digits[digits.length - 1 - index] as number;
    check = DIHEDRAL[check]?.[PERMUTED[index % 8]?.[digit] as number] as number;
  }
  return check === 0;
}

/** ICAO 9303 part 3: 0-9, A-Z as 10 to 35 and `<` as 0, times 7, 3, 1, modulo 10. */
export function icaoCheckDigit(text: string): number {
  let sum = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text[index] as string;
    sum += (char === "<" ? 0 : Number.parseInt(char, 36)) * ([7, 3, 1][index % 3] as number);
  }
  return sum % 10;
}

/** ISO 7064 MOD 97-10 over letters and digits, letters as two digits; an IBAN's check holds if it is 1. */
export function mod97(text: string): number {
  let rest = 0;
  for (const char of text) {
    const value = Number.parseInt(char, 36);
    rest = (value > 9 ? rest * 100 + value : rest * 10 + value) % 97;
  }
  return rest;
}

/** Whether a day of that month can be; 29 February always can. */
export function isDayOfYear(month: number, day: number): boolean {
  const days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
  return days !== undefined && day >= 1 && day <= days;
}
