/** Text from outside, made safe to show: no file may move the cursor, colour a line or reverse a word. */

const CONTROLS = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

/** `text` with every control, format, surrogate and private-use character written as \u{…}. */
export function plain(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
