/** The ecosystems of OSV that a scan knows: how each names a package and orders its versions. */
import { compareDebianVersions, parseDebianVersion } from "../debian-version.ts";
import { compareRpmVersions } from "../rpm-version.ts";
import { type CompareVersions, type Judgement, judgeVersion } from "./affected.ts";
import type { OsvAffected } from "./osv-record.ts";
import { judgeRpmVersion } from "./rpm-modules.ts";
import { compareApkVersions } from "./version/apk.ts";
import { compareMavenVersions } from "./version/maven.ts";
import { comparePythonVersions } from "./version/python.ts";
import { compareGoVersions, compareSemanticVersions } from "./version/semantic.ts";

export interface Ecosystem {
  readonly compare: CompareVersions;
  readonly judge: (version: string, affected: OsvAffected) => Judgement;
  /** One spelling for each package, so that the names of a record and of an SBOM can be compared. */
  readonly spell: (name: string) => string;
  /** A record's release as a package's identity names it. */
  readonly release: (text: string) => string;
}

const same = (text: string): string => text;

function inOrderOf(compare: CompareVersions, spell = same): Ecosystem {
  return { compare, judge: (version, affected) => judgeVersion(version, affected, compare), spell, release: same };
}

const RPM: Ecosystem = { compare: compareRpmVersions, judge: judgeRpmVersion, spell: same, release: same };

function compareDebian(a: string, b: string): number | undefined {
  const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
  return x && y ? compareDebianVersions(x, y) : undefined;
}

/** Of `enterprise_linux:9::baseos` and `enterprise_linux:10.0` the major version; other products are not RHEL itself. */
function redHatRelease(text: string): string {
  return /^enterprise_linux:(\d+)(?:[.:].*)?$/.exec(text)?.[1] ?? text;
}

/** By OSV's name, without the release that follows a colon. */
export const ECOSYSTEMS: ReadonlyMap<string, Ecosystem> = new Map([
  ["Debian", inOrderOf(compareDebian)],
  ["Ubuntu", inOrderOf(compareDebian)],
  ["Alpine", inOrderOf(compareApkVersions)],
  ["AlmaLinux", RPM],
  ["Rocky Linux", RPM],
  ["Red Hat", { ...RPM, release: redHatRelease }],
  ["npm", inOrderOf(compareSemanticVersions)],
  // PEP 503.
  ["PyPI", inOrderOf(comparePythonVersions, (name) => name.toLowerCase().replace(/[-_.]+/g, "-"))],
  // The purl specification wants Go names in lower case, records and most tools keep their capitals.
  ["Go", inOrderOf(compareGoVersions, (name) => name.toLowerCase())],
  ["Maven", inOrderOf(compareMavenVersions)],
  ["crates.io", inOrderOf(compareSemanticVersions)],
  // Its records are the ones about programs that no other ecosystem has, such as Node.js itself.
  ["Bitnami", inOrderOf(compareSemanticVersions)],
]);

/** `Debian:12` is Debian, release 12; `Red Hat:enterprise_linux:9::baseos` likewise 9; `npm` has no release. */
export function splitEcosystem(text: string): { readonly base: string; readonly release: string | undefined } {
  const colon = text.indexOf(":");
  if (colon < 0) return { base: text, release: undefined };
  const base = text.slice(0, colon);
  const release = text.slice(colon + 1);
  return { base, release: ECOSYSTEMS.get(base)?.release(release) ?? release };
}
