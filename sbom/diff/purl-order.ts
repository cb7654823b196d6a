/** Which of two versions of a package is newer, by its purl's type. */
import type { CompareVersions } from "../scan/affected.ts";
import { ECOSYSTEMS } from "../scan/ecosystems.ts";

const ECOSYSTEM_OF: Readonly<Record<string, string>> = {
  deb: "Debian",
  apk: "Alpine",
  // All distributions of rpm order alike.
  rpm: "Red Hat",
  npm: "npm",
  pypi: "PyPI",
  golang: "Go",
  maven: "Maven",
  cargo: "crates.io",
  generic: "npm",
};

/** Undefined is given for versions that have no known order. `purl` may lack a version. */
export function compareVersionsOf(purl: string): CompareVersions {
  const type = /^pkg:([a-z.+-]+)\//.exec(purl)?.[1] ?? "";
  const ecosystem = Object.hasOwn(ECOSYSTEM_OF, type) ? ECOSYSTEMS.get(ECOSYSTEM_OF[type] as string) : undefined;
  return ecosystem?.compare ?? (() => undefined);
}
