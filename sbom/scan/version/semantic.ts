/** Order of Semantic Versions (semver.org 2.0.0), as npm and Go use it. */
import { parse, type SemVer } from "semver";

/**
 * Below, equal to or above 0; undefined if one of them is no version. Missing numbers count as 0, because
 * advisories write "1.0"; what npm reads loosely ("v1.2.3", "1.2.3beta") is read so too.
 */
export function compareSemanticVersions(a: string, b: string): number | undefined {
  const [x, y] = [read(a), read(b)];
  return x && y ? x.compare(y) : undefined;
}

function read(text: string): SemVer | null {
  const short = /^[v=\s]*(\d+(?:\.\d+)?)(?=$|[-+])/.exec(text);
  const numbers = short?.[1];
  if (!short || numbers === undefined) return parse(text, { loose: true });
  return parse(`${numbers}${numbers.includes(".") ? ".0" : ".0.0"}${text.slice(short[0].length)}`, { loose: true });
}

/** As `compareSemanticVersions`, of Go's modules and toolchains: "v1.2.3", "go1.21rc2", "1.21". */
export function compareGoVersions(a: string, b: string): number | undefined {
  return compareSemanticVersions(goVersion(a), goVersion(b));
}

/** A toolchain's name as a Semantic Version, as the Go vulnerability database writes it: go1.21rc2 is 1.21.0-rc.2. */
function goVersion(text: string): string {
  const match = /^(?:go)?(\d+\.\d+)((?:\.\d+)?)(?:(alpha|beta|rc)(\d+))?(?:[ -](?!0).*)?$/.exec(text);
  if (!match || (match[3] === undefined && !text.startsWith("go"))) return text;
  const [, minor, patch, phase, number] = match;
  return `${minor}${patch || ".0"}${phase ? `-${phase}.${number}` : ""}`;
}
