/**
 * From an appliance file and its lock to one bundle. The result is a function of those, the files they
 * name, this version of Sealift and of Node: the same inputs give the same manifest digest anywhere.
 *
 * Payload is written first, each blob streamed once from its source while its packages are listed, so
 * that nothing is held in memory or copied to a second place; then the documents that follow from it.
 */

import { imageSbom } from "../../sbom/generate/image-sbom.ts";
import { type LayerScan, LayerScanner } from "../../sbom/generate/layer-scan.ts";
import type { BlobSource } from "../layout/blob-source.ts";
import { blobFromBytes, checkedBytes } from "../layout/blob-source.ts";
import { BundleWriter } from "../layout/bundle-writer.ts";
import { type BundleEntry, type BundleRelease, contentDescriptor, renderIndexFile } from "../layout/contents.ts";
import type { ApplianceLock, ImageLock } from "../model/appliance.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import { composeProblems } from "../model/compose-template.ts";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestOf } from "../model/digest.ts";
import {
  BUILD_APPLIANCE,
  BUILD_LOCK,
  COMPOSE_TEMPLATE,
  CONFIG_SCHEMA,
  CYCLONEDX_JSON,
  OCI_EMPTY,
  OCI_INDEX,
  OCI_MANIFEST,
  PROVENANCE,
  RELEASE_DOCUMENT,
  RELEASE_FILE,
} from "../model/media-types.ts";
import { type ImageConfig, type Manifest, parseImageConfig, parseManifest } from "../model/oci.ts";
import {
  parseReleaseManifest,
  type ReleaseManifest,
  releaseDocumentDigests,
  renderDocumentManifest,
  renderReleaseIndex,
  VERSION_PATTERN,
} from "../model/release-manifest.ts";
import { generatedFile } from "../source/generated-file.ts";
import { imageSource } from "../source/image-source.ts";
import type { SourceContext, SourcedImage } from "../source/source.ts";
import {
  type ApplianceDirectory,
  carriedBlob,
  readComposeFile,
  readConfigSchema,
  readLock,
} from "./appliance-directory.ts";
import { assembleError } from "./error.ts";
import { renderProvenance } from "./provenance.ts";
import { referenceValues } from "./reference-values.ts";

export interface AssembleOptions {
  readonly directory: ApplianceDirectory;
  /** The one beside the appliance file if absent. */
  readonly lock?: ApplianceLock;
  readonly version: string;
  readonly platform: string;
  readonly out: string;
  readonly cacheDir: string;
  readonly sealiftVersion: string;
  /** `bundle rebuild`: take nothing from the cache of built layers. */
  readonly ignoreBuiltLayers: boolean;
  /** Layers and carried files that are not written, because the site has them: the bundle is thin. */
  readonly leaveOut?: ReadonlySet<Digest>;
  /** One image's or the whole's progress, for a person. */
  readonly onProgress: (detail: string) => void;
}

export interface Assembled {
  readonly digest: Digest;
  readonly release: ReleaseManifest;
  /** Of the layers and carried files that were written. */
  readonly payloadBytes: number;
  /** Of those that were not, and how many they are. */
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
}

interface LoadedImage {
  readonly name: string;
  readonly source: SourcedImage;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly digest: Digest;
}

/** The whole build. @throws what its parts throw; nothing is left at `out` then. */
export async function assemble(options: AssembleOptions): Promise<Assembled> {
  if (!new RegExp(VERSION_PATTERN).test(options.version)) {
    throw assembleError(
      "VERSION_MALFORMED",
      `version: got ${JSON.stringify(options.version)}, want X.Y.Z (semver 2.0.0)`,
    );
  }
  const { directory } = options;
  const lock = options.lock ?? (await readLock(directory));
  const inputs = lockedImages(directory, lock.platforms, options.platform);
  const context: SourceContext = {
    root: directory.root,
    platform: options.platform,
    cacheDir: options.cacheDir,
    created: lock.created,
    ignoreBuiltLayers: options.ignoreBuiltLayers,
    onProgress: options.onProgress,
  };
  const images: LoadedImage[] = [];
  for (const [name, input] of inputs) {
    options.onProgress(`image ${name}`);
    const source = await imageSource(directory.appliance.images[name] as never).load(input, {
      ...context,
      onProgress: (detail) => options.onProgress(`image ${name}: ${detail}`),
    });
    const manifest = parseManifest(source.manifest);
    images.push({ name, source, manifest, config: parseImageConfig(source.config), digest: digestOf(source.manifest) });
  }
  const files = await carriedFiles(directory);
  const schema = await readConfigSchema(directory);
  const compose = await pinnedCompose(directory, images, schema);
  const { attestation, publisher } = directory.appliance;
  const blobs = new Map(files.map(({ name, blob }) => [name, blob]));
  const references = attestation && (await referenceValues(attestation, blobs));

  const writer = await BundleWriter.create(options.out, {
    onBytes: (written) => options.onProgress(`${Math.round(written / 1e6)} MB written`),
  });
  try {
    const payload = payloadOf(images, files);
    const leaveOut = new Set([...(options.leaveOut ?? [])].filter((digest) => payload.has(digest)));
    const scans = await writePayload(writer, images, payload, leaveOut);
    const documents = new DocumentSet();
    const release: ReleaseManifest = {
      schemaVersion: 1,
      appliance: directory.appliance.appliance,
      channel: directory.appliance.channel,
      version: options.version,
      created: lock.created,
      platform: options.platform,
      upgradeFrom: directory.appliance.upgradeFrom ?? "",
      securityFloor: directory.appliance.securityFloor ?? "0.0.0",
      rollbackTo: directory.appliance.rollbackTo ?? "",
      requires: {
        sealift: directory.appliance.requires?.sealift ?? "0.1.0",
        trust: directory.appliance.requires?.trust ?? 1,
      },
      compose: documents.add(COMPOSE_TEMPLATE, canonicalJson(compose)),
      configSchema: documents.add(CONFIG_SCHEMA, canonicalJson(schema)),
      lock: documents.add(BUILD_LOCK, canonicalJson(lock)),
      applianceFile: documents.add(BUILD_APPLIANCE, canonicalJson(directory.appliance)),
      images: images.map(({ name, source, manifest, config, digest }) => {
        const sbom = imageSbom({
          name,
          manifestDigest: digest,
          config,
          scans: manifest.layers.map((layer) => scans.get(layer.digest) as LayerScan),
          created: lock.created,
          toolVersion: options.sealiftVersion,
          ...(publisher && { publisher }),
        });
        return {
          name,
          digest,
          platform: options.platform,
          sbom: documents.add(CYCLONEDX_JSON, sbom),
          provenance: documents.add(PROVENANCE, renderProvenance(source, options.sealiftVersion)),
        };
      }),
      files: files.map(({ name, manifestBytes, blob, mediaType }) => ({
        name,
        digest: digestOf(manifestBytes),
        mediaType,
        size: blob.size,
      })),
      ...(references && { attestation: references }),
    };
    const written = await writeDocuments(writer, release, documents, images, files);
    const bytes = (isLeftOut: boolean): number =>
      [...payload.values()]
        .filter(({ digest }) => leaveOut.has(digest) === isLeftOut)
        .reduce((sum, { size }) => sum + size, 0);
    const leftOut = { blobs: leaveOut.size, bytes: bytes(true) };
    return { digest: written, release, payloadBytes: bytes(false), leftOut };
  } catch (cause) {
    await writer.discard();
    throw cause;
  }
}

/** The lock's inputs for each image of the appliance file, sorted by name. @throws LOCK_STALE */
function lockedImages(
  directory: ApplianceDirectory,
  platforms: ApplianceLock["platforms"],
  platform: string,
): [string, ImageLock][] {
  const locked = Object.hasOwn(platforms, platform) ? platforms[platform] : undefined;
  if (!locked) {
    const known = JSON.stringify(Object.keys(platforms).sort());
    throw assembleError("LOCK_STALE", `lock: got platform ${JSON.stringify(platform)}, want one of ${known}`, {
      hints: ["build for one of those, or name the platform in the appliance file and run sealift bundle lock"],
    });
  }
  const names = Object.keys(directory.appliance.images).sort();
  const have = Object.keys(locked).sort();
  if (names.join() !== have.join()) {
    throw assembleError(
      "LOCK_STALE",
      `lock for ${platform}: got images ${JSON.stringify(have)}, want ${JSON.stringify(names)}`,
      { hints: [`sealift bundle lock --appliance ${directory.path}`] },
    );
  }
  return names.map((name) => [name, locked[name] as ImageLock]);
}

interface ReleaseFileSource {
  readonly name: string;
  readonly mediaType: string;
  readonly blob: BlobSource;
  readonly manifestBytes: Buffer;
}

const EMPTY_CONFIG = Buffer.from("{}");

async function carriedFiles(directory: ApplianceDirectory): Promise<ReleaseFileSource[]> {
  const sources: ReleaseFileSource[] = [];
  for (const [name, spec] of Object.entries(directory.appliance.files ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const blob =
      "path" in spec ? await carriedBlob(directory, spec.path) : blobFromBytes(generatedFile(spec.generated));
    const manifestBytes = canonicalJson({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType: RELEASE_FILE,
      config: { mediaType: OCI_EMPTY, digest: digestOf(EMPTY_CONFIG), size: EMPTY_CONFIG.length },
      layers: [{ mediaType: spec.mediaType, digest: blob.digest, size: blob.size }],
    });
    sources.push({ name, mediaType: spec.mediaType, blob, manifestBytes });
  }
  return sources;
}

/** The author's Compose file with `image: NAME` replaced by `NAME@digest`. @throws COMPOSE_REFUSED */
async function pinnedCompose(
  directory: ApplianceDirectory,
  images: readonly LoadedImage[],
  configSchema: unknown,
): Promise<unknown> {
  const digests = new Map(images.map(({ name, digest }) => [name, digest]));
  const template = structuredClone(await readComposeFile(directory)) as {
    services?: Record<string, { image?: unknown }>;
  };
  for (const service of Object.values(template?.services ?? {})) {
    const name = service?.image;
    if (typeof name === "string" && digests.has(name)) service.image = `${name}@${digests.get(name)}`;
  }
  const [problem] = composeProblems(template, {
    images: digests,
    files: Object.keys(directory.appliance.files ?? {}),
    configSchema,
  });
  if (problem) {
    throw assembleError("COMPOSE_REFUSED", `${directory.appliance.compose}: ${problem.message}`, {
      hints: ["a service names its image as `image: NAME`, with NAME from the appliance file's images"],
    });
  }
  return template;
}

/** Layers and carried files, each once. */
function payloadOf(images: readonly LoadedImage[], files: readonly ReleaseFileSource[]): Map<Digest, BlobSource> {
  const layers = images.flatMap(({ source }) => source.layers.map(({ blob }) => blob));
  return new Map([...layers, ...files.map(({ blob }) => blob)].map((blob) => [blob.digest, blob]));
}

/**
 * Writes the payload sorted by digest, listing packages as the bytes pass. What is left out passes too, and is
 * checked: a thin bundle has the same SBOMs.
 */
async function writePayload(
  writer: BundleWriter,
  images: readonly LoadedImage[],
  payload: ReadonlyMap<Digest, BlobSource>,
  leaveOut: ReadonlySet<Digest>,
): Promise<Map<Digest, LayerScan>> {
  const layers = new Map(
    images.flatMap(({ source }) => source.layers.map((layer) => [layer.descriptor.digest, layer] as const)),
  );
  const scans = new Map<Digest, LayerScan>();
  for (const digest of [...payload.keys()].sort()) {
    const blob = payload.get(digest) as BlobSource;
    const layer = layers.get(digest);
    const write = (from: BlobSource): Promise<void> => (leaveOut.has(digest) ? drain(from) : writer.writeBlob(from));
    if (!layer) {
      await write(blob);
      continue;
    }
    const scanner = new LayerScanner(layer.descriptor.mediaType);
    await write({ ...blob, open: () => tee(blob, scanner) });
    scans.set(digest, await scanner.end());
  }
  return scans;
}

async function drain(blob: BlobSource): Promise<void> {
  for await (const _ of checkedBytes(blob));
}

async function* tee(blob: BlobSource, scanner: LayerScanner): AsyncGenerator<Uint8Array> {
  for await (const chunk of blob.open()) {
    await scanner.write(chunk);
    yield chunk;
  }
}

class DocumentSet {
  readonly #documents = new Map<Digest, { readonly descriptor: Descriptor; readonly bytes: Buffer }>();

  add(mediaType: string, bytes: Buffer): Digest {
    const digest = digestOf(bytes);
    this.#documents.set(digest, { descriptor: { mediaType, digest, size: bytes.length }, bytes });
    return digest;
  }

  descriptors(digests: readonly Digest[]): Descriptor[] {
    return digests.map((digest) => (this.#documents.get(digest) as { descriptor: Descriptor }).descriptor);
  }

  bytes(): Buffer[] {
    return [...this.#documents.values()].map(({ bytes }) => bytes);
  }
}

async function writeDocuments(
  writer: BundleWriter,
  release: ReleaseManifest,
  documents: DocumentSet,
  images: readonly LoadedImage[],
  files: readonly ReleaseFileSource[],
): Promise<Digest> {
  const releaseBytes = canonicalJson(release);
  parseReleaseManifest(releaseBytes);
  const config: Descriptor = { mediaType: RELEASE_DOCUMENT, digest: digestOf(releaseBytes), size: releaseBytes.length };
  const documentBytes = renderDocumentManifest(config, documents.descriptors(releaseDocumentDigests(release)));
  const document: Descriptor = {
    mediaType: OCI_MANIFEST,
    artifactType: RELEASE_DOCUMENT,
    digest: digestOf(documentBytes),
    size: documentBytes.length,
  };
  const entries: [string, BundleEntry][] = [
    ...release.images.map((image, i): [string, BundleEntry] => {
      const { source, manifest } = images[i] as LoadedImage;
      return [image.name, { descriptor: contentDescriptor(image, source.manifest.length, false), manifest }];
    }),
    ...release.files.map((file, i): [string, BundleEntry] => {
      const { manifestBytes } = files[i] as ReleaseFileSource;
      const descriptor = contentDescriptor(file, manifestBytes.length, true);
      return [file.name, { descriptor, manifest: parseManifest(manifestBytes) }];
    }),
  ];
  const indexBytes = renderReleaseIndex(
    release,
    document,
    entries.map(([, entry]) => entry.descriptor),
  );
  const blobs = [
    ...documents.bytes(),
    ...images.flatMap(({ source }) => [source.manifest, source.config]),
    ...files.flatMap(({ manifestBytes }) => [manifestBytes, EMPTY_CONFIG]),
    releaseBytes,
    documentBytes,
    indexBytes,
  ];
  const byDigest = new Map(blobs.map((bytes) => [digestOf(bytes), bytes]));
  for (const digest of [...byDigest.keys()].sort()) await writer.writeBytes(byDigest.get(digest) as Buffer);
  const assembled: BundleRelease = {
    descriptor: { mediaType: OCI_INDEX, digest: digestOf(indexBytes), size: indexBytes.length },
    manifest: release,
    document: { descriptor: document, manifest: parseManifest(documentBytes) },
    images: new Map(entries.slice(0, release.images.length)),
    files: new Map(entries.slice(release.images.length)),
  };
  await writer.finish(renderIndexFile(assembled, []));
  return assembled.descriptor.digest;
}
