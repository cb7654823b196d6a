/** Order of Maven's versions (POM reference, "Version Order Specification"; maven-artifact 3.8's ComparableVersion). */

/** A number (its digits without leading zeros), a qualifier, or what follows a hyphen or a change of kind. */
type Item = { readonly digits: string } | { readonly word: string } | Item[];

const QUALIFIERS = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE = QUALIFIERS.indexOf("");
const SHORT: Readonly<Record<string, string>> = { a: "alpha", b: "beta", m: "milestone" };
const SAME: Readonly<Record<string, string>> = { ga: "", final: "", release: "", cr: "rc" };
const LENGTH_MAX = 256;

/** Below, equal to or above 0; undefined if one of them is empty or longer than 256 characters. */
export function compareMavenVersions(a: string, b: string): number | undefined {
  if (![a, b].every((text) => text.length > 0 && text.length <= LENGTH_MAX && !/[\s\p{Cc}]/u.test(text))) {
    return undefined;
  }
  return compareLists(parseVersion(a), parseVersion(b));
}

function parseVersion(version: string): Item[] {
  const text = version.toLowerCase();
  const top: Item[] = [];
  const lists = [top];
  let list = top;
  let start = 0;
  let isDigit = false;
  const open = (): void => {
    const inner: Item[] = [];
    list.push(inner);
    list = inner;
    lists.push(inner);
  };
  const take = (end: number, isFollowedByDigit: boolean): void => {
    const part = text.slice(start, end);
    list.push(isDigit ? number(part) : qualifier(part, isFollowedByDigit));
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    const isNumeral = character >= "0" && character <= "9";
    if (character === "." || character === "-") {
      if (i === start) list.push(number("0"));
      else take(i, false);
      start = i + 1;
      if (character === "-") open();
    } else {
      if (isNumeral !== isDigit && i > start) {
        // ".X" counts as "-X" before a digit and at the end, and only there.
        if (!isDigit && list.length > 0) open();
        take(i, isNumeral);
        start = i;
        open();
      }
      isDigit = isNumeral;
    }
  }
  if (text.length > start) {
    if (!isDigit && list.length > 0) open();
    take(text.length, false);
  }
  for (const one of lists.reverse()) trim(one);
  return top;
}

function number(digits: string): Item {
  return { digits: digits.replace(/^0+/, "") };
}

function qualifier(text: string, isFollowedByDigit: boolean): Item {
  const long = (isFollowedByDigit ? SHORT[text] : undefined) ?? text;
  return { word: Object.hasOwn(SAME, long) ? (SAME[long] as string) : long };
}

/** "1.0.0" is "1", "1-0.ga" too: what says nothing is left out, up to the last list that says something. */
function trim(list: Item[]): void {
  for (let i = list.length - 1; i >= 0; i--) {
    const item = list[i] as Item;
    if (isNothing(item)) list.splice(i, 1);
    else if (!Array.isArray(item)) return;
  }
}

function isNothing(item: Item): boolean {
  if (Array.isArray(item)) return item.length === 0;
  return "digits" in item ? item.digits === "" : item.word === "";
}

function compareLists(a: readonly Item[], b: readonly Item[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [x, y] = [a[i], b[i]];
    const order = x !== undefined ? compareItems(x, y) : y !== undefined ? -compareItems(y, undefined) : 0;
    if (order !== 0) return order;
  }
  return 0;
}

function compareItems(x: Item, y: Item | undefined): number {
  if (y === undefined) return compareWithNothing(x);
  const [rankX, rankY] = [rank(x), rank(y)];
  if (rankX !== rankY) return rankX - rankY;
  if (Array.isArray(x)) return compareLists(x, y as readonly Item[]);
  if ("digits" in x) {
    const other = (y as { readonly digits: string }).digits;
    return x.digits.length - other.length || compareText(x.digits, other);
  }
  return compareText(order(x.word), order((y as { readonly word: string }).word));
}

function compareWithNothing(item: Item): number {
  if (!Array.isArray(item)) {
    return "digits" in item ? Number(item.digits !== "") : compareText(order(item.word), String(RELEASE));
  }
  for (const one of item) {
    const result = compareWithNothing(one);
    if (result !== 0) return result;
  }
  return 0;
}

/** A word is below a list, and a list below a number. */
function rank(item: Item): number {
  if (Array.isArray(item)) return 1;
  return "digits" in item ? 2 : 0;
}

/** Qualifiers that Maven knows come in its order, before the others, which are compared as text. */
function order(word: string): string {
  const known = QUALIFIERS.indexOf(word);
  return known < 0 ? `${QUALIFIERS.length}-${word}` : String(known);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
