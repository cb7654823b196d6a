/**
 * The SBOM of one image: CycloneDX JSON in canonical form, the same bytes for the same image, creation
 * time and version of Sealift.
 *
 * The model and its normaliser are @cyclonedx/cyclonedx-library's; what that does not model (evidence of
 * identity and occurrence, compositions) is added to the plain JSON.
 */
import { createHash } from "node:crypto";
import { Contrib, Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import type { Publisher } from "../../bundles/model/appliance.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import type { ImageConfig } from "../../bundles/model/oci.ts";
import { SBOM_MAX_BYTES } from "../document.ts";
import { sbomError } from "../error.ts";
import { isSpdxExpression } from "../spdx.ts";
import { catalogApk } from "./apk.ts";
import { byText, type Catalog, type CatalogPackage, type PackageFile } from "./catalog.ts";
import { catalogDpkg } from "./dpkg.ts";
import { censusFiles, type FileCensus } from "./file-census.ts";
import { type FileNode, FileTree } from "./file-tree.ts";
import { catalogJava } from "./java.ts";
import type { LayerScan } from "./layer-scan.ts";
import { catalogNpm } from "./npm.ts";
import { findOsRelease, type OsRelease } from "./os-release.ts";
import { catalogPrograms } from "./programs.ts";
import { renderPurl } from "./purl.ts";
import { catalogPython } from "./python.ts";
import { catalogRpm } from "./rpm.ts";

export interface ImageSbomInput {
  readonly name: string;
  readonly manifestDigest: Digest;
  readonly config: ImageConfig;
  /** One for each layer of the manifest, in its order, the lowest first. */
  readonly scans: readonly LayerScan[];
  /** RFC 3339; the document's timestamp. */
  readonly created: string;
  /** Sealift's version. */
  readonly toolVersion: string;
  /** Who makes the document and supplies the image; nobody is named if it is absent. */
  readonly publisher?: Publisher;
  /** 1.6 unless it is given. */
  readonly specVersion?: "1.6" | "1.7";
}

/**
 * The bytes of the SBOM.
 * @throws SBOM_DIFF_ID_MISMATCH if the layers are not those of the configuration; SBOM_EMPTY if the image
 * has files but no package that Sealift can name; SBOM_TOO_LARGE; SBOM_LAYER_MALFORMED, SBOM_LAYER_TOO_LARGE,
 * SBOM_CONTENT_NOT_KEPT, SBOM_DPKG_MALFORMED, SBOM_APK_MALFORMED, SBOM_RPM_MALFORMED and SBOM_DISTRO_UNKNOWN as the
 * parts do.
 * Does not check that `manifestDigest` is that of a manifest with these layers.
 */
export function imageSbom(input: ImageSbomInput): Buffer {
  compareDiffIds(input.config, input.scans);
  const tree = FileTree.of(input.scans);
  const os = findOsRelease(tree);
  const system = [catalogDpkg(tree, os), catalogApk(tree, os), catalogRpm(tree, os)];
  const isOwned = (file: FileNode): boolean => system.some((catalog) => catalog.ownedFiles.has(file));
  const others = [catalogNpm, catalogPython, catalogJava, catalogPrograms].map((catalog) => catalog(tree, isOwned));
  const catalogs = [...system, ...others];
  const census = censusFiles(tree, (file) => catalogs.some((catalog) => catalog.ownedFiles.has(file)));
  const packages = catalogs.flatMap((catalog) => catalog.packages);
  if (packages.length === 0 && census.files > 0) {
    const unread = census.notCatalogued.length > 0 ? `; it seems to have ${census.notCatalogued.join(", ")}` : "";
    throw sbomError(
      "SBOM_EMPTY",
      `image ${JSON.stringify(input.name)}: no package found in ${census.files} files${unread}`,
      {
        hints: [
          "Sealift lists packages of dpkg, apk, rpm, npm, Python, Maven and Go, and Node.js itself; keep their databases in the image",
        ],
      },
    );
  }
  const bytes = canonicalJson(render(input, { os, system, others, census }));
  if (bytes.length > SBOM_MAX_BYTES) {
    throw sbomError(
      "SBOM_TOO_LARGE",
      `SBOM of ${JSON.stringify(input.name)}: got ${bytes.length} bytes, want at most ${SBOM_MAX_BYTES}`,
    );
  }
  return bytes;
}

function compareDiffIds(config: ImageConfig, scans: readonly LayerScan[]): void {
  const wanted = config.rootfs.diff_ids;
  if (wanted.length !== scans.length) {
    throw sbomError(
      "SBOM_DIFF_ID_MISMATCH",
      `image configuration: got ${wanted.length} diff_ids, want ${scans.length}, one a layer`,
    );
  }
  for (const [i, want] of wanted.entries()) {
    const got = scans[i]?.diffId;
    if (got !== want)
      throw sbomError("SBOM_DIFF_ID_MISMATCH", `layer ${i + 1} of ${scans.length}: got diff_id ${got}, want ${want}`);
  }
}

interface Findings {
  readonly os: OsRelease | undefined;
  /** Of the distribution's packages. */
  readonly system: readonly Catalog[];
  readonly others: readonly Catalog[];
  readonly census: FileCensus;
}

/** What goes into the plain JSON of a component beside what the library models. */
interface Evidence {
  readonly identity: readonly object[];
  readonly occurrences: readonly object[];
}

function render(input: ImageSbomInput, found: Findings): object {
  const image = imageComponent(input, found);
  const bom = new Models.Bom({ serialNumber: serialNumber(input) });
  bom.metadata.component = image;
  bom.metadata.lifecycles.add(Enums.LifecyclePhase.PostBuild);
  bom.metadata.tools.components.add(
    new Models.Component(Enums.ComponentType.Application, "sealift", { version: input.toolVersion }),
  );
  const evidence = new Map<string, Evidence>();
  const components = new Map<string, Models.Component>();
  const system = found.system.flatMap((catalog) => catalog.packages);
  const others = found.others.flatMap((catalog) => catalog.packages);
  const packages = [...system, ...others];
  const refs = uniqueRefs(packages);
  for (const one of packages) {
    const ref = refs.get(one.key) as string;
    const component = packageComponent(one, ref);
    components.set(one.key, component);
    evidence.set(ref, packageEvidence(one, input.scans));
    bom.components.add(component);
  }
  for (const one of packages) {
    const { dependencies } = components.get(one.key) as Models.Component;
    for (const key of one.dependsOn) dependencies.add((components.get(key) as Models.Component).bomRef);
  }
  if (found.os) {
    const os = osComponent(found.os);
    bom.components.add(os);
    evidence.set(os.bomRef.value as string, {
      identity: [identity("name", found.os.id, found.os.location)],
      occurrences: [occurrence(found.os, input.scans)],
    });
    for (const { key } of system) os.dependencies.add((components.get(key) as Models.Component).bomRef);
    image.dependencies.add(os.bomRef);
  }
  for (const key of rootsOf(others)) image.dependencies.add((components.get(key) as Models.Component).bomRef);

  const spec = input.specVersion === "1.7" ? Spec.Spec1dot7 : Spec.Spec1dot6;
  const factory = new Serialize.JSON.Normalize.Factory(spec);
  const plain = factory.makeForBom().normalize(bom, { sortLists: true });
  return {
    ...plain,
    metadata: {
      ...plain.metadata,
      timestamp: input.created,
      ...(input.publisher && { manufacturer: organization(input.publisher) }),
    },
    components: (plain.components ?? []).map((component) => {
      const known = evidence.get(component["bom-ref"] ?? "");
      return known ? { ...component, evidence: known } : component;
    }),
    compositions: compositions(image.bomRef.value as string, refs, packages, found),
  };
}

/** UUID version 8 (RFC 9562, 5.8): of what determines the document, so that a rebuild gives the same one. */
function serialNumber(input: ImageSbomInput): string {
  const seed = [
    "sealift sbom",
    input.name,
    input.manifestDigest,
    input.created,
    input.toolVersion,
    input.specVersion ?? "1.6",
    ...(input.publisher ? [{ ...input.publisher }] : []),
  ];
  const bytes = createHash("sha256").update(canonicalJson(seed)).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return `urn:uuid:${bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`;
}

/** `organizationalEntity` of CycloneDX, which the library's metadata has no `manufacturer` for. */
function organization({ name, email, url }: Publisher): object {
  return { name, ...(url !== undefined && { url: [url] }), ...(email !== undefined && { contact: [{ email }] }) };
}

function imageComponent(
  { name, manifestDigest, config, publisher }: ImageSbomInput,
  found: Findings,
): Models.Component {
  const { architecture, variant } = config;
  const purl = renderPurl({
    type: "oci",
    name,
    version: manifestDigest,
    qualifiers: { arch: variant ? `${architecture}/${variant}` : architecture },
  });
  const component = new Models.Component(Enums.ComponentType.Container, name, {
    bomRef: purl,
    purl,
    version: manifestDigest,
    ...(publisher && { supplier: new Models.OrganizationalEntity({ name: publisher.name }) }),
  });
  component.hashes.set(Enums.HashAlgorithm["SHA-256"], hexOf(manifestDigest));
  const add = (key: string, value: string): void => {
    component.properties.add(new Models.Property(key, value));
  };
  for (const [i, diffId] of config.rootfs.diff_ids.entries()) add(`sealift:image:diff-id:${i + 1}`, diffId);
  // What the document does not cover, so that no reader takes silence for absence.
  add("sealift:sbom:files", String(found.census.files));
  add("sealift:sbom:files-without-package", String(found.census.unowned));
  add("sealift:sbom:executables-without-package", String(found.census.unownedExecutables));
  for (const ecosystem of found.census.notCatalogued) add("sealift:sbom:not-catalogued", ecosystem);
  for (const { location, reason } of skippedIn(found)) {
    add("sealift:sbom:skipped", `${location}: ${reason}`);
  }
  return component;
}

function skippedIn({ system, others }: Findings): Catalog["skipped"] {
  return [...system, ...others].flatMap((catalog) => catalog.skipped);
}

function osComponent(os: OsRelease): Models.Component {
  return new Models.Component(Enums.ComponentType.OperatingSystem, os.id, {
    bomRef: `operating-system:${os.id}${os.version ? `@${os.version}` : ""}`,
    ...(os.version ? { version: os.version } : {}),
    ...(os.prettyName ? { description: os.prettyName } : {}),
  });
}

/** The purl where there is one. Two names that differ only in capitals have one purl and need two references. */
function uniqueRefs(packages: readonly CatalogPackage[]): Map<string, string> {
  const taken = new Set<string>();
  const refs = new Map<string, string>();
  for (const { key, purl } of packages) {
    const ref = purl !== undefined && !taken.has(purl) ? purl : key;
    taken.add(ref);
    refs.set(key, ref);
  }
  return refs;
}

const licenceFactory = new Contrib.License.Factories.LicenseFactory((text) => {
  if (!isSpdxExpression(text)) throw new RangeError("not an SPDX expression");
});

function packageComponent(one: CatalogPackage, ref: string): Models.Component {
  const slash = one.name.startsWith("@") ? one.name.indexOf("/") : -1;
  const type = one.type === "application" ? Enums.ComponentType.Application : Enums.ComponentType.Library;
  const component = new Models.Component(type, one.name.slice(slash + 1), {
    bomRef: ref,
    ...(slash > 0 ? { group: one.name.slice(0, slash) } : {}),
    ...(one.version !== undefined ? { version: one.version } : {}),
    ...(one.purl !== undefined ? { purl: one.purl } : {}),
    ...(one.supplier !== undefined ? { supplier: new Models.OrganizationalEntity({ name: one.supplier }) } : {}),
  });
  for (const [name, value] of one.properties) component.properties.add(new Models.Property(name, value));
  if (one.file) describeFile(component, one.file);
  for (const text of one.licences) {
    // CycloneDX 1.6 allows one expression alone, or any number of ids and names.
    const licence =
      one.licences.length === 1 ? licenceFactory.makeFromString(text) : licenceFactory.makeDisjunctive(text);
    licence.acknowledgement = Enums.LicenseAcknowledgement.Declared;
    component.licenses.add(licence);
  }
  return component;
}

/** The properties of BSI TR-03183-2, 5.2.2, by their names in CycloneDX's property taxonomy. */
function describeFile(component: Models.Component, { name, sha512, isExecutable, isArchive }: PackageFile): void {
  component.hashes.set(Enums.HashAlgorithm["SHA-512"], sha512);
  const add = (key: string, value: string): void => {
    component.properties.add(new Models.Property(`bsi:component:${key}`, value));
  };
  add("filename", name);
  add("executable", isExecutable ? "executable" : "non-executable");
  add("archive", isArchive ? "archive" : "no archive");
  // What is linked into a program cannot be taken out again.
  add("structured", isArchive ? "structured" : "unstructured");
}

function packageEvidence(one: CatalogPackage, scans: readonly LayerScan[]): Evidence {
  const location = one.occurrences[0]?.location ?? "";
  return {
    identity: [one.purl === undefined ? identity("name", one.name, location) : identity("purl", one.purl, location)],
    occurrences: one.occurrences.map((item) => occurrence(item, scans)),
  };
}

function identity(field: string, concludedValue: string, location: string): object {
  return {
    field,
    concludedValue,
    confidence: 1,
    methods: [{ technique: "manifest-analysis", confidence: 1, value: location }],
  };
}

/** The layer is named by its diff_id: the same layer compressed otherwise has the same. */
function occurrence(item: { readonly location: string; readonly layer: number }, scans: readonly LayerScan[]): object {
  return { location: item.location, additionalContext: `layer ${scans[item.layer]?.diffId}` };
}

/** Packages from which all others can be reached: those on which none depends, and one of each remaining cycle. */
function rootsOf(packages: readonly CatalogPackage[]): string[] {
  const byKey = new Map(packages.map((one) => [one.key, one]));
  const dependedOn = new Set(packages.flatMap((one) => one.dependsOn));
  const reached = new Set<string>();
  const reach = (start: string): void => {
    const todo = [start];
    for (let key = todo.pop(); key !== undefined; key = todo.pop()) {
      if (reached.has(key)) continue;
      reached.add(key);
      todo.push(...(byKey.get(key)?.dependsOn ?? []));
    }
  };
  const roots = packages.map(({ key }) => key).filter((key) => !dependedOn.has(key));
  for (const key of roots) reach(key);
  for (const { key } of packages) {
    if (reached.has(key)) continue;
    roots.push(key);
    reach(key);
  }
  return roots;
}

/** How far the lists can be relied on (CycloneDX "Compositions"). */
function compositions(
  image: string,
  refs: ReadonlyMap<string, string>,
  packages: readonly CatalogPackage[],
  found: Findings,
): object[] {
  const refsOf = (wanted: boolean): string[] =>
    packages
      .filter((one) => one.isDependencyListComplete === wanted)
      .map((one) => refs.get(one.key) as string)
      .sort(byText);
  const { unowned, notCatalogued } = found.census;
  const isWhole = unowned === 0 && notCatalogued.length === 0 && skippedIn(found).length === 0;
  return [
    { aggregate: isWhole ? "complete" : "incomplete", assemblies: [image] },
    { aggregate: "complete", dependencies: refsOf(true) },
    { aggregate: "incomplete", dependencies: refsOf(false) },
  ].filter((item) => item.assemblies !== undefined || item.dependencies.length > 0);
}
