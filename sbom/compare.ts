/** A vendor's SBOM against what Sealift finds in the image itself: each difference is a finding. */
import { PackageURL } from "packageurl-js";
import type { SbomComponent, SbomDocument } from "./document.ts";
import { byText } from "./generate/catalog.ts";
import { imageDigest } from "./scan/purl-match.ts";

export interface SbomComparison {
  /**
   * Whether the document names this image: by digest in its subject's purl or hashes. `unnamed`: it names
   * none, so that nothing but a signature over both binds it to the image.
   */
  readonly subject: "this-image" | "another-image" | "unnamed";
  /** Packages in the image that the document does not list: purls without qualifiers, sorted. */
  readonly missing: readonly string[];
  /** Packages that the document lists and the image does not have. */
  readonly unfound: readonly string[];
  /** Packages that the document lists of ecosystems that Sealift does not read, and such without a usable purl. */
  readonly notChecked: readonly string[];
  readonly matched: number;
}

/** purl types of which Sealift lists what is in an image. */
const READ: ReadonlySet<string> = new Set(["deb", "apk", "rpm", "npm", "pypi", "maven", "golang", "generic"]);
/** What the common tools list beside packages. */
const NO_PACKAGES: ReadonlySet<string> = new Set([
  "operating-system",
  "container",
  "file",
  "data",
  "cryptographic-asset",
]);

/**
 * `own` is what `imageSbom` made of the image with manifest digest `digest`. Ecosystems that `own` says it
 * could not read whole are not checked. Versions must be equal; spellings that mean the same one are.
 */
export function compareSboms(document: SbomDocument, own: SbomDocument, digest: string): SbomComparison {
  const notCatalogued = new Set(
    (own.subject?.properties ?? [])
      .filter(({ name }) => name === "sealift:sbom:not-catalogued")
      .map(({ value }) => value),
  );
  const listed = new Set<string>();
  const notChecked = new Set<string>();
  for (const component of document.components) {
    const key = keyOf(component);
    if (key === undefined) {
      if (!NO_PACKAGES.has(component.type)) notChecked.add(nameOf(component));
    } else if (key.isSource) continue;
    else if (!READ.has(key.type) || notCatalogued.has(key.type)) notChecked.add(key.text);
    else listed.add(key.text);
  }
  const found = new Set(own.components.flatMap((component) => keyOf(component)?.text ?? []));
  const sorted = (names: Iterable<string>): string[] => [...names].sort(byText);
  return {
    subject: subjectOf(document, digest),
    missing: sorted([...found].filter((key) => !listed.has(key) && !notChecked.has(key))),
    unfound: sorted([...listed].filter((key) => !found.has(key))),
    notChecked: sorted(notChecked),
    matched: [...listed].filter((key) => found.has(key)).length,
  };
}

function subjectOf({ subject }: SbomDocument, digest: string): SbomComparison["subject"] {
  const named =
    imageDigest(subject?.purl ?? "") ?? imageDigest(`pkg:oci/x@${encodeURIComponent(subject?.version ?? "")}`);
  const hashes = (subject?.hashes ?? []).filter((hash) => hash.startsWith("SHA-256:"));
  const all = [...(named ? [named] : []), ...hashes.map((hash) => hash.replace("SHA-256:", "sha256:").toLowerCase())];
  if (all.length === 0) return "unnamed";
  return all.includes(digest) ? "this-image" : "another-image";
}

interface Key {
  readonly type: string;
  readonly text: string;
  /** A source package, which some tools list beside its binaries. */
  readonly isSource: boolean;
}

function keyOf({ purl }: SbomComponent): Key | undefined {
  try {
    const { type, namespace, name, version, qualifiers } = PackageURL.fromString(purl ?? "");
    if (type === "oci" || type === "docker" || !version) return undefined;
    const epoch = qualifiers?.["epoch"];
    const full = epoch && epoch !== "0" && !version.includes(":") ? `${epoch}:${version}` : version;
    const spelled = type === "pypi" ? name.toLowerCase().replace(/[-_.]+/g, "-") : name;
    const bare = type === "golang" ? full.replace(/^(?:v|go)(?=\d)/, "") : full;
    const text = new PackageURL(type, namespace, spelled, bare, undefined, undefined).toString().replaceAll("+", "%2B");
    return {
      type,
      text: type === "golang" ? text.toLowerCase() : text,
      isSource: qualifiers?.["arch"] === "source",
    };
  } catch {
    return undefined;
  }
}

function nameOf({ purl, name, version }: SbomComponent): string {
  return purl ?? `${name}@${version ?? ""}`;
}
