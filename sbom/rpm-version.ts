/** Order of rpm's versions (rpm-version(7); rpm's rpmio/rpmvercmp.c): `[epoch:]version[-release]`. */

interface RpmVersion {
  readonly epoch: number;
  readonly version: string;
  readonly release: string | undefined;
}

function parseRpmVersion(text: string): RpmVersion | undefined {
  const match = /^(?:(\d{1,10}):)?([\w.+~^]+)(?:-([\w.+~^]+))?$/.exec(text);
  return match ? { epoch: Number(match[1] ?? 0), version: match[2] as string, release: match[3] } : undefined;
}

/** Below, equal to or above 0; undefined if one of the two is no version. A release that one lacks is not compared. */
export function compareRpmVersions(a: string, b: string): number | undefined {
  const [x, y] = [parseRpmVersion(a), parseRpmVersion(b)];
  if (!x || !y) return undefined;
  const order = x.epoch - y.epoch || compareParts(x.version, y.version);
  if (order !== 0 || x.release === undefined || y.release === undefined) return order;
  return compareParts(x.release, y.release);
}

/** Runs of digits, runs of letters, and the two marks; what separates them does not count. */
function segmentsOf(part: string): string[] {
  return part.match(/\d+|[A-Za-z]+|~|\^/g) ?? [];
}

function compareParts(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [segmentsOf(a), segmentsOf(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i += 1) {
    const order = compareSegments(x[i], y[i]);
    if (order !== 0) return order;
  }
  return 0;
}

/** "~" sorts before the end, the end before "^", that before everything else; numbers are newer than letters. */
function rankOf(segment: string | undefined): number {
  if (segment === undefined) return 1;
  if (segment === "~") return 0;
  if (segment === "^") return 2;
  return /^\d/.test(segment) ? 4 : 3;
}

function compareSegments(a: string | undefined, b: string | undefined): number {
  const order = rankOf(a) - rankOf(b);
  if (order !== 0 || a === undefined || b === undefined) return order;
  const [x, y] = rankOf(a) === 4 ? [a.replace(/^0+/, ""), b.replace(/^0+/, "")] : [a, b];
  const longer = rankOf(a) === 4 ? x.length - y.length : 0;
  return longer || (x < y ? -1 : Number(x > y));
}
