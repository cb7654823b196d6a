/**
 * The SLSA provenance of a release as a whole (https://slsa.dev/spec/v1.0/provenance), which the builder signs about
 * the release's digest. It is no part of the release: two builders with different copies of Sealift may have made the
 * same one, and each says so for itself. Pure; what it must say follows from the release document alone, but for the
 * builder.
 */
import type { Digest } from "./digest.ts";
import { hexOf } from "./digest.ts";
import type { ReleaseManifest } from "./release-manifest.ts";

/** SLSA buildType: a release made by `sealift bundle build` from its appliance file and lock. */
export const RELEASE_BUILD_TYPE = "https://sealift.dev/buildtypes/release/v1";
/** How the URI of Sealift's own sources begins, among the inputs of a release. */
export const OWN_SOURCE = "pkg:generic/sealift@";
/** The annotation of an image among them: the digest of its own provenance in the release. */
export const PROVENANCE_ANNOTATION = "provenance";

/** `builder.id`: this program, at this version. Which machine and who ran it is said by the key that signs. */
export function builderId(sealiftVersion: string): string {
  return `https://sealift.dev/builder/v${sealiftVersion}`;
}

/** Who built: the program, by what it is made of. */
export interface ReleaseBuilder {
  readonly sealiftVersion: string;
  readonly nodeVersion: string;
  /** Of the list of its files (installer/host/own-source.ts). */
  readonly source: Digest;
  /** The Git commit with exactly these files, 40 or 64 hexadecimal digits; undefined if that is not known. */
  readonly commit: string | undefined;
}

/** An input of the release: what the release document names. */
export interface ReleaseInput {
  readonly uri: string;
  readonly digest: Digest;
  readonly name: string;
  /** Of an image: the document that says in turn what it was made of. */
  readonly provenance?: Digest;
}

/** What a release is made of, each by digest: documents, images and files, in the order of the release document. */
export function releaseInputs(release: ReleaseManifest): ReleaseInput[] {
  const document = (name: string, digest: Digest): ReleaseInput => ({ uri: `sealift:${name}`, name, digest });
  return [
    document("appliance-file", release.applianceFile),
    document("lock", release.lock),
    document("compose-template", release.compose),
    document("config-schema", release.configSchema),
    ...release.images.map(({ name, digest, provenance }) => ({
      uri: `pkg:oci/${name}@${encodeURIComponent(digest)}`,
      name,
      digest,
      provenance,
    })),
    ...release.files.map(({ name, digest }) => ({ uri: `sealift:file/${name}`, name, digest })),
  ];
}

/** What a build was told: everything of the release that is no input by digest and that a person chose. */
export function releaseParameters({ appliance, channel, version, platform, created }: ReleaseManifest) {
  return { appliance, channel, version, platform, created };
}

/** The predicate. */
export function renderReleaseProvenance(release: ReleaseManifest, builder: ReleaseBuilder): object {
  const { sealiftVersion, nodeVersion, source, commit } = builder;
  return {
    buildDefinition: {
      buildType: RELEASE_BUILD_TYPE,
      externalParameters: releaseParameters(release),
      resolvedDependencies: [
        ...releaseInputs(release).map(({ uri, name, digest, provenance }) => ({
          uri,
          name,
          digest: { sha256: hexOf(digest) },
          ...(provenance !== undefined && { annotations: { [PROVENANCE_ANNOTATION]: provenance } }),
        })),
        {
          uri: `${OWN_SOURCE}${sealiftVersion}`,
          name: "sealift",
          digest: { sha256: hexOf(source), ...(commit !== undefined && { gitCommit: commit }) },
        },
      ],
    },
    runDetails: {
      builder: { id: builderId(sealiftVersion), version: { sealift: sealiftVersion, node: nodeVersion } },
    },
  };
}
