/**
 * The release manifest: what a release is made of, and its identity.
 *
 * In the layout a release is an OCI image index (artifactType RELEASE). Its digest is the release's
 * name everywhere: in signatures, verdicts, authorizations and pointers on a site. It lists, in this
 * order: one manifest of artifactType RELEASE_DOCUMENT whose config is the release document and whose
 * layers are the documents named there; then the images sorted by name; then the files sorted by name.
 * Everything is an edge of the OCI graph, so `oras cp -r` and `cosign` follow it without us.
 *
 * The document repeats each image's digest because it also says what the graph cannot: which SBOM and
 * provenance belong to it, what may be upgraded from, what the site may return to.
 */
import { NAME_ANNOTATION } from "./annotations.ts";
import { canonicalJson, parseCanonicalJson } from "./canonical-json.ts";
import type { Descriptor } from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { modelError } from "./error.ts";
import { OCI_INDEX, OCI_MANIFEST, RELEASE, RELEASE_DOCUMENT } from "./media-types.ts";
import { descriptorSchema } from "./oci.ts";
import { type ReleaseAttestation, releaseAttestationProblem, releaseAttestationSchema } from "./release-attestation.ts";
import { type JsonSchema, schemaProblem } from "./schema.ts";

export const RELEASE_DOCUMENT_MAX_BYTES = 1024 * 1024;

export interface ReleaseImage {
  /** The name by which the Compose template's services and the SBOMs know it. */
  readonly name: string;
  /** Of the image manifest. */
  readonly digest: Digest;
  readonly platform: string;
  /** Of the CycloneDX document, a layer of the document manifest. */
  readonly sbom: Digest;
  /** Of the SLSA provenance predicate (https://slsa.dev/provenance/v1), a layer of the document manifest. */
  readonly provenance: Digest;
}

export interface ReleaseFile {
  readonly name: string;
  /** Of the OCI artifact manifest that holds the file as its only layer. */
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes of the file. */
  readonly size: number;
}

export interface ReleaseManifest {
  readonly schemaVersion: 1;
  readonly appliance: string;
  readonly channel: string;
  /** Semantic version 2.0.0, without a leading v. */
  readonly version: string;
  /** RFC 3339, UTC, whole seconds. From the lock, so that a rebuild gives the same bytes. */
  readonly created: string;
  readonly platform: string;
  /** semver range of releases from which an upgrade to this one is allowed; "" is none. */
  readonly upgradeFrom: string;
  /** Releases below this version must never run again once this one was committed. */
  readonly securityFloor: string;
  /** semver range of releases to which a site may return from this one; "" is none. */
  readonly rollbackTo: string;
  readonly requires: {
    /** Least version of Sealift that may handle the release. */
    readonly sealift: string;
    /** Least version of the release trust's targets metadata. */
    readonly trust: number;
  };
  readonly images: readonly ReleaseImage[];
  readonly files: readonly ReleaseFile[];
  readonly compose: Digest;
  readonly configSchema: Digest;
  /** The locked inputs and the appliance file: what `bundle rebuild` builds from. */
  readonly lock: Digest;
  readonly applianceFile: Digest;
  /** Reference values of the confidential VM that the release may run in; absent if it names none. */
  readonly attestation?: ReleaseAttestation;
}

const digestSchema = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
export const NAME_PATTERN = "^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$";
const nameSchema = { type: "string", pattern: NAME_PATTERN };
/**
 * semver.org's own expression, without build metadata, because two builds of one version would tie, and
 * with numbers of at most 15 digits, because semver's comparison throws above 2^53.
 */
export const VERSION_PATTERN =
  "^(?:0|[1-9]\\d{0,14})\\.(?:0|[1-9]\\d{0,14})\\.(?:0|[1-9]\\d{0,14})(?:-(?:0|[1-9]\\d*|\\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\\.(?:0|[1-9]\\d*|\\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?$";
export const VERSION_MAX_LENGTH = 64;
const versionSchema = { type: "string", pattern: VERSION_PATTERN, maxLength: VERSION_MAX_LENGTH };
const rangeSchema = { type: "string", maxLength: 256 };
export const PLATFORM_PATTERN = "^linux/(?:amd64|arm64)$";

/** Published as `sealift schema release`. */
export const releaseManifestSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift release document",
  type: "object",
  additionalProperties: false,
  required: [
    "schemaVersion",
    "appliance",
    "channel",
    "version",
    "created",
    "platform",
    "upgradeFrom",
    "securityFloor",
    "rollbackTo",
    "requires",
    "images",
    "files",
    "compose",
    "configSchema",
    "lock",
    "applianceFile",
  ],
  properties: {
    schemaVersion: { const: 1 },
    appliance: nameSchema,
    channel: nameSchema,
    version: versionSchema,
    created: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    platform: { type: "string", pattern: PLATFORM_PATTERN },
    upgradeFrom: rangeSchema,
    securityFloor: versionSchema,
    rollbackTo: rangeSchema,
    requires: {
      type: "object",
      additionalProperties: false,
      required: ["sealift", "trust"],
      properties: { sealift: versionSchema, trust: { type: "integer", minimum: 1 } },
    },
    images: {
      type: "array",
      minItems: 1,
      maxItems: 256,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["name", "digest", "platform", "sbom", "provenance"],
        properties: {
          name: nameSchema,
          digest: digestSchema,
          platform: { type: "string", pattern: PLATFORM_PATTERN },
          sbom: digestSchema,
          provenance: digestSchema,
        },
      },
    },
    files: {
      type: "array",
      maxItems: 256,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["name", "digest", "mediaType", "size"],
        properties: {
          name: nameSchema,
          digest: digestSchema,
          mediaType: descriptorSchema.properties.mediaType,
          size: descriptorSchema.properties.size,
        },
      },
    },
    compose: digestSchema,
    configSchema: digestSchema,
    lock: digestSchema,
    applianceFile: digestSchema,
    attestation: releaseAttestationSchema,
  },
};

/**
 * Reads a release document. Its bytes must be canonical JSON, so that no two parsers can read two
 * releases in it, and names must be unique and sorted.
 * @throws RELEASE_MALFORMED. Does not check that any digest named exists, and computes no launch digest.
 */
export function parseReleaseManifest(bytes: Uint8Array): ReleaseManifest {
  if (bytes.byteLength > RELEASE_DOCUMENT_MAX_BYTES) {
    throw modelError(
      "RELEASE_MALFORMED",
      `release document: got ${bytes.byteLength} bytes, want at most ${RELEASE_DOCUMENT_MAX_BYTES}`,
    );
  }
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw modelError("RELEASE_MALFORMED", "release document: not canonical JSON (RFC 8785)");
  const problem = schemaProblem(releaseManifestSchema, value);
  if (problem !== undefined) throw modelError("RELEASE_MALFORMED", `release document: ${problem}`);
  const release = value as ReleaseManifest;
  const names = [...release.images, ...release.files].map((item) => item.name);
  if (new Set(names).size !== names.length) {
    throw modelError("RELEASE_MALFORMED", "release document: two images or files have one name");
  }
  for (const list of [release.images, release.files]) {
    for (let i = 1; i < list.length; i += 1) {
      if ((list[i - 1] as ReleaseImage).name >= (list[i] as ReleaseImage).name) {
        throw modelError("RELEASE_MALFORMED", "release document: images and files must be sorted by name");
      }
    }
  }
  const fileNames = release.files.map(({ name }) => name);
  const unfit = release.attestation && releaseAttestationProblem(release.attestation, fileNames);
  if (unfit !== undefined) throw modelError("RELEASE_MALFORMED", `release document: /attestation${unfit}`);
  return release;
}

/** The documents of a release, in the order in which the document manifest lists them as layers. */
export function releaseDocumentDigests(release: ReleaseManifest): readonly Digest[] {
  return [
    release.compose,
    release.configSchema,
    release.lock,
    release.applianceFile,
    ...release.images.flatMap((image) => [image.sbom, image.provenance]),
  ];
}

/** The bytes of the document manifest that holds `release` and its documents. */
export function renderDocumentManifest(config: Descriptor, documents: readonly Descriptor[]): Buffer {
  return canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType: RELEASE_DOCUMENT,
    config,
    layers: documents,
  });
}

/**
 * The bytes of the release index: `document`, then images and files, each named by NAME_ANNOTATION.
 * `verify` renders it again from the parsed release and demands the same bytes.
 */
export function renderReleaseIndex(
  release: ReleaseManifest,
  document: Descriptor,
  contents: readonly Descriptor[],
): Buffer {
  return canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    artifactType: RELEASE,
    manifests: [document, ...contents],
    annotations: {
      [NAME_ANNOTATION]: release.appliance,
      "org.opencontainers.image.version": release.version,
      "org.opencontainers.image.created": release.created,
    },
  });
}
