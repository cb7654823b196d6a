/** An image in an OCI layout, a bundle of Sealift's or anybody's, and the SBOM made from its layers. */
import { bare, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { INDEX_FILE, type Layout } from "../../bundles/layout/layout.ts";
import { REF_NAME_ANNOTATION } from "../../bundles/model/annotations.ts";
import { type Descriptor, platformText } from "../../bundles/model/descriptor.ts";
import { type Digest, parseDigest } from "../../bundles/model/digest.ts";
import {
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_LIST,
  OCI_INDEX,
  OCI_MANIFEST,
  RELEASE,
} from "../../bundles/model/media-types.ts";
import {
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from "../../bundles/model/oci.ts";
import { sbomError } from "../error.ts";
import { imageSbom } from "./image-sbom.ts";
import { type LayerScan, scanLayer } from "./layer-scan.ts";

export interface LayoutImage {
  readonly name: string;
  /** Of the image manifest. */
  readonly descriptor: Descriptor;
  /** When the release was made; undefined for an image that is in none. */
  readonly created: string | undefined;
}

/**
 * The image that `ref` names: in a bundle the image's name, elsewhere its ref.name in index.json; a
 * manifest's digest in both. Without `ref`, the only image there is.
 * @throws SBOM_IMAGE_NOT_FOUND, and what `readRelease` or `parseIndex` throws. Checks no signature.
 */
export function findImage(layout: Layout, ref: string | undefined): LayoutImage {
  const index = parseIndex(layout.readUnverified(INDEX_FILE, MANIFEST_MAX_BYTES));
  const isBundle = index.manifests.some((entry) => entry.artifactType === RELEASE);
  const images = isBundle ? bundleImages(layout) : plainImages(layout, index.manifests);
  const digest = parseDigest(ref);
  const found = images.filter(
    (image) => ref === undefined || image.name === ref || (digest !== undefined && image.descriptor.digest === digest),
  );
  // One manifest may be listed under several names.
  const [first] = found;
  if (first && new Set(found.map((image) => image.descriptor.digest)).size === 1) return first;
  const names = images.map((image) => {
    const { platform, digest: of } = image.descriptor;
    return `${image.name || "(unnamed)"} ${platform ? `${platformText(platform)} ` : ""}${of}`;
  });
  const wanted = ref === undefined ? "exactly one image" : `one image ${JSON.stringify(ref)}`;
  throw sbomError(
    "SBOM_IMAGE_NOT_FOUND",
    `layout ${JSON.stringify(layout.location)}: got ${found.length}, want ${wanted}`,
    {
      hints: ["name it as LAYOUT#NAME or LAYOUT#sha256:DIGEST; there are:", ...names.slice(0, 20)],
    },
  );
}

function bundleImages(layout: Layout): LayoutImage[] {
  const release = readRelease(layout, readLayoutIndex(layout).release);
  return [...release.images].map(([name, { descriptor }]) => ({ name, descriptor, created: release.manifest.created }));
}

function plainImages(layout: Layout, entries: readonly Descriptor[]): LayoutImage[] {
  return entries.flatMap((entry): LayoutImage[] => {
    const name = entry.annotations?.[REF_NAME_ANNOTATION] ?? "";
    if (entry.mediaType === OCI_MANIFEST || entry.mediaType === DOCKER_MANIFEST) {
      return [{ name, descriptor: entry, created: undefined }];
    }
    if (entry.mediaType !== OCI_INDEX && entry.mediaType !== DOCKER_MANIFEST_LIST) return [];
    const { manifests } = parseIndex(layout.readDescriptor(bare(entry), MANIFEST_MAX_BYTES));
    return (
      manifests
        // A layout copied for one platform lacks the others; BuildKit lists attestations as unknown/unknown.
        .filter((one) => layout.blob(one.digest) !== undefined && one.platform?.os !== "unknown")
        .map((descriptor) => ({ name, descriptor, created: undefined }))
    );
  });
}

export interface LayoutSbomOptions {
  /** Sealift's version. */
  readonly toolVersion: string;
  readonly specVersion: "1.6" | "1.7";
  /** The name in the SBOM where the layout has none. */
  readonly fallbackName: string;
  /** The document's time where neither the release nor the image has one, RFC 3339. */
  readonly fallbackTime: string;
  readonly onLayer: (number: number, count: number) => void;
}

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

/** Every digest on the way is checked. @throws as `imageSbom`, `scanLayer` and `Layout.stream` do. */
export async function layoutImageSbom(layout: Layout, image: LayoutImage, options: LayoutSbomOptions): Promise<Buffer> {
  const manifest = parseManifest(layout.readDescriptor(image.descriptor, MANIFEST_MAX_BYTES));
  const config = parseImageConfig(layout.readDescriptor(manifest.config, CONFIG_MAX_BYTES));
  const scans = new Map<Digest, LayerScan>();
  for (const [i, layer] of manifest.layers.entries()) {
    options.onLayer(i + 1, manifest.layers.length);
    if (!scans.has(layer.digest)) {
      scans.set(layer.digest, await scanLayer(layout.stream(layer.digest), layer.mediaType));
    }
  }
  const created = [image.created, config.created].find((time) => time !== undefined && RFC3339.test(time));
  return imageSbom({
    name: imageName(image.name) ?? imageName(options.fallbackName) ?? "image",
    manifestDigest: image.descriptor.digest,
    config,
    scans: manifest.layers.map((layer) => scans.get(layer.digest) as LayerScan),
    created: created ?? options.fallbackTime,
    toolVersion: options.toolVersion,
    specVersion: options.specVersion,
  });
}

/** The last part of a reference without tag and digest, which is what a purl of type `oci` is named by. */
function imageName(reference: string): string | undefined {
  const [path = ""] = reference.split("@");
  const last = path.slice(path.lastIndexOf("/") + 1).replace(/:[^:]*$/, "");
  return last === "" ? undefined : last.toLowerCase();
}
