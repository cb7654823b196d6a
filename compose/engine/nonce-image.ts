/**
 * An image that did not exist before this run: one random file in one layer. An engine that has it after
 * a pull has fetched it from the endpoint that offered it, so the two see the same loopback.
 */
import { randomBytes } from "node:crypto";
import { paddedSize, renderEnd, renderHeader } from "../../bundles/layout/tar-format.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { OCI_IMAGE_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST } from "../../bundles/model/media-types.ts";

export interface NonceImage {
  /** Of the manifest. */
  readonly digest: Digest;
  /** Manifest, configuration and layer, as an endpoint serves them beside a bundle. */
  readonly contents: ReadonlyMap<Digest, { readonly mediaType: string; readonly bytes: Buffer }>;
}

/** `architecture` is the engine's, or it refuses the pull. `nonce` is for tests. */
export function makeNonceImage(architecture: string, nonce: Buffer = randomBytes(32)): NonceImage {
  const file = Buffer.from(nonce.toString("hex"));
  const padding = Buffer.alloc(paddedSize(file.length) - file.length);
  const layer = Buffer.concat([renderHeader("nonce", file.length), file, padding, renderEnd()]);
  const contents = new Map<Digest, { readonly mediaType: string; readonly bytes: Buffer }>();
  const put = (mediaType: string, bytes: Buffer): Descriptor => {
    contents.set(digestOf(bytes), { mediaType, bytes });
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const config = canonicalJson({
    architecture,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  });
  const manifest = canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: put(OCI_IMAGE_CONFIG, config),
    layers: [put(OCI_LAYER_TAR, layer)],
  });
  return { digest: put(OCI_MANIFEST, manifest).digest, contents };
}
