/**
 * Which builds of an rpm distribution's modules an erratum is about. A module's packages exist in several streams at
 * once (Node.js 18 and 20), and no record names the stream: a build of a module says no more than that it is one, in
 * its release ("module+el8.9.0+…").
 */
import { compareRpmVersions } from "../rpm-version.ts";
import { type Judgement, judgeVersion } from "./affected.ts";
import type { OsvAffected } from "./osv-record.ts";

const MODULE = /\.module[_+]/;

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
