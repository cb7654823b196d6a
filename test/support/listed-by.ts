/** What a CycloneDX document of any tool lists of an ecosystem, in one spelling. */
import { PackageURL } from "packageurl-js";
import type { Ecosystem } from "./truth-images.ts";

export interface ListedComponent {
  readonly version?: string;
  readonly purl?: string;
  readonly components?: readonly ListedComponent[];
}

/** `name@version`, sorted, each once. An epoch stands before the version; source packages are left out. */
export function listedBy(components: readonly ListedComponent[], ecosystem: Ecosystem): string[] {
  const found = new Set<string>();
  const visit = (one: ListedComponent): void => {
    const spelled = one.purl?.startsWith(`pkg:${ecosystem}/`) ? spell(one.purl) : undefined;
    if (spelled !== undefined) found.add(spelled);
    for (const child of one.components ?? []) visit(child);
  };
  for (const one of components) visit(one);
  return [...found].sort();
}

function spell(purl: string): string | undefined {
  const { type, namespace, name, version, qualifiers } = PackageURL.fromString(purl);
  if (!version || qualifiers?.["arch"] === "source") return undefined;
  const epoch = qualifiers?.["epoch"];
  const full = epoch && epoch !== "0" && !version.includes(":") ? `${epoch}:${version}` : version;
  // The namespace of a distribution's package is the distribution.
  if (type === "deb" || type === "rpm") return `${name}@${full}`;
  return `${namespace ? `${namespace}/` : ""}${type === "pypi" ? name.toLowerCase().replace(/[-_.]+/g, "-") : name}@${full}`;
}
