/** The `layout` source: an image in an OCI layout, a directory or a tar (`oci-archive`, `docker save`, a bundle). */
import { resolve } from "node:path";
import { blobName } from "../layout/layout.ts";
import type { ImageLock } from "../model/appliance.ts";
import { CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES } from "../model/oci.ts";
import { sourceError } from "./error.ts";
import { carriedImage, checkConfig } from "./foreign-image.ts";
import { layoutBlobStream, openLayoutFiles, readLayoutBlob, resolveInLayout } from "./layout-files.ts";
import type { ImageSource, ResourceDescriptor, SourceContext, SourcedImage } from "./source.ts";

/** SLSA buildType of images carried from a layout. */
export const LAYOUT_BUILD_TYPE = "https://sealift.dev/buildtypes/layout/v1";

/**
 * `path#name` or `path`; `name` is a ref.name in `index.json` or a digest. The lock names the image
 * manifest for the platform, and `load` refuses when the name stands for another one by now.
 */
export function layoutSource(reference: string): ImageSource {
  const hash = reference.lastIndexOf("#");
  const path = hash < 0 ? reference : reference.slice(0, hash);
  const ref = hash < 0 ? undefined : reference.slice(hash + 1);
  if (path === "" || ref === "") {
    throw sourceError("SOURCE_REFERENCE_MALFORMED", `layout: got ${JSON.stringify(reference)}, want PATH or PATH#NAME`);
  }
  return {
    lock: async (context) => {
      const image = read(reference, path, ref, context);
      return { kind: "layout", digest: image.digest };
    },
    load: async (lock: ImageLock, context) => {
      const image = read(reference, path, ref, context);
      const hints = ["sealift bundle lock --appliance FILE"];
      if (lock.kind !== "layout") {
        throw sourceError(
          "SOURCE_LOCK_STALE",
          `layout ${JSON.stringify(reference)}: its lock is of kind ${lock.kind}`,
          {
            hints,
          },
        );
      }
      if (lock.digest !== image.digest) {
        throw sourceError(
          "SOURCE_CHANGED",
          `layout ${JSON.stringify(reference)}: got manifest ${image.digest}, want ${lock.digest}`,
          { hints },
        );
      }
      return image.sourced;
    },
  };
}

function read(reference: string, path: string, ref: string | undefined, context: SourceContext) {
  const files = openLayoutFiles(resolve(context.root, path));
  const entry = resolveInLayout(files, ref, context.platform);
  const bytes = readLayoutBlob(files, entry, MANIFEST_MAX_BYTES);
  const what = `layout ${JSON.stringify(reference)}`;
  const { parsed, carried } = carriedImage(bytes, what);
  const config = readLayoutBlob(files, parsed.config, CONFIG_MAX_BYTES);
  checkConfig(config, parsed.layers.length, context.platform, what);
  for (const layer of carried.layers) {
    const size = files.size(blobName(layer.digest));
    if (size !== layer.size) {
      throw sourceError(
        "SOURCE_LAYOUT_MALFORMED",
        `${what}: layer ${layer.digest}: got ${size ?? "no"} bytes, want ${layer.size}`,
      );
    }
  }
  const material: ResourceDescriptor = {
    uri: `oci-layout:${reference}`,
    digest: { sha256: entry.digest.slice("sha256:".length) },
  };
  const sourced: SourcedImage = {
    manifest: carried.manifest,
    config,
    layers: carried.layers.map((descriptor) => ({
      descriptor,
      blob: {
        digest: descriptor.digest,
        size: descriptor.size,
        open: () => layoutBlobStream(files, descriptor.digest),
      },
    })),
    buildType: LAYOUT_BUILD_TYPE,
    externalParameters: { layout: reference, platform: context.platform },
    materials: [material],
  };
  return { digest: entry.digest, sourced };
}
