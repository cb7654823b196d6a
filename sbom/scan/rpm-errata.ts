/**
 * What the errata of rpm distributions (ALSA, RLSA, RHSA and their like) say beside OSV's own members: how bad they
 * are, and which CVEs they are about.
 */

/** Of security, of bugs, of enhancements. */
const ERRATUM = /^(?:AL|RL|RX|RH)([SBE])A-\d{4}:/;
const RATING = /^(Critical|Important|Moderate|Low): /;

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
