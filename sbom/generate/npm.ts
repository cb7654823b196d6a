/**
 * npm packages as they lie in the image: each directory of node_modules that has a package.json with a
 * name and a version, wherever it is nested, and the applications around them. Directories reached
 * through a symbolic link (pnpm's store, workspaces) are listed once, where they really are, and
 * dependencies are resolved as Node does it from there (nodejs.org "Loading from node_modules folders").
 *
 * Not seen: packages in archives (Yarn Plug'n'Play), and code that a bundler copied into one file.
 */
import { sbomError } from "../error.ts";
import { byText, type Catalog, type CatalogPackage, type Occurrence } from "./catalog.ts";
import { contentDigest, digestProperties } from "./content-digest.ts";
import { type DirectoryNode, type FileNode, type FileTree, pathOf } from "./file-tree.ts";
import { renderPurl } from "./purl.ts";
import { quote } from "./tar-reader.ts";

/** The name of a package that node_modules can hold, old ones in capitals too. */
const NAME = /^(?:@[^\s/@%\\]+\/)?[^\s/@%\\]+$/;
const NAME_MAX_LENGTH = 214;
const VERSION_MAX_LENGTH = 256;
/** No package has a hundredth of it; each one is looked up in every directory above. */
const DEPENDENCIES_MAX = 10_000;

/** Subresource Integrity, as npm writes it. */
const INTEGRITY = /^sha(?:1|256|384|512)-[A-Za-z0-9+/]{20,100}={0,2}$/;

interface Manifest {
  readonly name: string;
  readonly version: string | undefined;
  readonly isPrivate: boolean;
  readonly licences: readonly string[];
  readonly dependencies: readonly string[];
  readonly optionalDependencies: readonly string[];
}

interface Instance {
  readonly directory: DirectoryNode;
  readonly manifest: Manifest;
  readonly isApplication: boolean;
  readonly occurrence: Occurrence;
  readonly key: string;
}

interface Candidates {
  /** Directly in a node_modules directory. */
  readonly packages: Set<DirectoryNode>;
  /** Where a symbolic link in a node_modules directory leads. */
  readonly linked: Set<DirectoryNode>;
  /** Outside any node_modules directory. */
  readonly applications: Set<DirectoryNode>;
}

/**
 * `isOwned` tells files of another ecosystem's packages: what a Debian package installs outside
 * node_modules is that package, not an application.
 * @throws SBOM_CONTENT_NOT_KEPT
 */
export function catalogNpm(tree: FileTree, isOwned: (file: FileNode) => boolean): Catalog {
  const candidates = findCandidates(tree);
  const instances = new Map<DirectoryNode, Instance>();
  const skipped: { location: string; reason: string }[] = [];
  const add = (directory: DirectoryNode, isApplication: boolean): void => {
    const file = tree.lookupFrom(directory, "package.json");
    if (file?.kind !== "file" || (isApplication && isOwned(file))) return;
    const location = `/${join(pathOf(directory), "package.json")}`;
    const manifest = readManifest(file, location);
    if (typeof manifest === "string") {
      skipped.push({ location, reason: manifest });
    } else if (manifest.version === undefined && !isApplication) {
      skipped.push({ location, reason: "no version" });
    } else {
      const key = isApplication ? `npm-application:/${pathOf(directory)}` : `npm:${manifest.name}@${manifest.version}`;
      const occurrence = { location, layer: file.layer };
      instances.set(directory, { directory, manifest, isApplication, occurrence, key });
    }
  };
  for (const directory of candidates.packages) add(directory, false);
  for (const directory of candidates.applications) add(directory, true);
  return {
    packages: describeAll(tree, instances, recordedIntegrities(tree, instances)),
    skipped: skipped.sort((a, b) => byText(a.location, b.location)),
    ownedFiles: ownedFiles(instances),
  };
}

function findCandidates(tree: FileTree): Candidates {
  const found: Candidates = { packages: new Set(), linked: new Set(), applications: new Set() };
  for (const directory of tree.directories()) {
    if (directory.name === "node_modules") addPackages(tree, directory, found);
  }
  const isPackage = (directory: DirectoryNode): boolean => found.packages.has(directory);
  const visit = (directory: DirectoryNode, isInApplication: boolean): void => {
    if (directory.name === "node_modules") return;
    let isApplication = false;
    if (directory.children.has("package.json")) {
      // A package.json below another one is mostly a fixture or a marker such as {"type":"commonjs"}.
      isApplication = !isInApplication || directory.children.has("node_modules") || found.linked.has(directory);
    }
    if (isApplication) found.applications.add(directory);
    for (const child of directory.children.values()) {
      if (child.kind === "directory") visit(child, isInApplication || isApplication);
    }
  };
  visit(tree.root, false);
  for (const directory of found.linked) {
    if (!isPackage(directory)) found.applications.add(directory);
  }
  return found;
}

function addPackages(tree: FileTree, nodeModules: DirectoryNode, found: Candidates): void {
  const take = (parent: DirectoryNode, name: string): void => {
    const child = parent.children.get(name);
    if (child?.kind === "directory") found.packages.add(child);
    if (child?.kind !== "symlink") return;
    const target = tree.lookupFrom(parent, name);
    if (target?.kind === "directory") found.linked.add(target);
  };
  for (const [name, child] of nodeModules.children) {
    if (name.startsWith(".")) continue;
    if (!name.startsWith("@")) take(nodeModules, name);
    else if (child.kind === "directory") for (const scoped of child.children.keys()) take(child, scoped);
  }
}

/** The manifest, or why there is none. @throws SBOM_CONTENT_NOT_KEPT */
function readManifest(file: FileNode, location: string): Manifest | string {
  if (file.isNoManifest) return "no name or no version";
  if (file.content === undefined) {
    throw sbomError("SBOM_CONTENT_NOT_KEPT", `${quote(location)} is a link to a file whose content was not read`, {
      hints: ["unlink the file in the image's build (copy it), so that its layer holds it under its own name"],
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(
      Buffer.from(file.content)
        .toString("utf8")
        .replace(/^\u{feff}/u, ""),
    );
  } catch {
    return "not JSON";
  }
  const manifest = record(value);
  if (!manifest) return "not an object";
  const { name, version } = manifest;
  if (typeof name !== "string" || name === "") return "no name";
  if (!NAME.test(name) || name.length > NAME_MAX_LENGTH || /^\.|\/\./.test(name)) return "not a package's name";
  const hasVersion = typeof version === "string" && version.trim() !== "";
  if (hasVersion && (version.length > VERSION_MAX_LENGTH || /[\s\p{Cc}]/u.test(version.trim()))) return "not a version";
  const namesIn = (field: string): string[] => Object.keys(record(manifest[field]) ?? {});
  const optional = new Set([...namesIn("optionalDependencies"), ...namesIn("peerDependencies")]);
  // npm writes an optional dependency into both lists, and the optional one counts.
  const dependencies = namesIn("dependencies").filter((one) => !optional.has(one));
  if (dependencies.length + optional.size > DEPENDENCIES_MAX) return `more than ${DEPENDENCIES_MAX} dependencies`;
  return {
    name,
    version: hasVersion ? version.trim() : undefined,
    isPrivate: manifest["private"] === true,
    licences: declaredLicences(manifest),
    dependencies,
    optionalDependencies: [...optional],
  };
}

function declaredLicences(manifest: Readonly<Record<string, unknown>>): string[] {
  const declared = [manifest["license"], manifest["licenses"]].flat().map((item) => record(item)?.["type"] ?? item);
  const texts = declared.filter((item): item is string => typeof item === "string" && item.trim() !== "");
  return [...new Set(texts.map((text) => text.trim().slice(0, 1024)))].sort(byText);
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  const isRecord = typeof value === "object" && value !== null && !Array.isArray(value);
  return isRecord ? (value as Readonly<Record<string, unknown>>) : undefined;
}

/** One package for all copies of a version; its dependencies are those that any copy finds. */
function describeAll(
  tree: FileTree,
  instances: ReadonlyMap<DirectoryNode, Instance>,
  integrities: ReadonlyMap<DirectoryNode, string>,
): CatalogPackage[] {
  const copies = new Map<string, Instance[]>();
  for (const instance of instances.values()) {
    const list = copies.get(instance.key);
    if (list) list.push(instance);
    else copies.set(instance.key, [instance]);
  }
  const packages = [...copies.values()].map((list): CatalogPackage => {
    const [{ key, manifest, isApplication }] = list as [Instance];
    const dependsOn = new Set<string>();
    let isComplete = true;
    for (const { directory, manifest: one } of list) {
      for (const name of one.dependencies) {
        const found = resolveModule(tree, instances, directory, name);
        if (found) dependsOn.add(found.key);
        else isComplete = false;
      }
      // What is optional, or is left to the dependent to install, may be missing.
      for (const name of one.optionalDependencies) {
        const found = resolveModule(tree, instances, directory, name);
        if (found) dependsOn.add(found.key);
      }
    }
    dependsOn.delete(key);
    const licences = new Set(list.flatMap((instance) => instance.manifest.licences));
    const isPublished = manifest.version !== undefined && !(isApplication && manifest.isPrivate);
    return {
      key,
      type: isApplication ? "application" : "library",
      name: manifest.name,
      version: manifest.version,
      purl: isPublished ? npmPurl(manifest.name, manifest.version as string) : undefined,
      supplier: undefined,
      licences: [...licences].sort(byText),
      // An application keeps its version while it is worked on: other bytes there say nothing.
      properties: isApplication
        ? []
        : [
            ...digestProperties(
              "files-sha256",
              list.map((one) => contentDigest(filesOf(one.directory))),
            ),
            ...digestProperties(
              "npm-integrity",
              list.map((one) => integrities.get(one.directory)),
            ),
          ],
      occurrences: list.map((one) => one.occurrence).sort((a, b) => byText(a.location, b.location)),
      dependsOn: [...dependsOn].sort(byText),
      isDependencyListComplete: isComplete,
    };
  });
  return packages.sort((a, b) => byText(a.key, b.key));
}

function npmPurl(name: string, version: string): string {
  const slash = name.indexOf("/");
  if (slash < 0) return renderPurl({ type: "npm", name, version });
  return renderPurl({ type: "npm", namespace: name.slice(0, slash), name: name.slice(slash + 1), version });
}

function resolveModule(
  tree: FileTree,
  instances: ReadonlyMap<DirectoryNode, Instance>,
  from: DirectoryNode,
  name: string,
): Instance | undefined {
  if (!NAME.test(name) || name.startsWith(".")) return undefined;
  for (let up: DirectoryNode | undefined = from; up; up = up.parent) {
    if (up.name === "node_modules") continue;
    const found = tree.lookupFrom(up, `node_modules/${name}`);
    if (found?.kind === "directory") return instances.get(found);
  }
  return undefined;
}

/** What npm 7 and newer recorded of each package that it installed: the digests of its archive. */
function recordedIntegrities(
  tree: FileTree,
  instances: ReadonlyMap<DirectoryNode, Instance>,
): ReadonlyMap<DirectoryNode, string> {
  const found = new Map<DirectoryNode, string>();
  const holders = new Set([...instances.keys()].map((directory) => nodeModulesOf(directory)));
  for (const nodeModules of holders) {
    const file = nodeModules?.children.get(".package-lock.json");
    if (file?.kind !== "file" || !file.content || !nodeModules?.parent) continue;
    for (const [path, one] of Object.entries(lockedPackages(file.content))) {
      const directory = tree.lookupFrom(nodeModules.parent, path);
      const instance = directory?.kind === "directory" ? instances.get(directory) : undefined;
      const { version, integrity } = record(one) ?? {};
      // A record that names another version is not of what lies there.
      if (!instance || version !== instance.manifest.version || typeof integrity !== "string") continue;
      if (INTEGRITY.test(integrity)) found.set(instance.directory, integrity);
    }
  }
  return found;
}

function lockedPackages(content: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return record(record(JSON.parse(Buffer.from(content).toString("utf8")))?.["packages"]) ?? {};
  } catch {
    return {};
  }
}

/** The node_modules that a package lies directly in, or in a scope in it. */
function nodeModulesOf({ parent }: DirectoryNode): DirectoryNode | undefined {
  const up = parent?.name.startsWith("@") ? parent.parent : parent;
  return up?.name === "node_modules" ? up : undefined;
}

/** Every file of the package alone, by its name in it. */
function* filesOf(directory: DirectoryNode, prefix = ""): Generator<readonly [name: string, file: FileNode]> {
  for (const [name, child] of directory.children) {
    if (child.kind === "file") yield [`${prefix}${name}`, child];
    else if (child.kind === "directory" && name !== "node_modules") yield* filesOf(child, `${prefix}${name}/`);
  }
}

/** Every file in a package's directory; an application in the root directory does not own the whole image. */
function ownedFiles(instances: ReadonlyMap<DirectoryNode, Instance>): Set<FileNode> {
  const owned = new Set<FileNode>();
  const seen = new Set<DirectoryNode>();
  const own = (directory: DirectoryNode): void => {
    if (seen.has(directory)) return;
    seen.add(directory);
    for (const child of directory.children.values()) {
      if (child.kind === "file") owned.add(child);
      else if (child.kind === "directory") own(child);
    }
  };
  for (const directory of instances.keys()) if (directory.parent) own(directory);
  return owned;
}

function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}
