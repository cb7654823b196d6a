/** Order of Alpine's package versions, as apk-tools 3 has it (apk-package(5), "VERSION"). */

const VERSION =
  /^(\d+(?:\.\d+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)\d*)*)(?:~([0-9a-f]+))?(?:-r(\d+))?$/;
/** Before the version without a suffix, and after it. */
const BEFORE = ["alpha", "beta", "pre", "rc"];
const AFTER = ["cvs", "svn", "git", "hg", "p"];

/** What a version is made of, from left to right; where one ends earlier, END stands against the rest. */
interface Token {
  /** The more, the further to the right it may stand: so "1.0.1" is above "1.0a", and that above "1.0-r1". */
  readonly rank: number;
  readonly weight: number;
  readonly digits: string;
}

const RANK = { number: 1, letter: 2, suffix: 3, suffixNumber: 4, hash: 5, revision: 6, end: 7 } as const;
const END: Token = { rank: RANK.end, weight: 0, digits: "" };

/** Below, equal to or above 0; undefined if one of them is no version of Alpine's. */
export function compareApkVersions(a: string, b: string): number | undefined {
  const left = tokensOf(a);
  const right = tokensOf(b);
  if (!left || !right) return undefined;
  for (let i = 0; ; i++) {
    const x = left[i] ?? END;
    const y = right[i] ?? END;
    if (x.rank === RANK.end && y.rank === RANK.end) return 0;
    if (x.rank === y.rank) {
      const order = compareTokens(x, y, i === 0);
      if (order !== 0) return order;
    } else if (x.rank === RANK.suffix && x.weight < 0) return -1;
    else if (y.rank === RANK.suffix && y.weight < 0) return 1;
    else return y.rank - x.rank;
  }
}

function tokensOf(text: string): Token[] | undefined {
  const match = text.length > 256 ? null : VERSION.exec(text);
  if (!match) return undefined;
  const [, numbers = "", letter = "", suffixes = "", hash, revision] = match;
  const tokens = numbers.split(".").map((digits): Token => ({ rank: RANK.number, weight: 0, digits }));
  if (letter) tokens.push({ rank: RANK.letter, weight: letter.charCodeAt(0), digits: "" });
  for (const [, name = "", digits = ""] of suffixes.matchAll(/_([a-z]+)(\d*)/g)) {
    const before = BEFORE.indexOf(name);
    tokens.push({
      rank: RANK.suffix,
      weight: before < 0 ? AFTER.indexOf(name) + 1 : before - BEFORE.length,
      digits: "",
    });
    if (digits) tokens.push({ rank: RANK.suffixNumber, weight: 0, digits });
  }
  if (hash) tokens.push({ rank: RANK.hash, weight: 0, digits: hash });
  if (revision) tokens.push({ rank: RANK.revision, weight: 0, digits: revision });
  return tokens;
}

function compareTokens(x: Token, y: Token, isFirst: boolean): number {
  if (x.weight !== y.weight) return x.weight - y.weight;
  // A number with a leading zero is a fraction's digits: 1.05 is below 1.5.
  const isFraction = x.rank === RANK.number && !isFirst && (x.digits.startsWith("0") || y.digits.startsWith("0"));
  const isText = x.rank === RANK.hash || isFraction;
  return isText ? compareText(x.digits, y.digits) : compareDigits(x.digits, y.digits);
}

function compareDigits(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ""), b.replace(/^0+/, "")];
  return x.length - y.length || compareText(x, y);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
