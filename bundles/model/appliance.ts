/**
 * The appliance file: what a publisher writes by hand to describe an appliance, and its lock: what
 * `bundle lock` writes beside it, naming every input by digest. Both are stored in the bundle, because
 * `bundle rebuild` builds from them again.
 */
import type { Digest } from "./digest.ts";
import { modelError } from "./error.ts";
import type { Vmm } from "./processor-state.ts";
import {
  LAUNCH_DIGESTS_MAX,
  LAUNCHES_MAX,
  type LaunchProcessors,
  launchMembers,
  launchProblem,
  processorsProblem,
} from "./release-attestation.ts";
import { NAME_PATTERN, PLATFORM_PATTERN, VERSION_PATTERN } from "./release-manifest.ts";
import { type JsonSchema, schemaProblem } from "./schema.ts";

/** Where an image comes from; exactly one member. Paths are relative to the appliance file. */
export type ImageSpec =
  /** Made here from Debian and npm packages: a recipe file (bundles/source/recipe). */
  | { readonly recipe: string }
  /** `host[:port]/repository:tag` or `…@sha256:…`; a tag is resolved when the lock is written. */
  | { readonly registry: string }
  /** An OCI layout, directory or tar, and the ref.name in it: `path#name`, or `path` if it has one image. */
  | { readonly layout: string }
  /** A name that the local Docker engine knows. */
  | { readonly engine: string };

/**
 * A file that the release carries: one beside the appliance file, or one that the builder itself writes, the
 * same bytes each time. There is no way to name a program that would make it.
 */
export type CarriedFileSpec = { readonly mediaType: string } & (
  | { readonly path: string }
  | { readonly generated: GeneratedFileName }
);

/** `sealift-test-model`: a GGUF model with random weights (bundles/source/test-model.ts). */
export const GENERATED_FILES = ["sealift-test-model"] as const;
export type GeneratedFileName = (typeof GENERATED_FILES)[number];

/** One of the appliance's carried files by its name, or a file known by its SHA-256 alone. */
export type LaunchFileSpec = { readonly file: string } | { readonly digest: Digest };

/** How an SEV-SNP guest that runs the appliance may be started: launch digests for each count and each model. */
export interface LaunchSpec {
  readonly vmm: Vmm;
  /** The name of a carried file: OVMF. */
  readonly firmware: string;
  /** SEV_FEATURES; DEFAULT_GUEST_FEATURES if absent. */
  readonly guestFeatures?: string;
  readonly kernel?: LaunchFileSpec;
  readonly initrd?: LaunchFileSpec;
  readonly commandLine?: string;
  readonly vcpus: readonly number[];
  /** For QEMU, and for no other. */
  readonly cpus?: readonly string[];
}

/** Who makes an appliance, as its SBOMs name them. */
export interface Publisher {
  readonly name: string;
  /** Where they can be reached: BSI TR-03183-2 asks for one of the two. */
  readonly email?: string;
  readonly url?: string;
}

export interface ApplianceFile {
  readonly schemaVersion: 1;
  readonly appliance: string;
  readonly channel: string;
  readonly publisher?: Publisher;
  readonly upgradeFrom?: string;
  readonly securityFloor?: string;
  readonly rollbackTo?: string;
  readonly requires?: { readonly sealift?: string; readonly trust?: number };
  readonly images: Readonly<Record<string, ImageSpec>>;
  readonly files?: Readonly<Record<string, CarriedFileSpec>>;
  /** A Compose file whose services name images as `image: NAME`. */
  readonly compose: string;
  /** JSON Schema of the site's configuration. */
  readonly configSchema: string;
  readonly attestation?: {
    readonly sevSnp?: readonly LaunchSpec[];
    /** Carried firmware of which a TD may be made. */
    readonly tdx?: readonly { readonly firmware: string }[];
  };
}

/** One image's inputs, for one platform. */
export type ImageLock =
  | {
      readonly kind: "recipe";
      readonly recipe: Digest;
      readonly debian: readonly DebianInput[];
      readonly npm: readonly NpmInput[];
    }
  | { readonly kind: "registry"; readonly reference: string; readonly digest: Digest }
  | { readonly kind: "layout"; readonly digest: Digest }
  | { readonly kind: "engine"; readonly reference: string; readonly imageId: Digest };

/** A .deb of Debian's archive. */
export interface DebianInput {
  readonly package: string;
  readonly version: string;
  readonly architecture: string;
  /** `debian` or `debian-security`; the host that serves it is the builder's own choice. */
  readonly archive: string;
  /** Relative to the archive's root, as its Packages index has it. */
  readonly path: string;
  readonly sha256: Digest;
  readonly size: number;
}

/** A package of the npm registry. */
export interface NpmInput {
  readonly name: string;
  readonly version: string;
  /** Subresource integrity, sha512, as package-lock.json has it. */
  readonly integrity: string;
}

export interface ApplianceLock {
  readonly schemaVersion: 1;
  /** When the lock was written, RFC 3339 UTC, whole seconds: the `created` of everything built from it. */
  readonly created: string;
  /** platform → image name → inputs. */
  readonly platforms: Readonly<Record<string, Readonly<Record<string, ImageLock>>>>;
}

const digestSchema = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const names = { type: "string", pattern: NAME_PATTERN };
const text = { type: "string", minLength: 1, maxLength: 1024 };
const one = (member: string, value: object): object => ({
  type: "object",
  additionalProperties: false,
  required: [member],
  properties: { [member]: value },
});

const mediaType = { type: "string", pattern: "^[a-z0-9.+-]+/[a-zA-Z0-9.+-]+$" };
const carried = (member: string, value: object): object => ({
  type: "object",
  additionalProperties: false,
  required: [member, "mediaType"],
  properties: { [member]: value, mediaType },
});

const launchFileSpec = { oneOf: [one("file", names), one("digest", digestSchema)] };
const launchSpecSchema = {
  type: "object",
  additionalProperties: false,
  required: ["vmm", "firmware", "vcpus"],
  properties: {
    vmm: launchMembers.vmm,
    firmware: names,
    guestFeatures: launchMembers.guestFeatures,
    kernel: launchFileSpec,
    initrd: launchFileSpec,
    commandLine: launchMembers.commandLine,
    vcpus: { type: "array", minItems: 1, maxItems: LAUNCH_DIGESTS_MAX, items: launchMembers.vcpus },
    cpus: { type: "array", minItems: 1, maxItems: LAUNCH_DIGESTS_MAX, items: launchMembers.cpu },
  },
};

/** Published as `sealift schema appliance`. */
export const applianceFileSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift appliance file",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "appliance", "channel", "images", "compose", "configSchema"],
  properties: {
    schemaVersion: { const: 1 },
    appliance: names,
    channel: names,
    publisher: {
      type: "object",
      additionalProperties: false,
      required: ["name"],
      properties: {
        name: { type: "string", pattern: "^[^\\p{C}]{1,128}$" },
        email: { type: "string", maxLength: 254, pattern: "^[^\\s\\p{C}@<>]+@[^\\s\\p{C}@<>]+$" },
        url: { type: "string", maxLength: 1024, pattern: "^https://[!-~]+$" },
      },
    },
    upgradeFrom: { type: "string", maxLength: 256 },
    securityFloor: { type: "string", pattern: VERSION_PATTERN },
    rollbackTo: { type: "string", maxLength: 256 },
    requires: {
      type: "object",
      additionalProperties: false,
      properties: { sealift: { type: "string", pattern: VERSION_PATTERN }, trust: { type: "integer", minimum: 1 } },
    },
    images: {
      type: "object",
      minProperties: 1,
      maxProperties: 256,
      propertyNames: names,
      additionalProperties: { oneOf: ["recipe", "registry", "layout", "engine"].map((kind) => one(kind, text)) },
    },
    files: {
      type: "object",
      maxProperties: 256,
      propertyNames: names,
      additionalProperties: { oneOf: [carried("path", text), carried("generated", { enum: GENERATED_FILES })] },
    },
    compose: text,
    configSchema: text,
    attestation: {
      type: "object",
      additionalProperties: false,
      minProperties: 1,
      properties: {
        sevSnp: { type: "array", minItems: 1, maxItems: LAUNCHES_MAX, items: launchSpecSchema },
        tdx: {
          type: "array",
          minItems: 1,
          maxItems: LAUNCHES_MAX,
          items: {
            type: "object",
            additionalProperties: false,
            required: ["firmware"],
            properties: { firmware: names },
          },
        },
      },
    },
  },
};

const lockMembers = (kind: string, properties: Record<string, object>): object => ({
  type: "object",
  additionalProperties: false,
  required: ["kind", ...Object.keys(properties)],
  properties: { kind: { const: kind }, ...properties },
});

export const debianInputSchema = {
  type: "object",
  additionalProperties: false,
  required: ["package", "version", "architecture", "archive", "path", "sha256", "size"],
  properties: {
    package: text,
    version: text,
    architecture: text,
    archive: { enum: ["debian", "debian-security"] },
    path: { type: "string", pattern: "^pool/[A-Za-z0-9.+_~:%/-]+\\.deb$" },
    sha256: digestSchema,
    size: { type: "integer", minimum: 1 },
  },
};

export const applianceLockSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift appliance lock",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "created", "platforms"],
  properties: {
    schemaVersion: { const: 1 },
    created: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    platforms: {
      type: "object",
      propertyNames: { type: "string", pattern: PLATFORM_PATTERN },
      additionalProperties: {
        type: "object",
        propertyNames: names,
        additionalProperties: {
          oneOf: [
            lockMembers("recipe", {
              recipe: digestSchema,
              debian: {
                type: "array",
                items: debianInputSchema,
              },
              npm: {
                type: "array",
                items: {
                  type: "object",
                  additionalProperties: false,
                  required: ["name", "version", "integrity"],
                  properties: {
                    name: { type: "string", pattern: "^(?:@[a-z0-9-]+/)?[a-z0-9._-]+$" },
                    version: { type: "string", pattern: VERSION_PATTERN },
                    integrity: { type: "string", pattern: "^sha512-[A-Za-z0-9+/]{86}==$" },
                  },
                },
              },
            }),
            lockMembers("registry", { reference: text, digest: digestSchema }),
            lockMembers("layout", { digest: digestSchema }),
            lockMembers("engine", { reference: text, imageId: digestSchema }),
          ],
        },
      },
    },
  },
};

/** @throws APPLIANCE_MALFORMED */
export function checkApplianceFile(value: unknown): ApplianceFile {
  const problem = schemaProblem(applianceFileSchema, value);
  if (problem !== undefined) throw modelError("APPLIANCE_MALFORMED", `appliance file: ${problem}`);
  const appliance = value as ApplianceFile;
  for (const [i, launch] of (appliance.attestation?.sevSnp ?? []).entries()) {
    const unfit = launchSpecProblem(launch, Object.keys(appliance.files ?? {}));
    if (unfit !== undefined) {
      throw modelError("APPLIANCE_MALFORMED", `appliance file: /attestation/sevSnp/${i}: ${unfit}`);
    }
  }
  for (const [i, { firmware }] of (appliance.attestation?.tdx ?? []).entries()) {
    if (firmware in (appliance.files ?? {})) continue;
    const problem = `file ${JSON.stringify(firmware)} is none of those carried`;
    throw modelError("APPLIANCE_MALFORMED", `appliance file: /attestation/tdx/${i}: ${problem}`);
  }
  return appliance;
}

function launchSpecProblem(launch: LaunchSpec, fileNames: readonly string[]): string | undefined {
  const processors = launchProcessors(launch);
  if (processors.length > LAUNCH_DIGESTS_MAX) {
    return `got ${processors.length} counts and models, want at most ${LAUNCH_DIGESTS_MAX}`;
  }
  return (
    launchProblem({ ...launch, firmware: { file: launch.firmware } }, fileNames) ??
    processorsProblem(launch.vmm, processors)
  );
}

/** Each model with each count, in the order in which they are written. */
export function launchProcessors({ vcpus, cpus }: LaunchSpec): readonly LaunchProcessors[] {
  const models = cpus ?? [undefined];
  return models.flatMap((cpu) => vcpus.map((count) => (cpu === undefined ? { vcpus: count } : { vcpus: count, cpu })));
}

/** @throws LOCK_MALFORMED */
export function checkApplianceLock(value: unknown): ApplianceLock {
  const problem = schemaProblem(applianceLockSchema, value);
  if (problem !== undefined) throw modelError("LOCK_MALFORMED", `lock: ${problem}`);
  return value as ApplianceLock;
}
