/** Order of Debian versions (Debian Policy 5.6.12; dpkg's lib/dpkg/version.c). */

export interface DebianVersion {
  readonly epoch: number;
  readonly upstream: string;
  /** "" if there is none, which sorts like "0". */
  readonly revision: string;
}

/** Takes `[epoch:]upstream[-revision]` apart; undefined if `text` is no Debian version. */
export function parseDebianVersion(text: string): DebianVersion | undefined {
  const match = /^(?:(\d{1,9}):)?([A-Za-z0-9.+~:-]+)$/.exec(text);
  if (!match) return undefined;
  const rest = match[2] as string;
  const hyphen = rest.lastIndexOf("-");
  const upstream = hyphen < 0 ? rest : rest.slice(0, hyphen);
  const revision = hyphen < 0 ? "" : rest.slice(hyphen + 1);
  // A colon ends an epoch; after one, another may stand in the upstream version, and never in the revision.
  const withoutColon = match[1] === undefined ? rest : revision;
  if (upstream === "" || (hyphen >= 0 && revision === "") || withoutColon.includes(":")) return undefined;
  return { epoch: Number(match[1] ?? 0), upstream, revision };
}

/** Below, equal to or above 0 as `a` is older than, equal to or newer than `b`. */
export function compareDebianVersions(a: DebianVersion, b: DebianVersion): number {
  return a.epoch - b.epoch || comparePart(a.upstream, b.upstream) || comparePart(a.revision, b.revision);
}

function comparePart(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    while ((i < a.length && !isDigit(a, i)) || (j < b.length && !isDigit(b, j))) {
      const difference = weight(a, i) - weight(b, j);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const startA = i;
    const startB = j;
    while (isDigit(a, i)) i += 1;
    while (isDigit(b, j)) j += 1;
    const numberA = a.slice(startA, i).replace(/^0+/, "");
    const numberB = b.slice(startB, j).replace(/^0+/, "");
    const difference = numberA.length - numberB.length || (numberA < numberB ? -1 : Number(numberA > numberB));
    if (difference !== 0) return difference;
  }
  return 0;
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

/** "~" sorts before the end of the part, the end and digits before letters, letters before the rest. */
function weight(text: string, at: number): number {
  if (at >= text.length || isDigit(text, at)) return 0;
  const code = text.charCodeAt(at);
  if (code === 0x7e) return -1;
  const isLetter = (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
  return isLetter ? code : code + 256;
}
