/** Text from outside, made safe to show: no file may move the cursor, colour a line or reverse a word. */

const CONTROLS = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

/** `text` with every control, format, surrogate and private-use character written as \u{…}. */
export function plain(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** `plain`, of text in lines and columns: their ends and tabs stay. */
export function plainLines(text: string): string {
  return text.replace(CONTROLS, (character) =>
    character === "\n" || character === "\t" ? character : plain(character),
  );
}

const CONTROLS_BEYOND_C0 = /[\u007f-\u009f\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

/** `value` as JSON in which no character acts on a terminal or ends a line. It parses to the same value. */
export function plainJson(value: unknown, indent = 2): string {
  // JSON.stringify escapes what lies below a space, and nothing else that a terminal obeys.
  return JSON.stringify(value, null, indent).replace(CONTROLS_BEYOND_C0, (character) =>
    [...Array(character.length).keys()]
      .map((i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
