/**
 * Python packages outside a distribution's packages: each `*.dist-info/METADATA` and `*.egg-info` (core
 * metadata, packaging.python.org), wherever it lies.
 */
import { byText, type Catalog, type CatalogPackage, type Occurrence } from "./catalog.ts";
import { changedFileProperties, type RecordedFile } from "./changed-files.ts";
import { contentDigest, digestProperties } from "./content-digest.ts";
import { type DirectoryNode, type FileNode, type FileTree, pathOf } from "./file-tree.ts";
import { renderPurl } from "./purl.ts";

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?$/;
const VERSION = /^[\w.!+-]{1,128}$/;
const HEADER_MAX_CHARACTERS = 1024 * 1024;

interface Distribution {
  readonly name: string;
  readonly version: string;
  readonly licences: readonly string[];
  readonly author: string | undefined;
  /** Names that are needed whatever the options; those with a condition apart. */
  readonly requires: readonly string[];
  readonly conditional: readonly string[];
  readonly occurrence: Occurrence;
  readonly site: DirectoryNode;
  /** Of its files; undefined where nothing lists them. */
  readonly digest: string | undefined;
  /** Those whose digest its installer recorded. */
  readonly recorded: readonly RecordedFile[];
}

/** `isOwned` tells the files of the distribution's packages. */
export function catalogPython(tree: FileTree, isOwned: (file: FileNode) => boolean): Catalog {
  const found: Distribution[] = [];
  const skipped: { location: string; reason: string }[] = [];
  const ownedFiles = new Set<FileNode>();
  for (const { file, location, site, info } of metadataIn(tree)) {
    if (isOwned(file)) continue;
    const read = readMetadata(file, location, site);
    if (typeof read === "string") {
      skipped.push({ location, reason: read });
      continue;
    }
    const files = [...recordedFiles(tree, info, site)];
    const payload = files
      .filter(({ name }) => !NO_PAYLOAD.test(name))
      .map(({ name, file: one }) => [name, one] as const);
    const recorded = files.flatMap(({ name, file: one, digest }): RecordedFile[] =>
      digest === undefined ? [] : [{ path: `/${pathOf(site)}/${name}`, file: one, algorithm: "sha256", digest }],
    );
    found.push({ ...read, digest: contentDigest(payload), recorded });
    for (const one of files) ownedFiles.add(one.file);
    for (const one of metadataFiles(file, info)) ownedFiles.add(one);
  }
  return { packages: describeAll(found), skipped, ownedFiles };
}

interface MetadataFile {
  readonly file: FileNode;
  readonly location: string;
  /** The directory that the package's modules are in. */
  readonly site: DirectoryNode;
  /** The package's `.dist-info` or `.egg-info` directory; undefined for a lone file. */
  readonly info: DirectoryNode | undefined;
}

function* metadataIn(tree: FileTree): Generator<MetadataFile> {
  for (const directory of tree.directories()) {
    const path = pathOf(directory);
    const isInfo = /\.(?:dist-info|egg-info)$/.test(directory.name);
    for (const name of isInfo ? ["METADATA", "PKG-INFO"] : []) {
      const file = tree.lookupFrom(directory, name);
      if (file?.kind !== "file" || !directory.parent) continue;
      yield { file, location: `/${path}/${name}`, site: directory.parent, info: directory };
      break;
    }
    for (const [name, node] of directory.children) {
      if (node.kind !== "file" || !name.endsWith(".egg-info")) continue;
      yield { file: node, location: `/${path === "" ? "" : `${path}/`}${name}`, site: directory, info: undefined };
    }
  }
}

function readMetadata(
  file: FileNode,
  location: string,
  site: DirectoryNode,
): Omit<Distribution, "digest" | "recorded"> | string {
  if (!file.content) return "a link to a file whose content was not read";
  const text = Buffer.from(file.content).toString("utf8").slice(0, HEADER_MAX_CHARACTERS);
  // The description follows an empty line.
  const [header = ""] = text.replace(/\r\n/g, "\n").split("\n\n");
  const fields = new Map<string, string[]>();
  for (const line of header.split("\n")) {
    const match = /^([A-Za-z][A-Za-z-]*):[ \t]*(.*)$/.exec(line);
    if (!match) continue;
    const key = (match[1] as string).toLowerCase();
    const value = (match[2] as string).trim();
    const values = fields.get(key);
    if (values) values.push(value);
    else fields.set(key, [value]);
  }
  const [name = ""] = fields.get("name") ?? [];
  const [version = ""] = fields.get("version") ?? [];
  if (!NAME.test(name)) return "no name";
  if (!VERSION.test(version)) return "no version";
  const requires = fields.get("requires-dist") ?? [];
  const [author] = [...(fields.get("author") ?? []), ...(fields.get("author-email") ?? [])];
  return {
    name: spell(name),
    version,
    licences: licencesOf(fields),
    author: author || undefined,
    requires: requires.filter((one) => !one.includes(";")).flatMap(requiredName),
    conditional: requires.filter((one) => one.includes(";")).flatMap(requiredName),
    occurrence: { location, layer: file.layer },
    site,
  };
}

/** The SPDX expression where there is one, else the free text, if it is short, and the classifiers. */
function licencesOf(fields: ReadonlyMap<string, readonly string[]>): string[] {
  const [expression] = fields.get("license-expression") ?? [];
  if (expression) return [expression];
  const [text = ""] = fields.get("license") ?? [];
  const classified = (fields.get("classifier") ?? []).flatMap(
    (one) => /^License :: (?:.* :: )?([^:]+)$/.exec(one)?.[1] ?? [],
  );
  const stated = text !== "" && text !== "UNKNOWN" && text.length <= 128 ? [text] : classified;
  return [...new Set(stated.map((one) => one.trim()))].sort(byText);
}

function requiredName(text: string): string[] {
  const name = /^[A-Za-z0-9][A-Za-z0-9._-]*/.exec(text)?.[0];
  return name === undefined ? [] : [spell(name)];
}

/** PEP 503. */
function spell(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

function* metadataFiles(metadata: FileNode, info: DirectoryNode | undefined): Generator<FileNode> {
  yield metadata;
  for (const child of info?.children.values() ?? []) if (child.kind === "file") yield child;
}

/** What the installer wrote itself, with paths of this machine and times in it. */
const NO_PAYLOAD = /\.pyc$|^\.\.\/|\.dist-info\/(?:RECORD|INSTALLER|REQUESTED|direct_url\.json)$/;

/** What RECORD names, by the names it has there; nothing without one (egg-info). */
function* recordedFiles(
  tree: FileTree,
  info: DirectoryNode | undefined,
  site: DirectoryNode,
): Generator<{ readonly name: string; readonly file: FileNode; readonly digest: string | undefined }> {
  const record = info && tree.lookupFrom(info, "RECORD");
  if (record?.kind !== "file" || !record.content) return;
  for (const line of Buffer.from(record.content).toString("utf8").split("\n")) {
    const row = /^(?:"((?:[^"]|"")*)"|([^,]+))(?:,(?:sha256=([\w-]{43}))?)?/.exec(line);
    const name = row?.[1]?.replaceAll('""', '"') ?? row?.[2];
    const node = name === undefined ? undefined : tree.lookupFrom(site, name);
    if (name === undefined || node?.kind !== "file") continue;
    yield { name, file: node, digest: row?.[3] && Buffer.from(row[3], "base64url").toString("hex") };
  }
}

/** Name → directory → the first one of the name that lies there; the first ones first. */
function placesOf(found: readonly Distribution[]): ReadonlyMap<string, ReadonlyMap<DirectoryNode, Distribution>> {
  const places = new Map<string, Map<DirectoryNode, Distribution>>();
  for (const one of found) {
    const named = places.get(one.name) ?? new Map<DirectoryNode, Distribution>();
    places.set(one.name, named);
    if (!named.has(one.site)) named.set(one.site, one);
  }
  return places;
}

/** One package for all copies of a version; a dependency is looked for beside the package first. */
function describeAll(found: readonly Distribution[]): CatalogPackage[] {
  const keyOf = ({ name, version }: Distribution): string => `pypi:${name}@${version}`;
  const places = placesOf(found);
  const find = (name: string, near: Distribution): Distribution | undefined => {
    const named = places.get(name);
    return named?.get(near.site) ?? named?.values().next().value;
  };
  const groups = Map.groupBy(found, keyOf);
  return [...groups]
    .sort(([a], [b]) => byText(a, b))
    .map(([key, copies]): CatalogPackage => {
      const [{ name, version, author }] = copies as [Distribution];
      const needed = copies.flatMap((one) => one.requires.map((wanted) => find(wanted, one)));
      // A condition may exclude what is not there.
      const maybe = copies.flatMap((one) => one.conditional.map((wanted) => find(wanted, one)));
      const present = [...needed, ...maybe].filter((one): one is Distribution => one !== undefined).map(keyOf);
      return {
        key,
        type: "library",
        name,
        version,
        purl: renderPurl({ type: "pypi", name, version }),
        supplier: author,
        licences: [...new Set(copies.flatMap(({ licences }) => licences))].sort(byText),
        properties: [
          ...digestProperties(
            "files-sha256",
            copies.map(({ digest }) => digest),
          ),
          ...changedFileProperties(copies.flatMap(({ recorded }) => recorded)),
        ],
        occurrences: copies.map(({ occurrence }) => occurrence).sort((a, b) => byText(a.location, b.location)),
        dependsOn: [...new Set(present)].filter((one) => one !== key).sort(byText),
        isDependencyListComplete: !needed.includes(undefined),
      };
    });
}
