/**
 * Text under the eyes of the detectors. They read it through `code` only, which notes when one looks past the
 * end: then what it found may change with the text that is still to come.
 */
export const END = -1;

export const DIGIT = 1;
export const UPPER = 2;
const LOWER = 4;
const BEYOND = 8;
const HEX = 16;
const LETTER = UPPER | LOWER;
export const WORD = DIGIT | LETTER | BEYOND;

const KIND = new Uint8Array(65536);
for (let code = 0x30; code <= 0x39; code++) KIND[code] = DIGIT | HEX;
for (let code = 0x41; code <= 0x5a; code++) KIND[code] = UPPER | (code <= 0x46 ? HEX : 0);
for (let code = 0x61; code <= 0x7a; code++) KIND[code] = LOWER | (code <= 0x66 ? HEX : 0);
// Latin, Greek, Cyrillic and the like. Not the scripts written without spaces, beside which a number stands free.
for (let code = 0xc0; code < 0x0e00; code++) if (code !== 0xd7 && code !== 0xf7) KIND[code] = BEYOND;
for (let code = 0x1e00; code < 0x2000; code++) KIND[code] = BEYOND;

/** Whether a code unit has one of these kinds; for text that is there, without the checks of `TextView.code`. */
export const hasKind = (code: number, kind: number): boolean => ((KIND[code] as number) & kind) !== 0;
export const kindOf = (code: number): number => KIND[code] as number;

const is = (code: number, kind: number): boolean => code >= 0 && ((KIND[code] as number) & kind) !== 0;
export const isDigit = (code: number): boolean => is(code, DIGIT);
export const isUpper = (code: number): boolean => is(code, UPPER);
export const isLetter = (code: number): boolean => is(code, LETTER);
export const isAnyLetter = (code: number): boolean => is(code, LETTER | BEYOND);
export const isHex = (code: number): boolean => is(code, HEX);
export const isAlphanumeric = (code: number): boolean => is(code, DIGIT | LETTER);
/** What a number or a word cannot stand directly beside. */
export const isWord = (code: number): boolean => is(code, WORD);

export class TextView {
  readonly text: string;
  readonly length: number;
  /** Set by `code` when it was asked for what lies past the end. */
  pastEnd = false;
  /** The last `@` behind which no domain stands, so that it is looked at once. */
  deadAt = -1;
  /** Words before a place, which several detectors ask for. */
  context: { readonly start: number; readonly words: readonly string[] } | undefined;

  constructor(text: string) {
    this.text = text;
    this.length = text.length;
  }

  code(at: number): number {
    if (at < this.length) return at < 0 ? END : this.text.charCodeAt(at);
    this.pastEnd = true;
    return END;
  }

  /** The code unit before: the text before is always there, as far as detectors look. */
  before(at: number): number {
    return at > 0 ? this.text.charCodeAt(at - 1) : END;
  }

  startsWith(prefix: string, at: number): boolean {
    for (let index = 0; index < prefix.length; index++) {
      if (this.code(at + index) !== prefix.charCodeAt(index)) return false;
    }
    return true;
  }
}
