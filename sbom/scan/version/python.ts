/** Order of Python's versions (PEP 440, as the packaging user guide's "Version specifiers" keeps it). */

const VERSION =
  /^\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*$/i;

const PHASES: Readonly<Record<string, number>> = { a: 1, alpha: 1, b: 2, beta: 2, c: 3, rc: 3, pre: 3, preview: 3 };
const FINAL = 4;
const DEVELOPMENT = 0;

type Key = readonly (bigint | string)[];

interface PythonVersion {
  readonly epoch: bigint;
  readonly release: readonly bigint[];
  /** Phase and its number, then post-release, then development release; compared from left to right. */
  readonly rest: readonly bigint[];
  readonly local: Key | undefined;
}

/** Below, equal to or above 0; undefined if one of them is no version. */
export function comparePythonVersions(a: string, b: string): number | undefined {
  const [x, y] = [parseVersion(a), parseVersion(b)];
  if (!x || !y) return undefined;
  return (
    compareNumbers([x.epoch], [y.epoch]) ||
    compareNumbers(x.release, y.release) ||
    compareNumbers(x.rest, y.rest) ||
    compareLocal(x.local, y.local)
  );
}

function parseVersion(text: string): PythonVersion | undefined {
  const match = text.length > 256 ? null : VERSION.exec(text);
  if (!match) return undefined;
  const [, epoch, release = "", phase, phaseNumber, bare, post, postNumber, dev, devNumber, local] = match;
  const postRelease = post !== undefined ? BigInt(postNumber || "0") : bare !== undefined ? BigInt(bare) : undefined;
  // Without a phase, a development release of the final one comes before all its phases.
  const isEarly = phase === undefined && postRelease === undefined && dev !== undefined;
  const level = phase !== undefined ? (PHASES[phase.toLowerCase()] as number) : isEarly ? DEVELOPMENT : FINAL;
  return {
    epoch: BigInt(epoch ?? "0"),
    release: release.split(".").map(BigInt),
    rest: [
      BigInt(level),
      BigInt(phaseNumber || "0"),
      postRelease === undefined ? -1n : postRelease,
      // No development release comes after all of them.
      BigInt(dev === undefined ? 1 : 0),
      BigInt(devNumber || "0"),
    ],
    local: local
      ?.toLowerCase()
      .split(/[-_.]/)
      .map((part) => (/^\d+$/.test(part) ? BigInt(part) : part)),
  };
}

function compareNumbers(a: readonly bigint[], b: readonly bigint[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const order = compare(a[i] ?? 0n, b[i] ?? 0n);
    if (order !== 0) return order;
  }
  return 0;
}

/** A number is above a word, and more parts are above fewer. */
function compareLocal(a: Key | undefined, b: Key | undefined): number {
  if (!a || !b) return Number(a !== undefined) - Number(b !== undefined);
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [x, y] = [a[i], b[i]];
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1;
    if (typeof x !== typeof y) return typeof x === "bigint" ? 1 : -1;
    const order = compare(x, y);
    if (order !== 0) return order;
  }
  return 0;
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : Number(a > b);
}
