/** The ecosystems of OSV that a scan knows: how each names a package and orders its versions. */
import { compareDebianVersions, parseDebianVersion } from "../debian-version.ts";
import type { CompareVersions } from "./affected.ts";
import { compareApkVersions } from "./version/apk.ts";
import { compareMavenVersions } from "./version/maven.ts";
import { comparePythonVersions } from "./version/python.ts";
import { compareGoVersions, compareSemanticVersions } from "./version/semantic.ts";

export interface Ecosystem {
  readonly compare: CompareVersions;
  /** One spelling for each package, so that the names of a record and of an SBOM can be compared. */
  readonly spell: (name: string) => string;
}

const exact = (name: string): string => name;

function compareDebian(a: string, b: string): number | undefined {
  const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
  return x && y ? compareDebianVersions(x, y) : undefined;
}

/** By OSV's name, without the release that follows a colon. */
export const ECOSYSTEMS: ReadonlyMap<string, Ecosystem> = new Map([
  ["Debian", { compare: compareDebian, spell: exact }],
  ["Ubuntu", { compare: compareDebian, spell: exact }],
  ["Alpine", { compare: compareApkVersions, spell: exact }],
  ["npm", { compare: compareSemanticVersions, spell: exact }],
  // PEP 503.
  ["PyPI", { compare: comparePythonVersions, spell: (name) => name.toLowerCase().replace(/[-_.]+/g, "-") }],
  // The purl specification wants Go names in lower case, records and most tools keep their capitals.
  ["Go", { compare: compareGoVersions, spell: (name) => name.toLowerCase() }],
  ["Maven", { compare: compareMavenVersions, spell: exact }],
  ["crates.io", { compare: compareSemanticVersions, spell: exact }],
  // Its records are the ones about programs that no other ecosystem has, such as Node.js itself.
  ["Bitnami", { compare: compareSemanticVersions, spell: exact }],
]);

/** `Debian:12` is Debian, release 12; `Alpine:v3.20` likewise; `npm` has no release. */
export function splitEcosystem(text: string): { readonly base: string; readonly release: string | undefined } {
  const colon = text.indexOf(":");
  return colon < 0
    ? { base: text, release: undefined }
    : { base: text.slice(0, colon), release: text.slice(colon + 1) };
}
