/**
 * What the errata of rpm distributions (ALSA, RLSA, RHSA and their like) say beside OSV's own members: how bad they
 * are, which CVEs they are about, and for which builds.
 *
 * A module's packages exist in several streams at once (Node.js 18 and 20), and no record names the stream: a build
 * of a module says no more than that it is one, in its release ("module+el8.9.0+…").
 */
import { compareRpmVersions } from "../rpm-version.ts";
import { type Judgement, judgeVersion } from "./affected.ts";
import type { OsvAffected } from "./osv-record.ts";

/** Of security, of bugs, of enhancements. */
const ERRATUM = /^(?:AL|RL|RX|RH)([SBE])A-\d{4}:/;
const RATING = /^(Critical|Important|Moderate|Low): /;
const MODULE = /\.module[_+]/;

/** CVEs of an erratum whose record names them as related only; none of any other record. */
export function cvesOfErratum(id: string, related: readonly string[]): readonly string[] {
  return ERRATUM.test(id) ? related.filter((name) => name.startsWith("CVE-")) : [];
}

/**
 * The word that begins its title, where it is of security. One of bugs or enhancements that names no CVE is no
 * vulnerability: `none`. Nothing of any other record.
 */
export function ratingsOfErratum(id: string, summary: string, cves: readonly string[]): string[] {
  const [, kind] = ERRATUM.exec(id) ?? [];
  if (kind === undefined) return [];
  if (kind !== "S" && cves.length === 0) return ["none"];
  const word = RATING.exec(summary)?.[1];
  return word === undefined ? [] : [word];
}

/**
 * `judgeVersion` in rpm's order. A module's build is compared with those of modules only, and any other with the
 * others. A module's build below the fix of some stream is `undecided`: the fix may be of another stream. At or above
 * all of them it is unaffected, whichever stream it is of.
 */
export function judgeRpmVersion(version: string, affected: OsvAffected): Judgement {
  const isModule = MODULE.test(version);
  const ranges = affected.ranges.filter((events) => {
    const bounds = events.filter(([kind]) => kind !== "introduced");
    return bounds.length === 0 || bounds.some(([, bound]) => MODULE.test(bound)) === isModule;
  });
  const judgement = judgeVersion(version, { ...affected, ranges }, compareRpmVersions);
  const isDoubtful = isModule && judgement.status === "affected" && !affected.versions.includes(version);
  return isDoubtful ? { ...judgement, status: "undecided" } : judgement;
}
