/**
 * Packages of rpm as its database in the image has them. Only the SQLite form of rpm 4.16 and newer (Fedora,
 * RHEL 9 and later) is read; the older Berkeley DB and SUSE's ndb are reported as not catalogued, and so is a
 * database whose last changes are still in a write-ahead log beside it.
 *
 * Public keys, which rpm lists as packages named gpg-pubkey, are none.
 */
import { sbomError } from "../error.ts";
import { byText, type Catalog, type CatalogPackage, type Occurrence } from "./catalog.ts";
import { changedFileProperties, type RecordedFile } from "./changed-files.ts";
import { contentDigest, digestProperties } from "./content-digest.ts";
import { DependencyCount } from "./dependency-count.ts";
import { type FileNode, type FileTree, pathOf, type TreeNode } from "./file-tree.ts";
import type { OsRelease } from "./os-release.ts";
import { renderPurl } from "./purl.ts";
import type { RpmFacts } from "./rpm-database.ts";
import type { RpmPackage } from "./rpm-header.ts";
import { quote } from "./tar-reader.ts";

const DIRECTORIES = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
const DATABASE = "rpmdb.sqlite";
/** With what SQLite and rpm leave beside it. */
const DATABASE_FILES = /^(?:rpmdb\.sqlite(?:-wal|-shm)?|\.rpm\.lock)$/;
const PUBLIC_KEY = "gpg-pubkey";

interface Row {
  readonly key: string;
  readonly version: string;
  readonly package: RpmPackage;
  readonly occurrence: Occurrence;
}

/**
 * @throws SBOM_RPM_MALFORMED | SBOM_CONTENT_NOT_KEPT | SBOM_DISTRO_UNKNOWN if there are packages but no
 * os-release: without it neither a purl nor a vulnerability scan could name them.
 */
export function catalogRpm(tree: FileTree, os: OsRelease | undefined): Catalog {
  const rows = new Map<string, Row>();
  const skipped: { location: string; reason: string }[] = [];
  const ownedFiles = new Set<FileNode>();
  for (const { node, location, files } of databasesIn(tree)) {
    const facts = factsOf(node, location);
    const reason = facts.unread ?? unmergedLog(files);
    if (reason !== undefined) {
      skipped.push({ location, reason });
      continue;
    }
    for (const [name, file] of files) if (file.kind === "file" && DATABASE_FILES.test(name)) ownedFiles.add(file);
    for (const one of facts.packages) {
      if (one.name === PUBLIC_KEY) continue;
      const version = `${one.epoch === "" ? "" : `${one.epoch}:`}${one.version}-${one.release}`;
      const key = `rpm:${one.name}:${one.architecture}@${version}`;
      if (!rows.has(key)) rows.set(key, { key, version, package: one, occurrence: { location, layer: node.layer } });
    }
  }
  if (rows.size === 0) return { packages: [], skipped, ownedFiles };
  if (!os) {
    throw sbomError("SBOM_DISTRO_UNKNOWN", `image has ${rows.size} rpm packages but no os-release with an ID`, {
      hints: ["the image needs /etc/os-release or /usr/lib/os-release of its distribution"],
    });
  }
  const sorted = [...rows.values()].sort((a, b) => byText(a.key, b.key));
  const installed = new InstalledFiles(tree);
  const providers = providersOf(sorted);
  const count = new DependencyCount();
  const packages = sorted.map((row) => {
    const files = installed.of(row.package);
    for (const { file } of files) ownedFiles.add(file);
    const payload = files.filter(({ isPayload }) => isPayload).map(({ name, file }) => [name, file] as const);
    const recorded = files
      .filter(({ sha256 }) => sha256 !== "")
      .map(({ name, file, sha256 }): RecordedFile => ({ path: name, file, algorithm: "sha256", digest: sha256 }));
    for (const name of row.package.requires) count.add(providers.get(name)?.length ?? 0);
    return describe(row, os, providers, [
      ...digestProperties("files-sha256", [contentDigest(payload)]),
      ...changedFileProperties(recorded),
    ]);
  });
  return { packages, skipped, ownedFiles };
}

interface FoundDatabase {
  readonly node: FileNode;
  readonly location: string;
  /** All that lies in its directory. */
  readonly files: ReadonlyMap<string, TreeNode>;
}

/** Each once, though one directory is often a link to another. */
function* databasesIn(tree: FileTree): Generator<FoundDatabase> {
  const seen = new Set<FileNode>();
  for (const path of DIRECTORIES) {
    const directory = tree.lookup(path);
    if (directory?.kind !== "directory") continue;
    const node = tree.lookupFrom(directory, DATABASE);
    if (node?.kind !== "file" || seen.has(node)) continue;
    seen.add(node);
    yield { node, location: `/${pathOf(directory)}/${DATABASE}`, files: directory.children };
  }
}

function factsOf({ facts }: FileNode, location: string): RpmFacts {
  if (facts?.kind !== "rpm") {
    throw sbomError("SBOM_CONTENT_NOT_KEPT", `${quote(location)} is a link to a file whose content was not read`);
  }
  if (facts.malformed !== undefined) {
    throw sbomError("SBOM_RPM_MALFORMED", `${quote(location)}: ${facts.malformed}`);
  }
  return facts;
}

function unmergedLog(files: ReadonlyMap<string, TreeNode>): string | undefined {
  const log = files.get(`${DATABASE}-wal`);
  return log?.kind === "file" && !log.isEmpty ? "its last changes are in a write-ahead log" : undefined;
}

interface InstalledFile {
  readonly name: string;
  readonly file: FileNode;
  readonly isPayload: boolean;
  readonly sha256: string;
}

/** What rpm says that it installed and the image has; each directory is looked up once. */
class InstalledFiles {
  readonly #tree: FileTree;
  readonly #directories = new Map<string, TreeNode | undefined>();

  constructor(tree: FileTree) {
    this.#tree = tree;
  }

  of({ files }: RpmPackage): InstalledFile[] {
    return files.flatMap(({ directory, name, isPayload, sha256 }) => {
      if (!this.#directories.has(directory)) this.#directories.set(directory, this.#tree.lookup(directory));
      const found = this.#directories.get(directory);
      const file = found?.kind === "directory" ? found.children.get(name) : undefined;
      return file?.kind === "file" ? [{ name: `${directory}${name}`, file, isPayload, sha256 }] : [];
    });
  }
}

/** Keys by what packages provide: their names, libraries, commands, and each of their files. */
function providersOf(rows: readonly Row[]): ReadonlyMap<string, readonly string[]> {
  const wantedFiles = new Set(rows.flatMap((row) => row.package.requires).filter((name) => name.startsWith("/")));
  const providers = new Map<string, string[]>();
  const add = (name: string, key: string): void => {
    const keys = providers.get(name);
    if (keys) keys.push(key);
    else providers.set(name, [key]);
  };
  for (const { key, package: one } of rows) {
    for (const name of new Set([one.name, ...one.provides])) add(name, key);
    for (const { directory, name } of one.files) {
      const path = `${directory}${name}`;
      if (wantedFiles.has(path)) add(path, key);
      // /bin and its like are links to those in /usr.
      const short = path.replace(/^\/usr(?=\/(?:bin|sbin|lib|lib64)\/)/, "");
      if (short !== path && wantedFiles.has(short)) add(short, key);
    }
  }
  return providers;
}

function describe(
  { key, version, package: one, occurrence }: Row,
  os: OsRelease,
  providers: ReadonlyMap<string, readonly string[]>,
  fileProperties: CatalogPackage["properties"],
): CatalogPackage {
  // What rpm itself must be able to do is no package.
  const wanted = one.requires.filter((name) => !name.startsWith("rpmlib("));
  const dependsOn = new Set(wanted.flatMap((name) => providers.get(name) ?? []));
  dependsOn.delete(key);
  const source = /^(.+)-([^-]+)-([^-]+)\.(?:no)?src\.rpm$/.exec(one.source);
  const properties: (readonly [string, string])[] = [
    // As trivy writes them: advisories name the source.
    ["aquasecurity:trivy:PkgType", os.id === "rhel" ? "redhat" : os.id],
    ["aquasecurity:trivy:SrcName", source?.[1] ?? one.name],
    ["aquasecurity:trivy:SrcVersion", source?.[2] ?? one.version],
    ["aquasecurity:trivy:SrcRelease", source?.[3] ?? one.release],
  ];
  if (one.epoch !== "") properties.push(["aquasecurity:trivy:SrcEpoch", one.epoch]);
  if (one.modularityLabel !== "") properties.push(["sealift:rpm:modularity", one.modularityLabel]);
  properties.push(...fileProperties);
  properties.push(...digestProperties("rpm-header-sha256", [one.headerSha256]));
  return {
    key,
    type: "library",
    name: one.name,
    version,
    purl: renderPurl({
      type: "rpm",
      // As syft and trivy write it.
      namespace: os.id === "rhel" ? "redhat" : os.id,
      name: one.name,
      version: `${one.version}-${one.release}`,
      qualifiers: {
        arch: one.architecture || undefined,
        distro: os.version ? `${os.id}-${os.version}` : os.id,
        epoch: one.epoch || undefined,
        upstream: one.source || undefined,
      },
    }),
    supplier: one.vendor || undefined,
    licences: one.licence === "" ? [] : [one.licence],
    properties,
    occurrences: [occurrence],
    dependsOn: [...dependsOn].sort(byText),
    // A condition such as "(a or b)" is provided by none, so it counts as not found.
    isDependencyListComplete: wanted.every((name) => providers.has(name)),
  };
}
