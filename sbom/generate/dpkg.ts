/**
 * Debian packages as dpkg's database in the image has them (dpkg(1), deb-control(5)): var/lib/dpkg/status,
 * and status.d, one file a package, as distroless images have it.
 *
 * Listed is every package whose files are there: all states but `not-installed` and `config-files`. So a
 * package on hold is listed, and one that was removed but not purged is not.
 */

import { compareDebianVersions, parseDebianVersion } from "../debian-version.ts";
import { sbomError } from "../error.ts";
import { byText, type Catalog, type CatalogPackage, type Occurrence } from "./catalog.ts";
import { changedFileProperties, type RecordedFile } from "./changed-files.ts";
import { contentDigest, digestProperties } from "./content-digest.ts";
import { type DebianLicences, readDebianCopyright } from "./debian-licences.ts";
import { DependencyCount } from "./dependency-count.ts";
import { isPackagedPath } from "./file-digests.ts";
import type { FileNode, FileTree } from "./file-tree.ts";
import type { OsRelease } from "./os-release.ts";
import { renderPurl } from "./purl.ts";
import { quote } from "./tar-reader.ts";

const DATABASE = "var/lib/dpkg";

interface DpkgRow {
  readonly fields: ReadonlyMap<string, string>;
  readonly occurrence: Occurrence;
}

interface Installed {
  readonly key: string;
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly state: string;
  readonly fields: ReadonlyMap<string, string>;
  readonly occurrences: Occurrence[];
}

/** One alternative of a dependency, or one thing provided. */
interface Relation {
  readonly name: string;
  readonly architecture: string | undefined;
  readonly operator: string | undefined;
  readonly version: string | undefined;
}

/**
 * @throws SBOM_DPKG_MALFORMED | SBOM_CONTENT_NOT_KEPT | SBOM_DISTRO_UNKNOWN if there are packages but no
 * os-release: without it neither a purl nor a vulnerability scan could name them.
 */
export function catalogDpkg(tree: FileTree, os: OsRelease | undefined): Catalog {
  const installed = new Map<string, Installed>();
  for (const row of databaseRows(tree)) {
    const found = readRow(row);
    if (!found) continue;
    const present = installed.get(found.key);
    if (present) present.occurrences.push(row.occurrence);
    else installed.set(found.key, found);
  }
  if (installed.size === 0) return { packages: [], skipped: [], ownedFiles: new Set() };
  if (!os) {
    throw sbomError("SBOM_DISTRO_UNKNOWN", `image has ${installed.size} Debian packages but no os-release with an ID`, {
      hints: ["the image needs /etc/os-release or /usr/lib/os-release of its distribution"],
    });
  }
  const rows = [...installed.values()].sort((a, b) => byText(a.key, b.key));
  const relations = new Relations(rows);
  const files = new InstalledFiles(tree);
  return {
    packages: rows.map((row) => describe(row, os, relations, licencesOf(tree, row), files.propertiesOf(row))),
    skipped: [],
    ownedFiles: files.owned,
  };
}

function* databaseRows(tree: FileTree): Generator<DpkgRow> {
  const status = tree.lookup(`${DATABASE}/status`);
  if (status?.kind === "file") yield* rowsOf(status, `/${DATABASE}/status`);
  const directory = tree.lookup(`${DATABASE}/status.d`);
  if (directory?.kind !== "directory") return;
  for (const name of [...directory.children.keys()].sort(byText)) {
    const node = tree.lookupFrom(directory, name);
    if (node?.kind === "file" && !name.endsWith(".md5sums")) yield* rowsOf(node, `/${DATABASE}/status.d/${name}`);
  }
}

function* rowsOf(node: FileNode, location: string): Generator<DpkgRow> {
  for (const fields of parseControl(contentOf(node, location), location)) {
    yield { fields, occurrence: { location, layer: node.layer } };
  }
}

function contentOf(node: FileNode, location: string): string {
  if (node.content === undefined) {
    throw sbomError("SBOM_CONTENT_NOT_KEPT", `${quote(location)} is a link to a file whose content was not read`);
  }
  return Buffer.from(node.content).toString("utf8");
}

/** Paragraphs of `Name: value` lines (deb-control(5)); field names in lower case. */
export function parseControl(text: string, location: string): Map<string, string>[] {
  const paragraphs: Map<string, string>[] = [];
  let fields = new Map<string, string>();
  let last = "";
  const refuse = (line: number, what: string): never => {
    throw sbomError("SBOM_DPKG_MALFORMED", `${quote(location)} line ${line + 1}: ${what}`);
  };
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") {
      if (fields.size > 0) paragraphs.push(fields);
      fields = new Map();
      last = "";
    } else if (line.startsWith(" ") || line.startsWith("\t")) {
      if (last === "") refuse(i, "a continuation without a field");
      // Only folded one-line fields are read; what is in long ones (descriptions, file lists) is left out.
      if (FOLDED.has(last)) fields.set(last, `${fields.get(last)} ${line.trim()}`);
    } else {
      const match = /^([!-9;-~]+):(.*)$/.exec(line);
      if (!match) return refuse(i, `got ${quote(line)}, want a field`);
      last = (match[1] as string).toLowerCase();
      if (fields.has(last)) refuse(i, `field ${quote(last)} is there twice`);
      fields.set(last, (match[2] as string).trim());
    }
  }
  if (fields.size > 0) paragraphs.push(fields);
  return paragraphs;
}

const FOLDED: ReadonlySet<string> = new Set(["depends", "pre-depends", "provides"]);
const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]*$/;
const STATES: ReadonlySet<string> = new Set([
  "not-installed",
  "config-files",
  "half-installed",
  "unpacked",
  "half-configured",
  "triggers-awaited",
  "triggers-pending",
  "installed",
]);

function readRow({ fields, occurrence }: DpkgRow): Installed | undefined {
  const refuse = (what: string): never => {
    throw sbomError("SBOM_DPKG_MALFORMED", `${quote(occurrence.location)}: ${what}`);
  };
  const name = fields.get("package");
  if (name === undefined || !NAME.test(name)) return refuse(`a package has the name ${quote(name ?? "")}`);
  // status.d has control files as they are in the .deb, without a state: they were unpacked by another tool.
  const state = fields.has("status") ? (fields.get("status") as string).split(/\s+/)[2] : "installed";
  if (state === undefined || !STATES.has(state)) {
    return refuse(`package ${name}: status ${quote(fields.get("status") ?? "")} is none that dpkg has`);
  }
  if (state === "not-installed" || state === "config-files") return undefined;
  const version = fields.get("version") ?? "";
  if (!parseDebianVersion(version)) return refuse(`package ${name}: version ${quote(version)} is none`);
  const architecture = fields.get("architecture") ?? "";
  if (!/^[a-z0-9-]*$/.test(architecture)) return refuse(`package ${name}: architecture ${quote(architecture)} is none`);
  const key = `deb:${name}:${architecture}@${version}`;
  return { key, name, version, architecture, state, fields, occurrences: [occurrence] };
}

/** Not of a package whose documentation the image does not have, nor of a link to content that was not read. */
function licencesOf(tree: FileTree, { name }: Installed): DebianLicences {
  // The directory may be a link to that of another package of the same source (Debian Policy 12.5).
  const node = tree.lookup(`usr/share/doc/${name}/copyright`);
  const text = node?.kind === "file" && node.content ? Buffer.from(node.content).toString("utf8") : "";
  return readDebianCopyright(text);
}

function describe(
  row: Installed,
  os: OsRelease,
  relations: Relations,
  licences: DebianLicences,
  fileProperties: CatalogPackage["properties"],
): CatalogPackage {
  const source = /^(\S+)(?:\s+\(([^)]+)\))?$/.exec(row.fields.get("source") ?? "");
  const sourceName = source?.[1] ?? row.name;
  const sourceVersion = source?.[2] ?? row.version;
  const parsed = parseDebianVersion(sourceVersion);
  const { dependsOn, isComplete } = relations.resolve(row);
  const properties: (readonly [string, string])[] = [
    // As trivy writes them, so that trivy matches advisories, which name source packages.
    ["aquasecurity:trivy:PkgType", os.id],
    ["aquasecurity:trivy:SrcName", sourceName],
    ["aquasecurity:trivy:SrcVersion", parsed?.upstream ?? sourceVersion],
  ];
  if (parsed && parsed.revision !== "") properties.push(["aquasecurity:trivy:SrcRelease", parsed.revision]);
  if (parsed && parsed.epoch !== 0) properties.push(["aquasecurity:trivy:SrcEpoch", String(parsed.epoch)]);
  if (row.state !== "installed") properties.push(["sealift:dpkg:state", row.state]);
  for (const hint of licences.hinted) properties.push(["sealift:licence:uncertain", hint]);
  properties.push(...fileProperties);
  const upstream = source?.[1] === undefined ? undefined : `${sourceName}${source[2] ? `@${source[2]}` : ""}`;
  return {
    key: row.key,
    type: "library",
    name: row.name,
    version: row.version,
    purl: renderPurl({
      type: "deb",
      namespace: os.id,
      name: row.name,
      version: row.version,
      qualifiers: {
        arch: row.architecture || undefined,
        distro: os.version ? `${os.id}-${os.version}` : os.id,
        // As syft writes it, so that grype matches: only where the source package has another name or version.
        upstream,
      },
    }),
    supplier: row.fields.get("maintainer") || undefined,
    licences: licences.stated,
    properties,
    occurrences: row.occurrences,
    dependsOn,
    isDependencyListComplete: isComplete,
  };
}

/** Which installed package satisfies which dependency, virtual packages included (Debian Policy 7.1, 7.5). */
class Relations {
  readonly #byName = new Map<string, Installed[]>();
  readonly #providers = new Map<string, { readonly row: Installed; readonly version: string | undefined }[]>();
  readonly #count = new DependencyCount();

  constructor(rows: readonly Installed[]) {
    for (const row of rows) {
      append(this.#byName, row.name, row);
      for (const alternatives of parseRelations(row.fields.get("provides") ?? "")) {
        for (const provided of alternatives ?? []) {
          append(this.#providers, provided.name, { row, version: provided.version });
        }
      }
    }
  }

  /** Every installed alternative counts: removing the first may leave the second to satisfy it. */
  resolve(row: Installed): { readonly dependsOn: readonly string[]; readonly isComplete: boolean } {
    const keys = new Set<string>();
    let isComplete = true;
    for (const field of ["pre-depends", "depends"]) {
      for (const alternatives of parseRelations(row.fields.get(field) ?? "")) {
        const found = (alternatives ?? []).flatMap((relation) => this.#satisfying(relation, row.architecture));
        if (found.length === 0) isComplete = false;
        for (const one of found) keys.add(one.key);
      }
    }
    keys.delete(row.key);
    return { dependsOn: [...keys].sort(byText), isComplete };
  }

  #satisfying(relation: Relation, architecture: string): Installed[] {
    const [named, providing] = [this.#byName.get(relation.name) ?? [], this.#providers.get(relation.name) ?? []];
    this.#count.add(named.length + providing.length);
    const real = named.filter((row) => isSatisfied(relation, row.version));
    const provided = providing
      // A provided name without a version satisfies only a relation without one.
      .filter(({ version }) => relation.operator === undefined || isSatisfied(relation, version))
      .map(({ row }) => row);
    const all = [...real, ...provided];
    const wanted = relation.architecture;
    if (wanted !== undefined && wanted !== "any" && wanted !== "native") {
      return all.filter((row) => row.architecture === wanted);
    }
    const same = all.filter((row) => row.architecture === architecture || row.architecture === "all");
    return same.length > 0 ? same : all;
  }
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** Each group of alternatives; undefined stands for a group that cannot be read. */
function parseRelations(text: string): (readonly Relation[] | undefined)[] {
  const groups = text.split(",").map((group) => group.trim());
  return groups
    .filter((group) => group !== "")
    .map((group) => {
      const alternatives = group.split("|").map((alternative) => parseRelation(alternative.trim()));
      return alternatives.includes(undefined) ? undefined : (alternatives as Relation[]);
    });
}

function parseRelation(text: string): Relation | undefined {
  const match =
    /^([A-Za-z0-9][A-Za-z0-9+._-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s()]+)\s*\))?$/.exec(text);
  return match
    ? { name: match[1] as string, architecture: match[2], operator: match[3], version: match[4] }
    : undefined;
}

function isSatisfied(relation: Relation, version: string | undefined): boolean {
  if (relation.operator === undefined) return true;
  const have = version === undefined ? undefined : parseDebianVersion(version);
  const want = parseDebianVersion(relation.version ?? "");
  if (!have || !want) return false;
  const order = compareDebianVersions(have, want);
  switch (relation.operator) {
    case "<<":
      return order < 0;
    case ">>":
      return order > 0;
    case "=":
      return order === 0;
    // "<" and ">" are obsolete spellings of "<=" and ">=".
    case "<":
    case "<=":
      return order <= 0;
    default:
      return order >= 0;
  }
}

/** Configuration, which Debian keeps in /etc alone, and what a site may leave out (dpkg(1), `path-exclude`). */
const NO_PAYLOAD = /^\/(?:etc|usr\/share\/(?:doc|man|info|locale|lintian|bug))\//;

const MD5SUM = /^([0-9a-f]{32}) {2}(.+)$/;

/** Files that dpkg's lists name; files that maintainer scripts made are not among them. */
class InstalledFiles {
  readonly owned = new Set<FileNode>();
  readonly #tree: FileTree;
  /** By the list's name: of files that are the same in every installation of the package's version. */
  readonly #digests = new Map<string, string | undefined>();
  /** By the record's name: what dpkg recorded of the files when it installed them. */
  readonly #recorded = new Map<string, readonly RecordedFile[]>();
  /** Under the name of a diverted file lies another package's. */
  readonly #diverted: ReadonlySet<string>;

  constructor(tree: FileTree) {
    this.#tree = tree;
    const diverted = new Set(this.#divertedPaths());
    this.#diverted = diverted;
    for (const [name, node] of childrenOf(tree, `${DATABASE}/info`)) {
      if (node.kind !== "file") continue;
      // dpkg's own records belong to the package that they describe.
      this.owned.add(node);
      if (name.endsWith(".md5sums")) this.#record(name, node);
      if (!name.endsWith(".list")) continue;
      const payload = this.#own(linesOf(node)).filter(([path]) => !NO_PAYLOAD.test(path) && !diverted.has(path));
      this.#digests.set(name, contentDigest(payload));
    }
    for (const [name, node] of childrenOf(tree, `${DATABASE}/status.d`)) {
      if (node.kind !== "file") continue;
      this.owned.add(node);
      const paths = linesOf(node).flatMap((line) => MD5SUM.exec(line)?.[2] ?? []);
      const payload = this.#own(paths.map((path) => `/${path}`)).filter(([path]) => !NO_PAYLOAD.test(path));
      if (!name.endsWith(".md5sums")) continue;
      this.#digests.set(name, contentDigest(payload));
      this.#record(name, node);
    }
    this.#own([`/${DATABASE}/status`, `/${DATABASE}/diversions`]);
  }

  propertiesOf({ name, architecture }: Installed): CatalogPackage["properties"] {
    const lists = [`${name}.list`, `${name}:${architecture}.list`, `${name}.md5sums`];
    const digest = lists.map((list) => this.#digests.get(list)).find((one) => one !== undefined);
    const records = [`${name}.md5sums`, `${name}:${architecture}.md5sums`];
    const recorded = records.map((record) => this.#recorded.get(record)).find((one) => one !== undefined);
    return [...digestProperties("files-sha256", [digest]), ...changedFileProperties(recorded ?? [])];
  }

  #record(name: string, node: FileNode): void {
    const files = linesOf(node).flatMap((line): RecordedFile[] => {
      const [, digest, path] = MD5SUM.exec(line) ?? [];
      if (digest === undefined || path === undefined || !isPackagedPath(path)) return [];
      if (this.#diverted.has(`/${path}`)) return [];
      const file = this.#tree.lookupLink(path);
      return file?.kind === "file" ? [{ path: `/${path}`, file, algorithm: "md5", digest }] : [];
    });
    this.#recorded.set(name, files);
  }

  #own(paths: readonly string[]): [path: string, file: FileNode][] {
    return paths.flatMap((path): [string, FileNode][] => {
      const node = this.#tree.lookupLink(path);
      if (node?.kind !== "file") return [];
      this.owned.add(node);
      return [[path, node]];
    });
  }

  /** Three lines each: the path, where its file went, and the package that has the path to itself. */
  #divertedPaths(): string[] {
    const node = this.#tree.lookup(`${DATABASE}/diversions`);
    return node?.kind === "file" ? linesOf(node).filter((_, i) => i % 3 === 0) : [];
  }
}

function linesOf(node: FileNode): string[] {
  return node.content ? Buffer.from(node.content).toString("utf8").split("\n") : [];
}

function childrenOf(tree: FileTree, path: string): Iterable<[string, import("./file-tree.ts").TreeNode]> {
  const node = tree.lookup(path);
  return node?.kind === "directory" ? node.children : [];
}
