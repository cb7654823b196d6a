/** `images`: each image's configuration is for the platform that the release names, and matches its layers in number. */
import type { BundleRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { OCI_IMAGE_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD } from "../../bundles/model/media-types.ts";
import { CONFIG_MAX_BYTES, parseImageConfig } from "../../bundles/model/oci.ts";
import { type Finding, failed } from "../verdict.ts";

const LAYER_TYPES = [OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD];

/** Findings of what is wrong only. Does not decompress a layer: that diff_ids are true is for the engine to check. */
export function checkImageConfigs(layout: Layout, release: BundleRelease): Finding[] {
  const findings: Finding[] = [];
  for (const [name, { descriptor, manifest }] of release.images) {
    const refuse = (message: string): void => {
      findings.push(failed("images", name, "IMAGE_MALFORMED", `image ${JSON.stringify(name)}: ${message}`));
    };
    if (manifest.config.mediaType !== OCI_IMAGE_CONFIG) {
      refuse(`got config of type ${JSON.stringify(manifest.config.mediaType)}, want ${OCI_IMAGE_CONFIG}`);
      continue;
    }
    const foreign = manifest.layers.find((layer) => !LAYER_TYPES.includes(layer.mediaType));
    if (foreign) refuse(`layer ${foreign.digest} has type ${JSON.stringify(foreign.mediaType)}`);
    const config = parseImageConfig(layout.readDescriptor(manifest.config, CONFIG_MAX_BYTES));
    const { os = "", architecture = "" } = descriptor.platform ?? {};
    if (config.os !== os || config.architecture !== architecture) {
      refuse(`configured for ${config.os}/${config.architecture}, want ${os}/${architecture}`);
    }
    if (config.rootfs.diff_ids.length !== manifest.layers.length) {
      refuse(`got ${config.rootfs.diff_ids.length} diff_ids, want ${manifest.layers.length}, one for each layer`);
    }
  }
  return findings;
}
