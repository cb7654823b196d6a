/**
 * Java packages in archives outside a distribution's packages: Maven's coordinates where the archive has
 * them (shaded ones too), and archives without any by their file's name, without a purl.
 */
import { byText, type Catalog, type CatalogPackage, type PackageFile } from "./catalog.ts";
import { type FileNode, type FileTree, pathOf } from "./file-tree.ts";
import { renderPurl } from "./purl.ts";

/** `isOwned` tells the files of the distribution's packages. */
export function catalogJava(tree: FileTree, isOwned: (file: FileNode) => boolean): Catalog {
  const packages = new Map<string, CatalogPackage>();
  const skipped: { location: string; reason: string }[] = [];
  const ownedFiles = new Set<FileNode>();
  for (const directory of tree.directories()) {
    const path = pathOf(directory);
    for (const [name, node] of directory.children) {
      if (node.kind !== "file" || node.facts?.kind !== "java" || isOwned(node)) continue;
      const location = `/${path === "" ? "" : `${path}/`}${name}`;
      const { facts, layer } = node;
      for (const reason of facts.problems) skipped.push({ location, reason });
      if (facts.problems.length === 0) ownedFiles.add(node);
      for (const { group, artifact, version, inside, licences } of facts.packages) {
        const where = inside === "" ? location : `${location}!/${inside}`;
        const isNamed = group !== undefined && version !== undefined;
        const key = isNamed ? `maven:${group}:${artifact}@${version}` : `java-archive:${where}`;
        const present = packages.get(key);
        // Of several packages in one archive none is the file.
        const isWhole = inside === "" && facts.packages.filter((one) => one.inside === "").length === 1;
        const file: PackageFile | undefined =
          isWhole && facts.sha512 !== undefined
            ? { name, sha512: facts.sha512, isExecutable: node.isExecutable, isArchive: true }
            : undefined;
        const occurrences = [...(present?.occurrences ?? []), { location: where, layer }];
        packages.set(key, {
          key,
          type: "library",
          name: artifact,
          version,
          purl: isNamed ? renderPurl({ type: "maven", namespace: group, name: artifact, version }) : undefined,
          supplier: undefined,
          licences: [...new Set([...(present?.licences ?? []), ...licences])].sort(byText),
          properties: [],
          occurrences: occurrences.sort((a, b) => byText(a.location, b.location)),
          dependsOn: [],
          isDependencyListComplete: false,
          file: present && present.file?.sha512 !== file?.sha512 ? undefined : file,
        });
      }
    }
  }
  return {
    packages: [...packages.values()].sort((a, b) => byText(a.key, b.key)),
    skipped: skipped.sort((a, b) => byText(a.location, b.location)),
    ownedFiles,
  };
}
