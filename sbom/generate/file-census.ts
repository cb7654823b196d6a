/** What no cataloger accounts for, so that an SBOM says where its knowledge ends. */
import { byText } from "./catalog.ts";
import type { FileNode, FileTree } from "./file-tree.ts";
import { pathOf } from "./file-tree.ts";

export interface FileCensus {
  readonly files: number;
  /** Files that belong to no listed package. */
  readonly unowned: number;
  readonly unownedExecutables: number;
  /** Ecosystems whose traces were seen but that Sealift does not list yet, sorted. */
  readonly notCatalogued: readonly string[];
}

/**
 * Only traces that belong to no listed package count: Debian's Python modules are Debian packages. So of an
 * ecosystem that is listed, what could not be read counts.
 */
const TRACES: readonly (readonly [ecosystem: string, pattern: RegExp])[] = [
  ["apk", /^lib\/apk\/db\/installed$/],
  ["rpm", /^(?:var\/lib|usr\/lib\/sysimage|usr\/share)\/rpm\/(?:Packages(?:\.db)?|rpmdb\.sqlite)$/],
  ["pypi", /\.(?:dist-info\/METADATA|egg-info\/PKG-INFO|egg-info)$/],
  ["maven", /\.(?:jar|war|ear)$/],
  ["gem", /\/specifications\/[^/]+\.gemspec$/],
  ["composer", /(?:^|\/)vendor\/composer\/installed\.(?:json|php)$/],
  ["nuget", /\.deps\.json$/],
  ["conda", /(?:^|\/)conda-meta\/[^/]+\.json$/],
  ["cran", /\/(?:site-)?library\/[^/]+\/DESCRIPTION$/],
  ["alpm", /^var\/lib\/pacman\/local\/[^/]+\/desc$/],
  ["opkg", /^(?:usr\/lib|var\/lib|usr\/share)\/opkg\/status$/],
  ["ebuild", /^var\/db\/pkg\/[^/]+\/[^/]+\/PF$/],
  ["nix", /^nix\/store\/[^/]+\//],
];

export function censusFiles(tree: FileTree, isOwned: (file: FileNode) => boolean): FileCensus {
  let files = 0;
  let unowned = 0;
  let unownedExecutables = 0;
  const seen = new Set<string>();
  for (const directory of tree.directories()) {
    const path = pathOf(directory);
    for (const [name, node] of directory.children) {
      if (node.kind !== "file") continue;
      files += 1;
      if (isOwned(node)) continue;
      unowned += 1;
      if (node.isExecutable) unownedExecutables += 1;
      const full = path === "" ? name : `${path}/${name}`;
      if (node.facts?.kind === "go") seen.add("golang");
      for (const [ecosystem, pattern] of TRACES) if (pattern.test(full)) seen.add(ecosystem);
    }
  }
  return { files, unowned, unownedExecutables, notCatalogued: [...seen].sort(byText) };
}
