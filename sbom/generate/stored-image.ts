/** The SBOM of an image that lies somewhere: in a bundle, in an OCI layout, or where a source brings it from. */
import { bare, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { INDEX_FILE, type Layout } from "../../bundles/layout/layout.ts";
import { REF_NAME_ANNOTATION } from "../../bundles/model/annotations.ts";
import { type Descriptor, platformText } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf, parseDigest } from "../../bundles/model/digest.ts";
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

/** An image whose digests have been checked, or are checked while it is read. */
export interface StoredImage {
  /** As it is called where it lies: a name, a reference, or "". */
  readonly name: string;
  /** The manifest's and the configuration's bytes. */
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** As the manifest lists them. */
  readonly layers: readonly StoredLayer[];
  /** When the release was made; undefined for an image that is in none. */
  readonly created: string | undefined;
}

export interface StoredLayer {
  readonly descriptor: Descriptor;
  /** Must fail, at its end at the latest, unless it gives bytes with the descriptor's digest. */
  open(): AsyncIterable<Uint8Array>;
}

interface Listed {
  readonly name: string;
  readonly descriptor: Descriptor;
  readonly created: string | undefined;
}

/**
 * The image that `ref` names: in a bundle the image's name, elsewhere its ref.name in index.json; a
 * manifest's digest in both. Without `ref`, the only image there is.
 * @throws SBOM_IMAGE_NOT_FOUND, and what `readRelease`, `parseIndex` or `Layout.read` throws. Checks no signature.
 */
export function imageInLayout(layout: Layout, ref: string | undefined): StoredImage {
  const { name, descriptor, created } = findListed(layout, ref);
  const manifest = layout.readDescriptor(descriptor, MANIFEST_MAX_BYTES);
  const { config, layers } = parseManifest(manifest);
  return {
    name,
    manifest,
    config: layout.readDescriptor(config, CONFIG_MAX_BYTES),
    layers: layers.map((layer) => ({ descriptor: layer, open: () => layout.stream(layer.digest) })),
    created,
  };
}

function findListed(layout: Layout, ref: string | undefined): Listed {
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

function bundleImages(layout: Layout): Listed[] {
  const release = readRelease(layout, readLayoutIndex(layout).release);
  return [...release.images].map(([name, { descriptor }]) => ({ name, descriptor, created: release.manifest.created }));
}

function plainImages(layout: Layout, entries: readonly Descriptor[]): Listed[] {
  return entries.flatMap((entry): Listed[] => {
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

export interface StoredImageOptions {
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

/** @throws as `imageSbom`, `scanLayer` and the layers' `open` do, and OCI_MALFORMED. */
export async function storedImageSbom(image: StoredImage, options: StoredImageOptions): Promise<Buffer> {
  const config = parseImageConfig(image.config);
  const scans = new Map<Digest, LayerScan>();
  for (const [i, { descriptor, open }] of image.layers.entries()) {
    options.onLayer(i + 1, image.layers.length);
    if (!scans.has(descriptor.digest)) scans.set(descriptor.digest, await scanLayer(open(), descriptor.mediaType));
  }
  const created = [image.created, config.created].find((time) => time !== undefined && RFC3339.test(time));
  return imageSbom({
    name: imageName(image.name) ?? imageName(options.fallbackName) ?? "image",
    manifestDigest: digestOf(image.manifest),
    config,
    scans: image.layers.map(({ descriptor }) => scans.get(descriptor.digest) as LayerScan),
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
