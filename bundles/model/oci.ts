/**
 * OCI manifests, indexes and image configurations (image-spec v1.1), parsed from bytes whose digest
 * the caller has checked. Only the members that Sealift uses are typed; the others are kept in the
 * bytes, which are what is stored and signed.
 */

import { hasMoreValues } from "./count-values.ts";
import type { Descriptor } from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { modelError } from "./error.ts";
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";
import { type JsonSchema, schemaProblem } from "./schema.ts";

/** A manifest or index larger than this is refused: 4 MiB, the limit registries agree on. */
/** Of a release document: an SBOM and a provenance for each of up to 256 images, and what the release has once. */
const LAYERS_MAX = 1024;
export const MANIFEST_MAX_BYTES = 4 * 1024 * 1024;
export const CONFIG_MAX_BYTES = 4 * 1024 * 1024;

const stringMap = { type: "object", additionalProperties: { type: "string" } };

export const descriptorSchema = {
  type: "object",
  required: ["mediaType", "digest", "size"],
  properties: {
    mediaType: { type: "string", minLength: 3, maxLength: 255 },
    digest: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    size: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    artifactType: { type: "string", maxLength: 255 },
    annotations: stringMap,
    platform: {
      type: "object",
      required: ["os", "architecture"],
      properties: {
        os: { type: "string" },
        architecture: { type: "string" },
        variant: { type: "string" },
      },
    },
  },
} as const;

const manifestSchema: JsonSchema = {
  type: "object",
  required: ["schemaVersion", "config", "layers"],
  properties: {
    schemaVersion: { const: 2 },
    mediaType: { enum: [OCI_MANIFEST, DOCKER_MANIFEST] },
    artifactType: { type: "string" },
    config: descriptorSchema,
    layers: { type: "array", items: descriptorSchema, maxItems: LAYERS_MAX },
    subject: descriptorSchema,
    annotations: stringMap,
  },
};

const indexSchema: JsonSchema = {
  type: "object",
  required: ["schemaVersion", "manifests"],
  properties: {
    schemaVersion: { const: 2 },
    mediaType: { enum: [OCI_INDEX, DOCKER_MANIFEST_LIST] },
    artifactType: { type: "string" },
    manifests: { type: "array", items: descriptorSchema, maxItems: 4096 },
    subject: descriptorSchema,
    annotations: stringMap,
  },
};

const imageConfigSchema: JsonSchema = {
  type: "object",
  required: ["architecture", "os", "rootfs"],
  properties: {
    architecture: { type: "string" },
    os: { type: "string" },
    variant: { type: "string" },
    created: { type: "string" },
    config: { type: "object" },
    rootfs: {
      type: "object",
      required: ["type", "diff_ids"],
      properties: {
        type: { const: "layers" },
        diff_ids: { type: "array", items: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" } },
      },
    },
  },
};

export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Index {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The runtime part of an image configuration (image-spec v1.1, config.md), as far as Sealift reads it. */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly created?: string;
  readonly config?: {
    readonly User?: string;
    readonly Env?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly WorkingDir?: string;
    readonly ExposedPorts?: Readonly<Record<string, object>>;
    readonly Volumes?: Readonly<Record<string, object>>;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly StopSignal?: string;
  };
  readonly rootfs: { readonly type: "layers"; readonly diff_ids: readonly Digest[] };
}

/** A bundle's index names at most some thousand blobs, with a dozen values each. */
const VALUES_MAX = 200_000;

function parse(what: string, schema: JsonSchema, bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.byteLength > maxBytes) {
    throw modelError("OCI_TOO_LARGE", `${what}: got ${bytes.byteLength} bytes, want at most ${maxBytes}`);
  }
  if (hasMoreValues(bytes, VALUES_MAX)) throw modelError("OCI_MALFORMED", `${what}: more than ${VALUES_MAX} values`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw modelError("OCI_MALFORMED", `${what}: not JSON`, { cause });
  }
  const problem = schemaProblem(schema, value);
  if (problem !== undefined) throw modelError("OCI_MALFORMED", `${what}: ${problem}`);
  return value;
}

/** @throws OCI_MALFORMED | OCI_TOO_LARGE. Does not check that the descriptors lead anywhere. */
export function parseManifest(bytes: Uint8Array): Manifest {
  return parse("manifest", manifestSchema, bytes, MANIFEST_MAX_BYTES) as Manifest;
}

/** @throws OCI_MALFORMED | OCI_TOO_LARGE. Does not check that the descriptors lead anywhere. */
export function parseIndex(bytes: Uint8Array): Index {
  return parse("index", indexSchema, bytes, MANIFEST_MAX_BYTES) as Index;
}

/** @throws OCI_MALFORMED | OCI_TOO_LARGE. Does not compare `diff_ids` with any layer. */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  return parse("image configuration", imageConfigSchema, bytes, CONFIG_MAX_BYTES) as ImageConfig;
}
