/**
 * What a bundle's layout must hold, and in what order: the closed world.
 *
 * A blob is either reachable from the release index, or part of a signature object (see
 * signature-object.ts). `index.json` is derived from those two and must equal what `renderIndexFile`
 * writes. In a tar the order is: `oci-layout`; payload (layers and carried files) by digest; the other
 * blobs of the release by digest; the blobs of signature objects by digest; `index.json`. Payload comes
 * first so that a builder can stream it before it knows the SBOMs, and signatures come last so that
 * signing leaves everything before them as it was (ADR 0003).
 */
import { NAME_ANNOTATION, REF_NAME_ANNOTATION } from "../model/annotations.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import type { Descriptor } from "../model/descriptor.ts";
import type { Digest } from "../model/digest.ts";
import { OCI_INDEX, OCI_MANIFEST, RELEASE, RELEASE_DOCUMENT, RELEASE_FILE } from "../model/media-types.ts";
import { type Index, MANIFEST_MAX_BYTES, type Manifest, parseIndex, parseManifest } from "../model/oci.ts";
import {
  parseReleaseManifest,
  RELEASE_DOCUMENT_MAX_BYTES,
  type ReleaseManifest,
  releaseDocumentDigests,
  renderDocumentManifest,
  renderReleaseIndex,
} from "../model/release-manifest.ts";
import { layoutError } from "./error.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE, LAYOUT_FILE_BYTES, type Layout } from "./layout.ts";
import type { SignatureObject } from "./signature-object.ts";

/** SBOMs, schemas and locks; read whole. */
export const DOCUMENT_MAX_BYTES = 32 * 1024 * 1024;

export interface BundleEntry {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

/** A release as it lies in a layout; every digest named has been found and its manifest read. */
export interface BundleRelease {
  /** Of the release index: the release's identity. */
  readonly descriptor: Descriptor;
  readonly manifest: ReleaseManifest;
  readonly document: BundleEntry;
  readonly images: ReadonlyMap<string, BundleEntry>;
  readonly files: ReadonlyMap<string, BundleEntry>;
}

/** The entries of `index.json`: the one release, and everything else, unverified. */
export interface LayoutIndex {
  readonly release: Descriptor;
  readonly others: readonly Descriptor[];
}

/** @throws LAYOUT_NOT_A_LAYOUT | OCI_MALFORMED and what `Layout.read` throws. */
export function readLayoutIndex(layout: Layout): LayoutIndex {
  if (!layout.readUnverified(LAYOUT_FILE, 1024).equals(LAYOUT_FILE_BYTES)) {
    throw layoutError("LAYOUT_NOT_A_LAYOUT", `${LAYOUT_FILE}: want exactly ${LAYOUT_FILE_BYTES.toString()}`);
  }
  const index = parseIndex(layout.readUnverified(INDEX_FILE, MANIFEST_MAX_BYTES));
  const releases = index.manifests.filter((entry) => entry.artifactType === RELEASE);
  const [release] = releases;
  if (!release || releases.length !== 1) {
    throw layoutError("LAYOUT_NOT_A_LAYOUT", `${INDEX_FILE}: got ${releases.length} releases, want exactly one`, {
      hints: ["this may be an OCI layout that Sealift did not make; `sealift bundle build` makes one"],
    });
  }
  return { release, others: index.manifests.filter((entry) => entry !== release) };
}

/**
 * Reads the release that `descriptor` names, checking each digest on the way, and demands that the
 * index and the document manifest are byte for byte what Sealift renders for this release.
 * @throws RELEASE_MALFORMED | OCI_MALFORMED | LAYOUT_BLOB_MISSING | LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH.
 * Does not read layers or documents, and checks no signature.
 */
export function readRelease(layout: Layout, descriptor: Descriptor): BundleRelease {
  const indexBytes = layout.readDescriptor(bare(descriptor), MANIFEST_MAX_BYTES);
  const index = parseIndex(indexBytes);
  const [documentDescriptor, ...rest] = index.manifests;
  if (!documentDescriptor || documentDescriptor.artifactType !== RELEASE_DOCUMENT) {
    throw layoutError(
      "LAYOUT_NOT_A_LAYOUT",
      `release ${descriptor.digest}: its first manifest is not a release document`,
    );
  }
  const documentBytes = layout.readDescriptor(documentDescriptor, MANIFEST_MAX_BYTES);
  const document = { descriptor: documentDescriptor, manifest: parseManifest(documentBytes) };
  const release = parseReleaseManifest(layout.readDescriptor(document.manifest.config, RELEASE_DOCUMENT_MAX_BYTES));
  const refuse = (what: string): never => {
    throw layoutError("LAYOUT_NOT_A_LAYOUT", `release ${descriptor.digest}: ${what}`);
  };
  if (!renderDocumentManifest(document.manifest.config, document.manifest.layers).equals(documentBytes)) {
    refuse("its document manifest is not what Sealift writes");
  }
  const wanted = releaseDocumentDigests(release);
  const listed = document.manifest.layers.map((layer) => layer.digest);
  if (wanted.length !== listed.length || wanted.some((digest, i) => digest !== listed[i])) {
    refuse("its document manifest does not list exactly the documents that the release names");
  }
  if (!renderReleaseIndex(release, documentDescriptor, rest).equals(indexBytes)) {
    refuse("its index is not what Sealift writes");
  }
  const named = [...release.images, ...release.files];
  if (rest.length !== named.length) refuse(`its index lists ${rest.length} images and files, want ${named.length}`);
  const entries = named.map((item, i): [string, BundleEntry] => {
    const entry = rest[i] as Descriptor;
    const isFile = i >= release.images.length;
    const rendered = contentDescriptor(item, entry.size, isFile);
    if (!canonicalJson(entry).equals(canonicalJson(rendered)))
      refuse(`its index entry for ${JSON.stringify(item.name)} is wrong`);
    return [
      item.name,
      { descriptor: entry, manifest: parseManifest(layout.readDescriptor(entry, MANIFEST_MAX_BYTES)) },
    ];
  });
  const images = new Map(entries.slice(0, release.images.length));
  const files = new Map(entries.slice(release.images.length));
  for (const file of release.files) {
    const { manifest } = files.get(file.name) as BundleEntry;
    const [layer] = manifest.layers;
    if (manifest.layers.length !== 1 || layer?.size !== file.size || layer.mediaType !== file.mediaType) {
      refuse(`the manifest of file ${JSON.stringify(file.name)} does not hold exactly that file`);
    }
  }
  return { descriptor: releaseAt(descriptor), manifest: release, document, images, files };
}

/** The entry in a release index for an image or file called `item.name`. */
export function contentDescriptor(
  item: { readonly name: string; readonly digest: Digest; readonly platform?: string },
  sizeBytes: number,
  isFile: boolean,
): Descriptor {
  const common = {
    mediaType: OCI_MANIFEST,
    digest: item.digest,
    size: sizeBytes,
    annotations: { [NAME_ANNOTATION]: item.name },
  };
  if (isFile) return { ...common, artifactType: RELEASE_FILE };
  const [os = "", architecture = ""] = (item.platform ?? "").split("/");
  return { ...common, platform: { os, architecture } };
}

/** The release index that `index.json` lists as `entry`, whatever media type it says there. */
export function releaseAt({ digest, size }: Descriptor): Descriptor {
  return { mediaType: OCI_INDEX, digest, size };
}

/** A descriptor without the members that depend on where it is listed. */
export function bare(descriptor: Descriptor): Descriptor {
  return { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size };
}

/** The three groups of blobs of a bundle, each sorted, no digest in two. */
export interface BlobGroups {
  readonly payload: readonly Digest[];
  readonly documents: readonly Digest[];
  readonly signatures: readonly Digest[];
}

export function groupBlobs(release: BundleRelease, signatures: readonly SignatureObject[]): BlobGroups {
  const contents = [...release.images.values(), ...release.files.values()];
  const payload = new Set(contents.flatMap(({ manifest }) => manifest.layers.map((layer) => layer.digest)));
  const documents = new Set<Digest>([
    release.descriptor.digest,
    ...[release.document, ...contents].flatMap(({ descriptor, manifest }) => [
      descriptor.digest,
      manifest.config.digest,
    ]),
    ...release.document.manifest.layers.map((layer) => layer.digest),
  ]);
  const signed = new Set(
    signatures.flatMap((object) => [object.descriptor.digest, ...object.blobs.map((blob) => blob.digest)]),
  );
  return {
    payload: [...payload].sort(),
    documents: [...documents].filter((digest) => !payload.has(digest)).sort(),
    signatures: [...signed].filter((digest) => !payload.has(digest) && !documents.has(digest)).sort(),
  };
}

/**
 * Layers and carried files that `layout` itself does not hold, sorted: what a thin bundle leaves out, because the
 * site has it (ADR 0041). Everything else of a release is in each bundle of it.
 */
export function leftOut(layout: Layout, release: BundleRelease): Digest[] {
  return groupBlobs(release, []).payload.filter((digest) => !layout.file(blobName(digest)));
}

/** The names of a bundle's files in the order in which its tar must hold them. A thin bundle's tar lacks some. */
export function fileOrder(groups: BlobGroups): string[] {
  return [LAYOUT_FILE, ...[...groups.payload, ...groups.documents, ...groups.signatures].map(blobName), INDEX_FILE];
}

/** The only bytes that `index.json` may hold for this release and these signature objects. */
export function renderIndexFile(release: BundleRelease, signatures: readonly SignatureObject[]): Buffer {
  const index: Index = {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [
      {
        ...release.descriptor,
        artifactType: RELEASE,
        annotations: { [REF_NAME_ANNOTATION]: release.manifest.version },
      },
      ...[...release.images, ...release.files].map(([name, entry]) => ({
        ...bare(entry.descriptor),
        annotations: { [REF_NAME_ANNOTATION]: name },
      })),
      ...[...signatures]
        .sort((a, b) => (a.descriptor.digest < b.descriptor.digest ? -1 : 1))
        .map((object) => object.descriptor),
    ],
  };
  return canonicalJson(index);
}
