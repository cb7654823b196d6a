/** Whether an image in the engine is the one of the release: a pure comparison over `GET /images/{name}/json`. */
import { isDeepStrictEqual } from "node:util";
import type { Layout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { CONFIG_MAX_BYTES, type ImageConfig, type Manifest, parseImageConfig } from "../../bundles/model/oci.ts";
import type { ImageStore } from "./engine.ts";

/** What the release says an image is. */
export interface ExpectedImage {
  /** `HOST:PORT/appliance/name@sha256:…`: by this name containers run it. */
  readonly reference: string;
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  readonly config: ImageConfig;
}

/** Reads the configuration by its digest. @throws what `Layout.readDescriptor` and `parseImageConfig` throw */
export function expectedImage(layout: Layout, reference: string, digest: Digest, manifest: Manifest): ExpectedImage {
  const config = parseImageConfig(layout.readDescriptor(manifest.config, CONFIG_MAX_BYTES));
  return { reference, manifestDigest: digest, configDigest: manifest.config.digest, config };
}

/**
 * What differs, one sentence each; none means that it is the image. Not checked: the files of layers
 * that the engine had already, which are the engine's state (`fsck --content`).
 */
export function imageDifferences(expected: ExpectedImage, inspected: unknown, store: ImageStore): string[] {
  const found = (typeof inspected === "object" && inspected !== null ? inspected : {}) as {
    readonly Id?: unknown;
    readonly RepoDigests?: unknown;
    readonly RootFS?: { readonly Layers?: unknown };
    readonly Config?: Readonly<Record<string, unknown>>;
    readonly Architecture?: unknown;
    readonly Os?: unknown;
  };
  const { config } = expected;
  const differences: string[] = [];
  const compare = (what: string, got: unknown, want: unknown): void => {
    if (!isDeepStrictEqual(got, want)) {
      differences.push(`${what}: got ${JSON.stringify(got) ?? "nothing"}, want ${JSON.stringify(want) ?? "nothing"}`);
    }
  };
  compare("Id", found.Id, store === "classic" ? expected.configDigest : expected.manifestDigest);
  const repoDigests: readonly unknown[] = Array.isArray(found.RepoDigests) ? found.RepoDigests : [];
  if (!repoDigests.includes(expected.reference)) compare("RepoDigests", repoDigests, [expected.reference]);
  compare("layers", found.RootFS?.Layers, config.rootfs.diff_ids);
  compare("architecture", found.Architecture, config.architecture);
  compare("system", found.Os, config.os);
  const runtime: Readonly<Record<string, unknown>> = { ...config.config };
  // An absent member, null and an empty one mean the same to an engine, and engines differ in which they say.
  const empty = (value: unknown): unknown =>
    value === null || value === "" || (Array.isArray(value) && value.length === 0) ? undefined : value;
  for (const member of ["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "StopSignal"]) {
    const got = empty(found.Config?.[member]);
    const want = empty(runtime[member]);
    // "/" is what an engine makes of no working directory.
    if (member === "WorkingDir" && want === undefined && got === "/") continue;
    compare(member, got, want);
  }
  return differences;
}
