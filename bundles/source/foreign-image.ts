/**
 * Images that others made, as they come from a registry, a layout or an engine: which manifest of a
 * multi-platform image is meant, and what Sealift carries of it.
 *
 * A manifest that names OCI media types only is carried byte for byte and keeps its digest. One that
 * names Docker's (schema 2) is written anew with the OCI names: the configuration and the layers keep
 * their bytes and digests, the manifest gets a new digest, and the provenance names the old one.
 */
import { canonicalJson } from "../model/canonical-json.ts";
import { type Descriptor, parsePlatform, platformText } from "../model/descriptor.ts";
import { type Digest, digestOf } from "../model/digest.ts";
import {
  DOCKER_IMAGE_CONFIG,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_LIST,
  OCI_IMAGE_CONFIG,
  OCI_INDEX,
  OCI_LAYER_GZIP,
  OCI_LAYER_TAR,
  OCI_LAYER_ZSTD,
  OCI_MANIFEST,
} from "../model/media-types.ts";
import { type ImageConfig, type Index, type Manifest, parseImageConfig, parseManifest } from "../model/oci.ts";
import { sourceError } from "./error.ts";

const OCI_NAMES: ReadonlyMap<string, string> = new Map([
  [OCI_MANIFEST, OCI_MANIFEST],
  [DOCKER_MANIFEST, OCI_MANIFEST],
  [OCI_IMAGE_CONFIG, OCI_IMAGE_CONFIG],
  [DOCKER_IMAGE_CONFIG, OCI_IMAGE_CONFIG],
  [OCI_LAYER_TAR, OCI_LAYER_TAR],
  [OCI_LAYER_GZIP, OCI_LAYER_GZIP],
  [OCI_LAYER_ZSTD, OCI_LAYER_ZSTD],
  ["application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER_TAR],
  [DOCKER_LAYER_GZIP, OCI_LAYER_GZIP],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_LAYER_ZSTD],
]);
const LAYER_TYPES: ReadonlySet<string> = new Set([OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD]);
/** One layer of more than this is refused before it is fetched; OCI itself sets no limit. */
export const LAYER_MAX_BYTES = 64 * 1024 ** 3;

export function isIndexType(mediaType: string | undefined): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_MANIFEST_LIST;
}

export function isManifestType(mediaType: string | undefined): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

/**
 * The entry of a multi-platform image for `platform`: of several the one without a variant, else the
 * base variant (arm64/v8), else the first. Attestation entries (platform unknown/unknown) never match.
 * @throws SOURCE_PLATFORM_MISSING
 */
export function choosePlatform(index: Index, platform: string, what: string): Descriptor {
  const want = parsePlatform(platform);
  const [only] = index.manifests;
  // Layout writers leave `platform` out when there is one image; its configuration is checked afterwards.
  if (only && index.manifests.length === 1 && only.platform === undefined) return only;
  const matching = index.manifests.filter(
    (entry) => entry.platform?.os === want?.os && entry.platform?.architecture === want?.architecture,
  );
  const found =
    matching.find((entry) => entry.platform?.variant === undefined) ??
    matching.find((entry) => entry.platform?.variant === "v8") ??
    matching[0];
  if (found) return found;
  const have = index.manifests.flatMap((entry) =>
    entry.platform && entry.platform.os !== "unknown" ? [platformText(entry.platform)] : [],
  );
  throw sourceError("SOURCE_PLATFORM_MISSING", `${what}: got platforms ${JSON.stringify(have)}, want ${platform}`);
}

export interface CarriedImage {
  /** The manifest's bytes as the bundle carries them: OCI media types only. */
  readonly manifest: Buffer;
  readonly layers: readonly Descriptor[];
  /** The manifest that the source has, if the carried one had to be written anew. */
  readonly convertedFrom?: Digest;
}

/**
 * What the bundle carries of the manifest `bytes`. Refuses everything that is not a plain image:
 * artifacts, layers that live elsewhere ("foreign"), encrypted layers, unknown types.
 * @throws SOURCE_UNSUPPORTED | SOURCE_TOO_LARGE | OCI_MALFORMED | OCI_TOO_LARGE
 */
export function carriedImage(
  bytes: Buffer,
  what: string,
): { readonly parsed: Manifest; readonly carried: CarriedImage } {
  const parsed = parseManifest(bytes);
  const refuse = (problem: string): never => {
    throw sourceError("SOURCE_UNSUPPORTED", `${what}: ${problem}`);
  };
  if (parsed.artifactType !== undefined) refuse(`it is an artifact of type ${JSON.stringify(parsed.artifactType)}`);
  if (parsed.subject !== undefined) refuse("it refers to another manifest, so it is not an image");
  if (OCI_NAMES.get(parsed.config.mediaType) !== OCI_IMAGE_CONFIG) {
    refuse(`its configuration has the type ${JSON.stringify(parsed.config.mediaType)}`);
  }
  if (parsed.layers.length === 0) refuse("it has no layers");
  let foreign = parsed.mediaType === DOCKER_MANIFEST || parsed.config.mediaType !== OCI_IMAGE_CONFIG;
  const layers = parsed.layers.map((layer): Descriptor => {
    const mediaType = OCI_NAMES.get(layer.mediaType);
    if (mediaType === undefined || !LAYER_TYPES.has(mediaType)) {
      return refuse(`layer ${layer.digest} has the type ${JSON.stringify(layer.mediaType)}`);
    }
    if (layer.size > LAYER_MAX_BYTES) {
      throw sourceError(
        "SOURCE_TOO_LARGE",
        `${what}: layer ${layer.digest} has ${layer.size} bytes, want at most ${LAYER_MAX_BYTES}`,
      );
    }
    foreign ||= mediaType !== layer.mediaType;
    return { mediaType, digest: layer.digest, size: layer.size };
  });
  if (!foreign) return { parsed, carried: { manifest: bytes, layers: parsed.layers } };
  const manifest = canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_IMAGE_CONFIG, digest: parsed.config.digest, size: parsed.config.size },
    layers,
    annotations: parsed.annotations,
  });
  return { parsed, carried: { manifest, layers, convertedFrom: digestOf(bytes) } };
}

/**
 * Reads an image's configuration and holds it against what was asked for.
 * @throws SOURCE_PLATFORM_MISSING | SOURCE_UNSUPPORTED | OCI_MALFORMED. Does not compare `diff_ids` with the layers' content.
 */
export function checkConfig(bytes: Buffer, layerCount: number, platform: string, what: string): ImageConfig {
  const config = parseImageConfig(bytes);
  if (`${config.os}/${config.architecture}` !== platform) {
    throw sourceError(
      "SOURCE_PLATFORM_MISSING",
      `${what}: got an image for ${JSON.stringify(`${config.os}/${config.architecture}`)}, want ${platform}`,
    );
  }
  if (config.rootfs.diff_ids.length !== layerCount) {
    throw sourceError(
      "SOURCE_UNSUPPORTED",
      `${what}: got ${layerCount} layers and ${config.rootfs.diff_ids.length} diff_ids, want as many`,
    );
  }
  return config;
}
