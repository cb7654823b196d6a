/**
 * The file system of an image: its layers laid upon each other as a runtime does it (image-spec v1.1,
 * layer.md "Applying Changesets"). Whiteouts and opaque directories of a layer act on the layers below
 * it only, wherever they stand in the archive; then the entries are unpacked in order, through symbolic
 * links in their parent directories, which never lead out of the root.
 */
import { sbomError } from "../error.ts";
import type { FileDigests } from "./file-digests.ts";
import type { FileFacts, LayerEntry, LayerScan } from "./layer-scan.ts";
import { quote } from "./tar-reader.ts";

export interface FileNode {
  readonly kind: "file";
  /** As in LayerEntry. */
  readonly digests: FileDigests;
  readonly isEmpty: boolean;
  readonly content: Uint8Array | undefined;
  readonly isNoManifest: boolean;
  readonly facts: FileFacts | undefined;
  readonly isExecutable: boolean;
  /** Index of the layer that put the file at this path, 0 the lowest. */
  readonly layer: number;
}

export interface SymlinkNode {
  readonly kind: "symlink";
  readonly target: string;
  readonly layer: number;
}

export interface DeviceNode {
  readonly kind: "device";
  readonly layer: number;
}

export interface DirectoryNode {
  readonly kind: "directory";
  readonly name: string;
  /** Undefined for the root. */
  readonly parent: DirectoryNode | undefined;
  readonly depth: number;
  readonly children: Map<string, TreeNode>;
}

export type TreeNode = FileNode | SymlinkNode | DeviceNode | DirectoryNode;

/** As Linux has it (path_resolution(7)). */
const LINKS_MAX = 40;
/** More than PATH_MAX allows; a limit because `directories` recurses. */
const DEPTH_MAX = 2048;
/** Directories that archives imply without listing them would else escape the limit on entries. */
const NODES_MAX = 2_000_000;

export class FileTree {
  readonly root: DirectoryNode = { kind: "directory", name: "", parent: undefined, depth: 0, children: new Map() };
  #layers = 0;
  #nodes = 0;

  /** @throws SBOM_LAYER_MALFORMED if a runtime could not unpack the layer upon those below. */
  static of(scans: readonly LayerScan[]): FileTree {
    const tree = new FileTree();
    for (const scan of scans) tree.apply(scan);
    return tree;
  }

  /** @throws SBOM_LAYER_MALFORMED */
  apply(scan: LayerScan): void {
    const layer = this.#layers;
    this.#layers += 1;
    for (const path of scan.opaqueDirectories) {
      const node = this.lookup(path);
      if (node?.kind === "directory") node.children.clear();
    }
    for (const path of scan.whiteouts) {
      const [directory, base] = splitPath(path);
      const node = this.lookup(directory);
      if (node?.kind === "directory") node.children.delete(base);
    }
    for (const entry of scan.entries) this.#put(entry, layer);
  }

  /** The node at `path`, through every symbolic link, the last one too; undefined if there is none. */
  lookup(path: string): TreeNode | undefined {
    return this.#resolve(this.root, path, { create: false, followLast: true });
  }

  /** The node at `path` itself: a symbolic link there is not followed, links before it are. */
  lookupLink(path: string): TreeNode | undefined {
    return this.#resolve(this.root, path, { create: false, followLast: false });
  }

  /** `lookup` of a path that starts in `directory`, as a relative symbolic link in it would. */
  lookupFrom(directory: DirectoryNode, path: string): TreeNode | undefined {
    return this.#resolve(directory, path, { create: false, followLast: true });
  }

  /** Visits every directory once, parents first and names sorted; symbolic links are not followed. */
  *directories(from: DirectoryNode = this.root): Generator<DirectoryNode> {
    yield from;
    for (const [, child] of [...from.children].sort(byName)) {
      if (child.kind === "directory") yield* this.directories(child);
    }
  }

  #put(entry: LayerEntry, layer: number): void {
    if (entry.path === "") {
      if (entry.kind === "directory") return;
      throw malformed(`the root is a ${entry.kind}`);
    }
    const [parentPath, base] = splitPath(entry.path);
    const parent = this.#resolve(this.root, parentPath, { create: true, followLast: true });
    if (parent?.kind !== "directory") throw malformed(`${quote(parentPath)} is not a directory`);
    const present = parent.children.get(base);
    if (entry.kind === "directory") {
      if (present?.kind !== "directory") this.#addDirectory(parent, base);
      return;
    }
    const node = this.#leaf(entry, layer);
    this.#count();
    // Deleted first so that nothing of a replaced directory stays.
    parent.children.delete(base);
    parent.children.set(base, node);
  }

  #addDirectory(parent: DirectoryNode, name: string): DirectoryNode {
    const depth = parent.depth + 1;
    if (depth > DEPTH_MAX) throw malformed(`directories are nested deeper than ${DEPTH_MAX}`);
    this.#count();
    const directory: DirectoryNode = { kind: "directory", name, parent, depth, children: new Map() };
    parent.children.set(name, directory);
    return directory;
  }

  #count(): void {
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) {
      throw sbomError(
        "SBOM_LAYER_TOO_LARGE",
        `layers laid upon each other: more than ${NODES_MAX} files and directories`,
      );
    }
  }

  #leaf(entry: LayerEntry, layer: number): TreeNode {
    switch (entry.kind) {
      case "symlink":
        return { kind: "symlink", target: entry.link, layer };
      case "file":
        return {
          kind: "file",
          digests: entry.digests,
          isEmpty: entry.isEmpty,
          content: entry.content,
          isNoManifest: entry.isNoManifest,
          facts: entry.facts,
          isExecutable: entry.isExecutable,
          layer,
        };
      case "hardlink": {
        const target = this.lookupLink(entry.link);
        if (!target || target.kind === "directory") {
          throw malformed(`hardlink ${quote(entry.path)} leads to ${quote(entry.link)}, where no file is`);
        }
        return { ...target, layer };
      }
      default:
        return { kind: "device", layer };
    }
  }

  #resolve(
    from: DirectoryNode,
    path: string,
    options: { readonly create: boolean; readonly followLast: boolean },
  ): TreeNode | undefined {
    const todo = path.split("/").reverse();
    let links = 0;
    let node: TreeNode = path.startsWith("/") ? this.root : from;
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === "" || part === ".") continue;
      if (node.kind !== "directory") return undefined;
      const directory: DirectoryNode = node;
      if (part === "..") {
        node = directory.parent ?? this.root;
        continue;
      }
      let child = directory.children.get(part);
      if (child === undefined) {
        if (!options.create) return undefined;
        child = this.#addDirectory(directory, part);
      }
      if (child.kind === "symlink" && (options.followLast || todo.length > 0)) {
        links += 1;
        if (links > LINKS_MAX) return undefined;
        if (child.target.startsWith("/")) node = this.root;
        todo.push(...child.target.split("/").reverse());
        continue;
      }
      node = child;
    }
    return node;
  }
}

/** The path of `directory` without a leading slash; "" is the root. */
export function pathOf(directory: DirectoryNode): string {
  const names: string[] = [];
  for (let node = directory; node.parent; node = node.parent) names.push(node.name);
  return names.reverse().join("/");
}

function splitPath(path: string): [directory: string, base: string] {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? ["", path] : [path.slice(0, slash), path.slice(slash + 1)];
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function malformed(what: string): Error {
  return sbomError("SBOM_LAYER_MALFORMED", `layers laid upon each other: ${what}`);
}
