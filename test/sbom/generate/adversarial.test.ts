import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../bundles/model/digest.ts";
import { imageSbom } from "../../../sbom/generate/image-sbom.ts";
import { type LayerScan, scanLayer } from "../../../sbom/generate/layer-scan.ts";
import { ADVERSARIAL_IMAGES, type AdversarialImage } from "../../support/adversarial-images.ts";
import { chunksOf, configOf, type PlainSbom, propertiesOf } from "../../support/layer-tar.ts";

async function sbomOf({ name, layers }: AdversarialImage): Promise<PlainSbom> {
  const scans: LayerScan[] = [];
  for (const { bytes, mediaType } of layers) scans.push(await scanLayer(chunksOf(bytes, 1000), mediaType));
  const bytes = imageSbom({
    name: "image",
    manifestDigest: digestOf(name),
    config: configOf(scans.map(({ diffId }) => diffId)),
    scans,
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0",
  });
  return JSON.parse(bytes.toString("utf8"));
}

function packagesIn({ components }: PlainSbom): string[] {
  const listed = components.flatMap(({ purl = "", name, version }) => {
    const type = /^pkg:(\w+)\//.exec(purl)?.[1];
    return type === undefined ? [] : [`${type} ${name}@${version}`];
  });
  return listed.sort();
}

for (const image of ADVERSARIAL_IMAGES) {
  test(`is not misled: ${image.name}`, async () => {
    if ("code" in image.expected) {
      await assert.rejects(sbomOf(image), { code: image.expected.code });
      return;
    }
    const sbom = await sbomOf(image);
    assert.deepEqual(packagesIn(sbom), image.expected);
    const notCatalogued = propertiesOf(sbom.metadata.component, "sealift:sbom:not-catalogued");
    assert.deepEqual(notCatalogued, image.notCatalogued);
  });
}
