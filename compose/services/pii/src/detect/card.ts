/** Payment cards: length and first digits of an issuer that exists, Luhn's check digit, written as cards are. */
import type { Candidate } from "./candidate.ts";
import { luhn } from "./checksum.ts";
import type { NumberPrefix } from "./number-run.ts";

/** First and last value of the first digits, and the lengths in use. */
const ISSUERS: readonly (readonly [from: number, to: number, lengths: readonly number[]])[] = [
  [4, 4, [13, 16, 19]],
  [51, 55, [16]],
  [2221, 2720, [16]],
  [34, 34, [15]],
  [37, 37, [15]],
  [300, 305, [14, 16, 19]],
  [3095, 3095, [14, 16, 19]],
  [36, 36, [14, 16, 19]],
  [38, 39, [14, 16, 19]],
  [6011, 6011, [16, 19]],
  [622126, 622925, [16, 19]],
  [644, 649, [16, 19]],
  [65, 65, [16, 19]],
  [3528, 3589, [16, 19]],
  [1800, 1800, [15]],
  [2131, 2131, [15]],
  [62, 62, [16, 17, 18, 19]],
  [81, 81, [16]],
  [50, 50, [12, 13, 14, 15, 16, 17, 18, 19]],
  [56, 58, [12, 13, 14, 15, 16, 17, 18, 19]],
  [60, 61, [12, 13, 14, 15, 16, 17, 18, 19]],
  [63, 64, [12, 13, 14, 15, 16, 17, 18, 19]],
  [66, 69, [12, 13, 14, 15, 16, 17, 18, 19]],
  [2200, 2204, [16, 17, 18, 19]],
  [9792, 9792, [16]],
];
/** Lengths that most cards have; of the others too many are order numbers. */
const USUAL: ReadonlySet<number> = new Set([14, 15, 16]);
const PRINTED = /^(?:4-4-4-4(?:-[1-3])?|4-6-[45]|4-4-5|4-4-4-[1-3]|4-4-4)$/;

export function findCard(prefix: NumberPrefix): Candidate | undefined {
  const { digits, end, shape, separator, groups } = prefix;
  const { length } = digits;
  if (length < 12 || length > 19 || separator === "mixed" || separator === "/") return undefined;
  if (groups > 1 && !PRINTED.test(shape)) return undefined;
  if (!luhn(digits)) return undefined;
  const first = Number(digits.slice(0, 6).join(""));
  const issuer = ISSUERS.find(([from, to, lengths]) => {
    const leading = Math.floor(first / 10 ** (6 - String(from).length));
    return leading >= from && leading <= to && lengths.includes(length);
  });
  // Not an issuer we know: a card only where somebody says so.
  if (!issuer) return { class: "payment-card", end, score: 0.45 };
  const score = groups > 1 ? (length > 12 ? 0.95 : 0.6) : USUAL.has(length) ? 0.85 : 0.6;
  return { class: "payment-card", end, score };
}
