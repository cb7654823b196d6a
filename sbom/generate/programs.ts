/**
 * Programs that no package manager put there: Go programs with the modules that are linked into them, and
 * Node.js itself. A program of a distribution's package is left to that package, whose maintainers fix it.
 */

import type { GoFacts } from "./binary-probe.ts";
import { byText, type Catalog, type CatalogPackage, type Occurrence, type PackageFile } from "./catalog.ts";
import { type FileNode, type FileTree, pathOf } from "./file-tree.ts";
import { renderPurl } from "./purl.ts";

const PATH_MAX_LENGTH = 512;

interface Program {
  readonly location: string;
  readonly file: FileNode;
}

interface GoModule {
  readonly path: string;
  readonly version: string;
}

/** `isOwned` tells the files of the distribution's packages. */
export function catalogPrograms(tree: FileTree, isOwned: (file: FileNode) => boolean): Catalog {
  const packages = new Map<string, CatalogPackage>();
  const skipped: { location: string; reason: string }[] = [];
  const owned = new Set<FileNode>();
  for (const { location, file } of programsIn(tree)) {
    const { facts } = file;
    if (isOwned(file) || (facts?.kind !== "node" && facts?.kind !== "go")) continue;
    const occurrence = { location, layer: file.layer };
    if (facts.kind === "node") addNode(packages, facts.version, occurrence, fileOf(location, facts.sha512));
    else if (facts.toolchain === undefined) {
      skipped.push({ location, reason: "a Go program whose build information is not of Go 1.18 or newer" });
      continue;
    } else if (!addGo(packages, facts, facts.toolchain, occurrence)) {
      skipped.push({ location, reason: "a Go program that does not name its modules" });
      continue;
    }
    owned.add(file);
  }
  return {
    packages: [...packages.values()].sort((a, b) => byText(a.key, b.key)),
    skipped,
    ownedFiles: owned,
  };
}

function* programsIn(tree: FileTree): Generator<Program> {
  for (const directory of tree.directories()) {
    const path = pathOf(directory);
    for (const [name, node] of [...directory.children].sort(([a], [b]) => byText(a, b))) {
      if (node.kind === "file" && node.facts)
        yield { location: `/${path === "" ? "" : `${path}/`}${name}`, file: node };
    }
  }
}

function fileOf(location: string, sha512: string): PackageFile {
  return { name: location.slice(location.lastIndexOf("/") + 1), sha512, isExecutable: true, isArchive: false };
}

function addNode(
  packages: Map<string, CatalogPackage>,
  version: string,
  occurrence: Occurrence,
  file: PackageFile,
): void {
  add(packages, occurrence, {
    key: `node@${version}`,
    type: "application",
    name: "node",
    version,
    purl: renderPurl({ type: "generic", name: "node", version }),
    supplier: "OpenJS Foundation",
    licences: [],
    properties: [],
    dependsOn: [],
    file,
    // OpenSSL, V8, zlib and others are linked into it, and nothing in it lists them.
    isDependencyListComplete: false,
  });
}

/** False if the program was built without modules, so that more may be in it than is listed. */
function addGo(
  packages: Map<string, CatalogPackage>,
  { modules, sha512 }: GoFacts,
  toolchain: string,
  occurrence: Occurrence,
): boolean {
  const { path, main, dependencies } = parseModules(modules);
  const keys: string[] = [];
  const version = /^go(\d[^\s]*)/.exec(toolchain)?.[1];
  const library = (module: GoModule, properties: CatalogPackage["properties"] = []): void => {
    const key = `golang:${module.path}@${module.version}`;
    keys.push(key);
    add(packages, occurrence, {
      key,
      type: "library",
      name: module.path,
      version: module.version,
      purl: goPurl(module.path, module.version),
      supplier: undefined,
      licences: [],
      properties,
      dependsOn: [],
      // The program names its modules, not which of them needs which.
      isDependencyListComplete: false,
    });
  };
  library({ path: "stdlib", version: version ?? toolchain }, [["sealift:go:toolchain", toolchain]]);
  for (const one of dependencies) library(one);
  const isReleased = main !== undefined && main.version !== "(devel)" && main.version !== "";
  add(packages, occurrence, {
    key: `go-program:${occurrence.location}`,
    type: "application",
    name: path || main?.path || (occurrence.location.split("/").at(-1) as string),
    version: isReleased ? main.version : undefined,
    purl: isReleased ? goPurl(main.path, main.version) : undefined,
    supplier: undefined,
    licences: [],
    properties: [["sealift:go:toolchain", toolchain]],
    dependsOn: [...new Set(keys)].sort(byText),
    isDependencyListComplete: main !== undefined,
    file: fileOf(occurrence.location, sha512),
  });
  return main !== undefined;
}

function add(
  packages: Map<string, CatalogPackage>,
  occurrence: Occurrence,
  one: Omit<CatalogPackage, "occurrences">,
): void {
  const present = packages.get(one.key);
  // Two files that call themselves the same are described by none.
  const file = present && present.file?.sha512 !== one.file?.sha512 ? undefined : one.file;
  packages.set(one.key, { ...one, file, occurrences: [...(present?.occurrences ?? []), occurrence] });
}

function goPurl(path: string, version: string): string {
  const slash = path.lastIndexOf("/");
  const parts = slash < 0 ? { name: path } : { namespace: path.slice(0, slash), name: path.slice(slash + 1) };
  return renderPurl({ type: "golang", ...parts, version });
}

/** runtime/debug.BuildInfo's text: tab-separated lines; a `=>` line replaces the module of the line before. */
export function parseModules(text: string): {
  readonly path: string;
  readonly main: GoModule | undefined;
  readonly dependencies: readonly GoModule[];
} {
  let path = "";
  let main: GoModule | undefined;
  const dependencies: GoModule[] = [];
  for (const line of text.split("\n")) {
    const [kind, name = "", version = ""] = line.split("\t");
    if (name.length > PATH_MAX_LENGTH || version.length > PATH_MAX_LENGTH || /[\s\p{Cc}]/u.test(name + version))
      continue;
    if (kind === "path") path = name;
    else if (kind === "mod") main = { path: name, version };
    else if (kind === "dep") dependencies.push({ path: name, version });
    // A replacement from a directory has no version: the module's own is the best that is known.
    else if (kind === "=>" && version !== "" && dependencies.length > 0)
      dependencies.splice(-1, 1, { path: name, version });
  }
  return { path, main, dependencies };
}
