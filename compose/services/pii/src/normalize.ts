/**
 * One form for what is written in many: full-width, Arabic-Indic, Devanagari and mathematical digits become
 * 0-9, full-width Latin becomes ASCII, every space a space, every dash `-`. Invisible characters go, the
 * first eight in a row: of a longer run the rest stays and separates, so that what a match can cover stays
 * bounded. Text after a place never changes how the text before it comes out.
 *
 * Not undone: look-alike letters of other scripts, HTML entities, percent- or base64-encoding, "at" for @.
 */
export interface NormalText {
  readonly text: string;
  /** Offset in `text` → offset of that code unit in what was given; undefined where they are the same. */
  readonly origin: Uint32Array | undefined;
}

const INVISIBLE_MAX = 8;

const KEEP = 0;
const DROP = 1;
/** A UTF-16 code unit → 0 to keep it, 1 to drop it, else the unit that takes its place. */
const FOLD = new Uint16Array(65536);
const range = (from: number, to: number, value: (index: number) => number): void => {
  for (let code = from; code <= to; code++) FOLD[code] = value(code - from);
};
const SPACE = 0x20;
const DASH = 0x2d;
range(0xff01, 0xff5e, (index) => 0x21 + index);
for (const zero of [0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0be6, 0x0e50]) {
  range(zero, zero + 9, (index) => 0x30 + index);
}
range(0x2000, 0x200a, () => SPACE);
for (const code of [0x00a0, 0x1680, 0x202f, 0x205f, 0x3000]) FOLD[code] = SPACE;
range(0x2010, 0x2015, () => DASH);
for (const code of [0x2043, 0x2212, 0xfe58, 0xfe63]) FOLD[code] = DASH;
for (const code of [0x2024, 0xfe52, 0x3002]) FOLD[code] = 0x2e;
FOLD[0xfe6b] = 0x40;
range(0x200b, 0x200f, () => DROP);
range(0x202a, 0x202e, () => DROP);
range(0x2060, 0x206f, () => DROP);
range(0xfe00, 0xfe0f, () => DROP);
for (const code of [0x00ad, 0x034f, 0x061c, 0x180e, 0xfeff]) FOLD[code] = DROP;
/** U+1D7CE to U+1D7FF, five sets of digits, are this unit and one from 0xDFCE to 0xDFFF. */
const MATH_HIGH = 0xd835;
const MATH_LOW = 0xdfce;

/** Anything of the table, or a mathematical digit. Most text has none and stays as it is. */
const FOLDED = new RegExp(
  `[${Array.from(FOLD.keys())
    .filter((code) => FOLD[code] !== KEEP || code === MATH_HIGH)
    .map((code) => `\\u${code.toString(16).padStart(4, "0")}`)
    .join("")}]`,
);

export function normalize(given: string): NormalText {
  if (!FOLDED.test(given)) return { text: given, origin: undefined };
  const units = new Uint16Array(given.length);
  const origin = new Uint32Array(given.length);
  let length = 0;
  let invisible = 0;
  for (let at = 0; at < given.length; at++) {
    let code = given.charCodeAt(at);
    const fold = FOLD[code] as number;
    if (fold === DROP) {
      if (++invisible <= INVISIBLE_MAX) continue;
    } else {
      invisible = 0;
      if (fold !== KEEP) code = fold;
      else if (code >= MATH_LOW && code <= 0xdfff && units[length - 1] === MATH_HIGH) {
        // One digit for two units: it takes the place of the first.
        units[length - 1] = 0x30 + ((code - MATH_LOW) % 10);
        continue;
      }
    }
    units[length] = code;
    origin[length] = at;
    length++;
  }
  return {
    text: new TextDecoder("utf-16le", { ignoreBOM: true }).decode(units.subarray(0, length)),
    origin: length === given.length ? undefined : origin.subarray(0, length),
  };
}
