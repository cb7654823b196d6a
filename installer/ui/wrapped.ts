/** Long lines for a narrow terminal, broken between words. */

const WIDTH_MIN = 40;
/** Blanks, then a bullet or a label in its column. */
const START = /^ *(?:- |\S+(?: \S+)* {2,})?/;

/**
 * `line` in parts of at most `width` characters; those after the first start where its text starts. A word
 * that is longer, as a digest may be, gets a line of its own and stays whole, so that it can be copied.
 */
export function wrapped(line: string, width: number): string[] {
  const [start = ""] = START.exec(line) ?? [];
  const isLabelled = start.trim() !== "";
  const indent = " ".repeat(isLabelled ? start.length : start.length + 2);
  const limit = Math.max(width, WIDTH_MIN);
  const lines: string[] = [];
  let current = start;
  for (const word of line.slice(start.length).split(/(?<=\S)(?= )/)) {
    const isFirst = current === start;
    if ((current + word).length <= limit || (isFirst && !isLabelled)) {
      current += word;
    } else {
      lines.push(current.trimEnd());
      const isLong = indent.length + word.length > limit;
      current = (isLong ? "    " : indent) + word.trimStart();
    }
  }
  return [...lines, current];
}
