/** Alpine packages as apk's database in the image has them (apk-tools 2 and 3: `lib/apk/db/installed`). */
import { sbomError } from "../error.ts";
import { byText, type Catalog, type CatalogPackage, type Occurrence } from "./catalog.ts";
import { changedFileProperties, type RecordedFile } from "./changed-files.ts";
import { contentDigest, digestProperties } from "./content-digest.ts";
import { DependencyCount } from "./dependency-count.ts";
import { isPackagedPath } from "./file-digests.ts";
import type { FileNode, FileTree } from "./file-tree.ts";
import type { OsRelease } from "./os-release.ts";
import { renderPurl } from "./purl.ts";
import { quote } from "./tar-reader.ts";

const DATABASES = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const NAME = /^[A-Za-z0-9._+-]{1,256}$/;
const VERSION = /^[\w.+~-]{1,256}$/;

interface ListedFile {
  readonly path: string;
  /** What stands in `Z:`; "" if nothing does. */
  readonly checksum: string;
}

interface Row {
  readonly key: string;
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly fields: ReadonlyMap<string, string>;
  readonly files: readonly ListedFile[];
  readonly occurrence: Occurrence;
}

/**
 * @throws SBOM_APK_MALFORMED | SBOM_CONTENT_NOT_KEPT | SBOM_DISTRO_UNKNOWN if there are packages but no
 * os-release: without it neither a purl nor a vulnerability scan could name them.
 */
export function catalogApk(tree: FileTree, os: OsRelease | undefined): Catalog {
  const rows: Row[] = [];
  const ownedFiles = new Set<FileNode>();
  const read = new Set<FileNode>();
  for (const path of DATABASES) {
    const node = tree.lookup(path);
    // /lib may be a link to /usr/lib.
    if (node?.kind !== "file" || read.has(node)) continue;
    read.add(node);
    rows.push(...readDatabase(node, `/${path}`));
    for (const child of childrenOf(tree, path.slice(0, path.lastIndexOf("/")))) ownedFiles.add(child);
  }
  if (rows.length === 0) return { packages: [], skipped: [], ownedFiles };
  if (!os) {
    throw sbomError("SBOM_DISTRO_UNKNOWN", `image has ${rows.length} Alpine packages but no os-release with an ID`, {
      hints: ["the image needs /etc/os-release or /usr/lib/os-release of its distribution"],
    });
  }
  const fileProperties = new Map<string, CatalogPackage["properties"]>();
  for (const { key, files } of rows) {
    const payload: [string, FileNode][] = [];
    const recorded: RecordedFile[] = [];
    for (const { path, checksum } of files) {
      const node = tree.lookupLink(path);
      if (node?.kind !== "file") continue;
      ownedFiles.add(node);
      // Alpine's configuration is what lies in /etc.
      if (!path.startsWith("etc/")) payload.push([path, node]);
      const digest = recordedDigest(checksum);
      if (digest && isPackagedPath(path)) recorded.push({ path: `/${path}`, file: node, ...digest });
    }
    fileProperties.set(key, [
      ...digestProperties("files-sha256", [contentDigest(payload)]),
      ...changedFileProperties(recorded),
    ]);
  }
  const unique = [...new Map(rows.map((row) => [row.key, row])).values()].sort((a, b) => byText(a.key, b.key));
  const providers = providersOf(unique);
  const count = new DependencyCount();
  const wanted = ({ fields }: Row): Wanted =>
    relationNames(fields.get("D")).map((name) => {
      const keys = providers.get(name);
      count.add(keys?.length ?? 0);
      return keys;
    });
  const packages = unique.map((row) => describe(row, os, wanted(row), fileProperties.get(row.key) ?? []));
  return { packages, skipped: [], ownedFiles };
}

/** "Q1" and a SHA-1, "Q2" and a SHA-256, both in base64 (apk_checksum.c of apk-tools). */
function recordedDigest(checksum: string): Pick<RecordedFile, "algorithm" | "digest"> | undefined {
  const [, kind, base64 = ""] = /^Q([12])([A-Za-z0-9+/]+=*)$/.exec(checksum) ?? [];
  const digest = Buffer.from(base64, "base64").toString("hex");
  if (kind === "1" && digest.length === 40) return { algorithm: "sha1", digest };
  return kind === "2" && digest.length === 64 ? { algorithm: "sha256", digest } : undefined;
}

function* childrenOf(tree: FileTree, path: string): Generator<FileNode> {
  const node = tree.lookup(path);
  if (node?.kind !== "directory") return;
  for (const child of node.children.values()) if (child.kind === "file") yield child;
}

function readDatabase(node: FileNode, location: string): Row[] {
  if (node.content === undefined) {
    throw sbomError("SBOM_CONTENT_NOT_KEPT", `${quote(location)} is a link to a file whose content was not read`);
  }
  const refuse = (what: string): never => {
    throw sbomError("SBOM_APK_MALFORMED", `${quote(location)}: ${what}`);
  };
  const paragraphs = Buffer.from(node.content)
    .toString("utf8")
    .split(/\n{2,}/);
  return paragraphs
    .filter((paragraph) => paragraph.trim() !== "")
    .map((paragraph): Row => {
      const fields = new Map<string, string>();
      const files: { path: string; checksum: string }[] = [];
      let directory = "";
      for (const line of paragraph.split("\n")) {
        if (line === "") continue;
        if (line[1] !== ":") refuse(`got ${quote(line)}, want a field`);
        const [key, value] = [line[0] as string, line.slice(2)];
        if (key === "F") directory = value;
        else if (key === "R") files.push({ path: directory === "" ? value : `${directory}/${value}`, checksum: "" });
        else if (key === "Z" && files.length > 0) (files.at(-1) as { checksum: string }).checksum = value;
        // The fields after the files are about them, and come often.
        else if (!fields.has(key)) fields.set(key, value);
      }
      const [name = "", version = "", architecture = ""] = ["P", "V", "A"].map((key) => fields.get(key) ?? "");
      if (!NAME.test(name)) refuse(`a package has the name ${quote(name)}`);
      if (!VERSION.test(version)) refuse(`package ${name}: version ${quote(version)} is none`);
      const key = `apk:${name}:${architecture}@${version}`;
      return { key, name, version, architecture, fields, files, occurrence: { location, layer: node.layer } };
    });
}

/** What each package offers: its name, and what stands in `p:` (libraries, commands, virtual names). */
function providersOf(rows: readonly Row[]): ReadonlyMap<string, readonly string[]> {
  const providers = new Map<string, string[]>();
  for (const row of rows) {
    for (const name of new Set([row.name, ...relationNames(row.fields.get("p"))])) {
      const keys = providers.get(name);
      if (keys) keys.push(row.key);
      else providers.set(name, [row.key]);
    }
  }
  return providers;
}

/** Names without version conditions, each once; conflicts ("!name") are none. */
function relationNames(text = ""): string[] {
  const words = text.split(/\s+/).filter((word) => word !== "" && !word.startsWith("!"));
  return [...new Set(words.map((word) => word.replace(/[<>=~].*$/, "")))];
}

/** For each dependency the keys of what satisfies it, undefined if nothing does. */
type Wanted = readonly (readonly string[] | undefined)[];

function describe(
  row: Row,
  os: OsRelease,
  wanted: Wanted,
  fileProperties: CatalogPackage["properties"],
): CatalogPackage {
  const origin = row.fields.get("o") || row.name;
  const dependsOn = new Set(wanted.flatMap((keys) => keys ?? []));
  dependsOn.delete(row.key);
  const licence = row.fields.get("L");
  return {
    key: row.key,
    type: "library",
    name: row.name,
    version: row.version,
    purl: renderPurl({
      type: "apk",
      namespace: os.id,
      name: row.name,
      version: row.version,
      qualifiers: {
        arch: row.architecture || undefined,
        distro: os.version ? `${os.id}-${os.version}` : os.id,
        // As syft writes it, so that grype matches: only where the origin has another name.
        upstream: origin === row.name ? undefined : origin,
      },
    }),
    supplier: row.fields.get("m") || undefined,
    licences: licence ? [licence] : [],
    properties: [
      // As trivy writes them: advisories name the origin.
      ["aquasecurity:trivy:PkgType", os.id],
      ["aquasecurity:trivy:SrcName", origin],
      ["aquasecurity:trivy:SrcVersion", row.version],
      ...fileProperties,
      ...digestProperties("apk-checksum", [row.fields.get("C")]),
    ],
    occurrences: [row.occurrence],
    dependsOn: [...dependsOn].sort(byText),
    isDependencyListComplete: !wanted.includes(undefined),
  };
}
