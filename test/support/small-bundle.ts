/**
 * A tiny release with everything a real one has (images with package databases, SBOMs, provenance, a
 * carried file, documents), made in memory in a few milliseconds without a network. What a test wants to
 * break, it breaks in `blobs` or in the options, and writes the result as a tar or a directory.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { blobFromBytes } from "../../bundles/layout/blob-source.ts";
import { BundleWriter } from "../../bundles/layout/bundle-writer.ts";
import {
  type BundleEntry,
  type BundleRelease,
  contentDescriptor,
  groupBlobs,
  renderIndexFile,
} from "../../bundles/layout/contents.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE, LAYOUT_FILE_BYTES } from "../../bundles/layout/layout.ts";
import type { NewSignatureObject } from "../../bundles/layout/signature-object.ts";
import { paddedSize, renderEnd, renderHeader } from "../../bundles/layout/tar-format.ts";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import {
  BUILD_APPLIANCE,
  BUILD_LOCK,
  COMPOSE_TEMPLATE,
  CONFIG_SCHEMA,
  CYCLONEDX_JSON,
  OCI_EMPTY,
  OCI_IMAGE_CONFIG,
  OCI_INDEX,
  OCI_LAYER_ZSTD,
  OCI_MANIFEST,
  PROVENANCE,
  RELEASE_DOCUMENT,
  RELEASE_FILE,
} from "../../bundles/model/media-types.ts";
import { parseManifest } from "../../bundles/model/oci.ts";
import {
  type ReleaseManifest,
  releaseDocumentDigests,
  renderDocumentManifest,
  renderReleaseIndex,
} from "../../bundles/model/release-manifest.ts";
import { builderId, type ReleaseBuilder } from "../../bundles/model/release-provenance.ts";

export interface SmallImageOptions {
  readonly name: string;
  /** Of each layer, from the lowest to the highest, path → content, or the whole tar. */
  readonly layers?: readonly (Readonly<Record<string, string | Buffer>> | Buffer)[];
  /** Replaces the configuration, or says another media type of the layers; for images that must be refused. */
  readonly config?: (config: Readonly<Record<string, unknown>>) => unknown;
  readonly layerType?: string;
}

export interface SmallReleaseOptions {
  readonly appliance?: string;
  readonly version?: string;
  readonly created?: string;
  readonly platform?: string;
  readonly images?: readonly SmallImageOptions[];
  readonly files?: readonly { readonly name: string; readonly mediaType: string; readonly bytes: Buffer }[];
  /** Replaces the Compose template; gets the image references by name. */
  readonly compose?: (references: ReadonlyMap<string, string>) => unknown;
  /** Replaces each image's SBOM or provenance. */
  readonly sbom?: (sbom: Readonly<Record<string, unknown>>, image: string) => unknown;
  readonly provenance?: (provenance: Readonly<Record<string, unknown>>, image: string) => unknown;
  /** Members of the release document to change, e.g. `securityFloor`. */
  readonly release?: Partial<ReleaseManifest>;
}

/** Who built it, if one believes the signature. */
export const SMALL_BUILDER: ReleaseBuilder = {
  sealiftVersion: "0.1.0",
  nodeVersion: "26.0.0",
  source: digestOf("the builder's sources"),
  commit: "c0".repeat(20),
};

/** A release and all its blobs. `blobs` may be changed: writers take the bytes from it and check nothing. */
export interface SmallRelease {
  readonly release: BundleRelease;
  readonly blobs: Map<Digest, Buffer>;
  readonly sboms: ReadonlyMap<string, Buffer>;
  readonly provenance: ReadonlyMap<string, Buffer>;
}

/** The uncompressed bytes of a layer that holds `files`, in canonical form (bundles/layout/tar-format.ts). */
export function tarOf(files: Readonly<Record<string, string | Buffer>>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, content] of Object.entries(files)) {
    const bytes = Buffer.from(content);
    parts.push(renderHeader(name, bytes.length), bytes, Buffer.alloc(paddedSize(bytes.length) - bytes.length));
  }
  return Buffer.concat([...parts, renderEnd()]);
}

/** Two layers with an npm package and a Debian package in it, different for each name. */
export function defaultLayers(name: string): Record<string, string>[] {
  return [
    {
      "etc/os-release": 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
      "var/lib/dpkg/status":
        "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 13.8\n" +
        "Maintainer: Nobody <nobody@example.invalid>\nDescription: test\n",
      "var/lib/dpkg/info/base-files.list": "/.\n/etc\n/etc/os-release\n",
    },
    {
      "app/package.json": JSON.stringify({ name, version: "1.0.0", license: "Apache-2.0" }),
      "app/main.js": `console.log(${JSON.stringify(name)});\n`,
    },
  ];
}

export interface SmallImage {
  readonly name: string;
  readonly descriptor: Descriptor;
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly blobs: ReadonlyMap<Digest, Buffer>;
}

/** One image with zstd layers. `created` and `platform` go into its configuration. */
export function smallImage(options: SmallImageOptions, created: string, platform: string): SmallImage {
  const [os, architecture] = platform.split("/") as [string, string];
  const blobs = new Map<Digest, Buffer>();
  const put = (mediaType: string, bytes: Buffer): Descriptor => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const tars = (options.layers ?? defaultLayers(options.name)).map((one) => (Buffer.isBuffer(one) ? one : tarOf(one)));
  const plain = {
    architecture,
    os,
    created,
    config: { User: "10001:10001", Env: ["PATH=/usr/bin"], Entrypoint: ["/usr/bin/node", "/app/main.js"] },
    rootfs: { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) },
    history: tars.map(() => ({ created, created_by: "sealift test" })),
  };
  const config = canonicalJson(options.config?.(plain) ?? plain);
  const manifest = canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: put(OCI_IMAGE_CONFIG, config),
    layers: tars.map((tar) => put(options.layerType ?? OCI_LAYER_ZSTD, zstdCompressSync(tar))),
  });
  return { name: options.name, descriptor: put(OCI_MANIFEST, manifest), manifest, config, blobs };
}

/** The rules of a template in which `front` stands before `target` and nothing else is said. */
export function smallRules(target: string): ApplianceRules {
  return {
    base: ["front"],
    tasks: {},
    front: { service: "front", target },
    canary: { service: target, port: 8081, path: "/readyz", withinMs: 30_000 },
    drainSeconds: 60,
    secrets: [],
  };
}

/** Makes a release with the images `gateway` and `audit` and the file `model`, unless told otherwise. */
export function smallRelease(options: SmallReleaseOptions = {}): SmallRelease {
  const appliance = options.appliance ?? "demo";
  const version = options.version ?? "1.0.0";
  const created = options.created ?? "2026-01-02T03:04:05Z";
  const platform = options.platform ?? "linux/amd64";
  const blobs = new Map<Digest, Buffer>();
  const put = (mediaType: string, bytes: Buffer): Descriptor => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const json = (mediaType: string, value: unknown): Descriptor => put(mediaType, canonicalJson(value));
  const byName = <T extends { readonly name: string }>(items: readonly T[]): T[] =>
    [...items].sort((a, b) => (a.name < b.name ? -1 : 1));

  const images = byName(options.images ?? [{ name: "gateway" }, { name: "audit" }]).map((item) =>
    smallImage(item, created, platform),
  );
  for (const image of images) for (const [digest, bytes] of image.blobs) blobs.set(digest, bytes);
  const { sbom = (value) => value, provenance: changed = (value) => value } = options;
  const sboms = new Map(
    images.map((image) => [image.name, canonicalJson(sbom(smallSbom(image, created), image.name))]),
  );
  const provenance = new Map(
    images.map((image) => [image.name, canonicalJson(changed(smallProvenance(image, created), image.name))]),
  );

  const carried = options.files ?? [
    { name: "model", mediaType: "application/octet-stream", bytes: Buffer.alloc(3000, "weights ") },
  ];
  const files = byName(carried).map((file) => {
    const layer = put(file.mediaType, file.bytes);
    const manifest = canonicalJson({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType: RELEASE_FILE,
      config: json(OCI_EMPTY, {}),
      layers: [layer],
    });
    return { ...file, descriptor: put(OCI_MANIFEST, manifest), manifest };
  });

  const references = new Map(images.map((image) => [image.name, `${image.name}@${image.descriptor.digest}`]));
  const [target = "", image = ""] = [...references][0] ?? [];
  const services = Object.fromEntries([...references].map(([name, image]) => [name, { image }]));
  const defaultCompose = { services: { ...services, front: { image } }, "x-sealift": smallRules(target) };
  const compose = json(COMPOSE_TEMPLATE, options.compose?.(references) ?? defaultCompose);
  const configSchema = json(CONFIG_SCHEMA, { type: "object", additionalProperties: false, properties: {} });
  const lock = json(BUILD_LOCK, {
    schemaVersion: 1,
    created,
    platforms: {
      [platform]: Object.fromEntries(
        images.map((image) => [image.name, { kind: "layout", digest: image.descriptor.digest }]),
      ),
    },
  });
  const applianceFile = json(BUILD_APPLIANCE, {
    schemaVersion: 1,
    appliance,
    channel: "stable",
    images: Object.fromEntries(images.map((image) => [image.name, { layout: `images#${image.name}` }])),
    compose: "compose.yaml",
    configSchema: "config.schema.json",
  });

  const documents = new Map<Digest, Descriptor>();
  for (const document of [compose, configSchema, lock, applianceFile]) documents.set(document.digest, document);
  const add = (mediaType: string, bytes: Buffer): Digest => {
    const document = put(mediaType, bytes);
    documents.set(document.digest, document);
    return document.digest;
  };
  const manifest: ReleaseManifest = {
    schemaVersion: 1,
    appliance,
    channel: "stable",
    version,
    created,
    platform,
    upgradeFrom: "",
    securityFloor: version,
    rollbackTo: "",
    requires: { sealift: "0.1.0", trust: 1 },
    images: images.map((image) => ({
      name: image.name,
      digest: image.descriptor.digest,
      platform,
      sbom: add(CYCLONEDX_JSON, sboms.get(image.name) as Buffer),
      provenance: add(PROVENANCE, provenance.get(image.name) as Buffer),
    })),
    files: files.map((file) => ({
      name: file.name,
      digest: file.descriptor.digest,
      mediaType: file.mediaType,
      size: file.bytes.length,
    })),
    compose: compose.digest,
    configSchema: configSchema.digest,
    lock: lock.digest,
    applianceFile: applianceFile.digest,
    ...options.release,
  };
  const layers = releaseDocumentDigests(manifest).map((digest) => documents.get(digest) as Descriptor);
  const documentManifest = renderDocumentManifest(json(RELEASE_DOCUMENT, manifest), layers);
  const document: Descriptor = { ...put(OCI_MANIFEST, documentManifest), artifactType: RELEASE_DOCUMENT };
  const entry = (item: (typeof images)[number] | (typeof files)[number], isFile: boolean): BundleEntry => ({
    descriptor: contentDescriptor(
      { name: item.name, digest: item.descriptor.digest, platform },
      item.descriptor.size,
      isFile,
    ),
    manifest: parseManifest(item.manifest),
  });
  const imageEntries = images.map((image) => entry(image, false));
  const fileEntries = files.map((file) => entry(file, true));
  const contents = [...imageEntries, ...fileEntries].map((item) => item.descriptor);
  const release: BundleRelease = {
    descriptor: put(OCI_INDEX, renderReleaseIndex(manifest, document, contents)),
    manifest,
    document: { descriptor: document, manifest: parseManifest(documentManifest) },
    images: new Map(images.map((image, i) => [image.name, imageEntries[i] as BundleEntry])),
    files: new Map(files.map((file, i) => [file.name, fileEntries[i] as BundleEntry])),
  };
  return { release, blobs, sboms, provenance };
}

function smallSbom(image: SmallImage, created: string): Readonly<Record<string, unknown>> {
  const hex = hexOf(image.descriptor.digest);
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
    version: 1,
    metadata: {
      timestamp: created,
      component: {
        type: "container",
        "bom-ref": image.descriptor.digest,
        name: image.name,
        version: image.descriptor.digest,
        purl: `pkg:oci/${image.name}@sha256%3A${hex}`,
        hashes: [{ alg: "SHA-256", content: hex }],
      },
    },
    components: [
      {
        type: "library",
        "bom-ref": "pkg:deb/debian/base-files@13.8?arch=amd64",
        name: "base-files",
        version: "13.8",
        purl: "pkg:deb/debian/base-files@13.8?arch=amd64",
      },
      {
        type: "library",
        "bom-ref": `pkg:npm/${image.name}@1.0.0`,
        name: image.name,
        version: "1.0.0",
        purl: `pkg:npm/${image.name}@1.0.0`,
      },
    ],
  };
}

function smallProvenance(image: SmallImage, created: string): Readonly<Record<string, unknown>> {
  return {
    buildDefinition: {
      buildType: "https://sealift.invalid/build/test/v1",
      externalParameters: { image: image.name },
      internalParameters: {},
      resolvedDependencies: [{ uri: "pkg:generic/nothing", digest: { sha256: hexOf(digestOf("nothing")) } }],
    },
    runDetails: {
      builder: { id: builderId(SMALL_BUILDER.sealiftVersion) },
      metadata: { invocationId: "test", startedOn: created },
    },
  };
}

/** All bytes of a bundle by file name, in the order of its tar. */
export function bundleFiles(small: SmallRelease, signatures: readonly NewSignatureObject[] = []): [string, Buffer][] {
  const groups = groupBlobs(small.release, signatures);
  const signed = new Map(signatures.flatMap((object) => [...object.bytes]));
  const blobs = [...groups.payload, ...groups.documents, ...groups.signatures].map((digest): [string, Buffer] => {
    const bytes = small.blobs.get(digest) ?? signed.get(digest);
    if (!bytes) throw new Error(`no bytes for ${digest}`);
    return [blobName(digest), bytes];
  });
  return [[LAYOUT_FILE, LAYOUT_FILE_BYTES], ...blobs, [INDEX_FILE, renderIndexFile(small.release, signatures)]];
}

/** Writes the bundle's tar through the product's own writer. */
export async function writeSmallBundle(
  path: string,
  small: SmallRelease = smallRelease(),
  signatures: readonly NewSignatureObject[] = [],
): Promise<SmallRelease> {
  const writer = await BundleWriter.create(path);
  const files = bundleFiles(small, signatures);
  for (const [, bytes] of files.slice(1, -1)) await writer.writeBlob(blobFromBytes(bytes));
  await writer.finish((files.at(-1) as [string, Buffer])[1]);
  return small;
}

/** Writes the tar of any files, right or wrong: for bundles that the product's writer would refuse to make. */
export async function writeTar(path: string, files: readonly (readonly [string, Buffer])[]): Promise<void> {
  await writeFile(path, renderTar(files));
}

export function renderTar(files: readonly (readonly [string, Buffer])[]): Buffer {
  const parts = files.flatMap(([name, bytes]) => [
    renderHeader(name, bytes.length),
    bytes,
    Buffer.alloc(paddedSize(bytes.length) - bytes.length),
  ]);
  return Buffer.concat([...parts, renderEnd()]);
}

/** Writes the same files as a directory layout. */
export async function writeDirectory(path: string, files: readonly (readonly [string, Buffer])[]): Promise<void> {
  await mkdir(join(path, "blobs/sha256"), { recursive: true });
  for (const [name, bytes] of files) await writeFile(join(path, name), bytes);
}
