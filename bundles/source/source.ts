/**
 * Where images come from. Each kind of source does two things: `lock` finds out what a name stands for
 * today, and `load` gives exactly what the lock says, or fails.
 */
import type { BlobSource } from "../layout/blob-source.ts";
import type { ImageLock } from "../model/appliance.ts";
import type { Descriptor } from "../model/descriptor.ts";

export interface SourceContext {
  /** The directory of the appliance file; the paths in it are relative to this. */
  readonly root: string;
  /** `linux/amd64` or `linux/arm64`. */
  readonly platform: string;
  /** Content-addressed downloads and built layers; may be removed at any time. */
  readonly cacheDir: string;
  /** The lock's `created`. */
  readonly created: string;
  /** Build everything anew, so that the result proves something (`bundle rebuild`). */
  readonly ignoreBuiltLayers: boolean;
  readonly onProgress: (detail: string) => void;
}

/** A SLSA provenance v1 ResourceDescriptor: an input, by digest. */
export interface ResourceDescriptor {
  readonly uri: string;
  readonly digest: Readonly<Record<string, string>>;
  readonly name?: string;
}

export interface SourcedImage {
  /** The exact bytes of the OCI manifest and of the image configuration. */
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** As the manifest lists them; media types OCI only. */
  readonly layers: readonly { readonly descriptor: Descriptor; readonly blob: BlobSource }[];
  /** For the provenance: SLSA v1 `buildType` (a URI), `externalParameters`, `resolvedDependencies`. */
  readonly buildType: string;
  readonly externalParameters: Readonly<Record<string, unknown>>;
  readonly materials: readonly ResourceDescriptor[];
}

export interface ImageSource {
  lock(context: SourceContext): Promise<ImageLock>;
  /** @throws if the content is no longer to be had, or is not what `lock` names. */
  load(lock: ImageLock, context: SourceContext): Promise<SourcedImage>;
}
