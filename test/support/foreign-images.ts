/** Images as others make them, in memory: OCI, Docker schema 2, and indexes of several platforms. */
import { gzipSync } from "node:zlib";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import {
  DOCKER_IMAGE_CONFIG,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_LIST,
  OCI_IMAGE_CONFIG,
  OCI_INDEX,
  OCI_LAYER_GZIP,
  OCI_MANIFEST,
} from "../../bundles/model/media-types.ts";
import type { SourceContext } from "../../bundles/source/source.ts";
import { tarOf } from "./small-bundle.ts";

export interface ForeignImage {
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly config: Buffer;
  readonly layers: readonly Buffer[];
  readonly tars: readonly Buffer[];
}

export interface ForeignOptions {
  readonly docker?: boolean;
  readonly architecture?: string;
  /** A member of the manifest to add or replace. */
  readonly manifest?: Readonly<Record<string, unknown>>;
  readonly layerType?: string;
  readonly content?: Buffer;
}

/** One image with two gzip layers; its JSON is spaced as Docker and Go write it, not canonically. */
export function foreignImage(options: ForeignOptions = {}): ForeignImage {
  const { docker = false, architecture = "amd64" } = options;
  const tars = [tarOf({ "etc/os-release": "ID=debian\n" }), tarOf({ "app/data": options.content ?? architecture })];
  const layers = tars.map((tar) => gzipSync(tar));
  const diffIds = tars.map((tar) => digestOf(tar));
  const config = Buffer.from(
    JSON.stringify(
      { architecture, os: "linux", config: { User: "1:1" }, rootfs: { type: "layers", diff_ids: diffIds } },
      null,
      1,
    ),
  );
  const layerType = options.layerType ?? (docker ? DOCKER_LAYER_GZIP : OCI_LAYER_GZIP);
  const mediaType = docker ? DOCKER_MANIFEST : OCI_MANIFEST;
  const bytes = Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType,
        config: {
          mediaType: docker ? DOCKER_IMAGE_CONFIG : OCI_IMAGE_CONFIG,
          size: config.length,
          digest: digestOf(config),
        },
        layers: layers.map((layer) => ({ mediaType: layerType, size: layer.length, digest: digestOf(layer) })),
        ...options.manifest,
      },
      null,
      3,
    ),
  );
  return { mediaType, bytes, digest: digestOf(bytes), config, layers, tars };
}

/** An index over images; an attestation entry of platform unknown/unknown comes first, as buildkit has them. */
export function foreignIndex(
  images: readonly (readonly [Partial<Descriptor["platform"]>, ForeignImage])[],
  docker = false,
): Buffer {
  const unknown = foreignImage({ architecture: "unknown" });
  const entries = [[{ os: "unknown", architecture: "unknown" }, unknown] as const, ...images];
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: docker ? DOCKER_MANIFEST_LIST : OCI_INDEX,
      manifests: entries.map(([platform, image]) => ({
        mediaType: image.mediaType,
        size: image.bytes.length,
        digest: image.digest,
        platform,
      })),
    }),
  );
}

export function sourceContext(directory: string, platform = "linux/amd64"): SourceContext {
  return {
    root: directory,
    platform,
    cacheDir: directory,
    created: "2026-01-02T03:04:05Z",
    ignoreBuiltLayers: false,
    onProgress: () => {},
  };
}

export async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}
