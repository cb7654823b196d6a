/** What Sealift lists of an image against what the image's own package managers list: precision and recall 1.0. */
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_LAYER_TAR } from "../../bundles/model/media-types.ts";
import { imageSbom } from "../../sbom/generate/image-sbom.ts";
import { type LayerScan, scanLayer } from "../../sbom/generate/layer-scan.ts";
import { validateSbom } from "../../sbom/validate.ts";
import { configOf, type PlainSbom, propertiesOf } from "../support/layer-tar.ts";
import { listedBy } from "../support/listed-by.ts";
import { type Ecosystem, makeTruthImages, skipWithoutTruthImages, type TruthImage } from "../support/truth-images.ts";

const ECOSYSTEMS: readonly Ecosystem[] = ["deb", "npm", "pypi", "maven", "rpm"];

async function sbomOf({ layers, name }: TruthImage): Promise<PlainSbom> {
  const scans: LayerScan[] = [];
  for (const layer of layers) scans.push(await scanLayer(createReadStream(layer), OCI_LAYER_TAR));
  const bytes = imageSbom({
    name,
    manifestDigest: digestOf(name),
    config: configOf(scans.map(({ diffId }) => diffId)),
    scans,
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0.0.0-test",
  });
  assert.deepEqual((await validateSbom(bytes)).problems, []);
  return JSON.parse(bytes.toString("utf8"));
}

describe("SBOMs and the truth", { skip: skipWithoutTruthImages() }, () => {
  let work: string;
  let images: readonly TruthImage[];

  before(async () => {
    work = await mkdtemp(join(tmpdir(), "sealift-truth-"));
    images = await makeTruthImages(work);
  });
  after(async () => {
    if (work) await rm(work, { recursive: true, force: true });
  });

  for (const [name, wanted] of Object.entries({
    "debian-npm": ["deb", "npm"],
    "debian-python": ["deb", "pypi"],
    "debian-java": ["deb", "maven"],
    rpm: ["rpm"],
  })) {
    it(`lists ${name} as its package managers do: nothing missing, nothing more`, async (context) => {
      const image = images.find((one) => one.name === name) as TruthImage;
      assert.deepEqual(Object.keys(image.truth), wanted);
      assert.ok(image.layers.length > 1);
      const sbom = await sbomOf(image);
      for (const ecosystem of ECOSYSTEMS) {
        const truth = image.truth[ecosystem] ?? [];
        assert.deepEqual(listedBy(sbom.components, ecosystem), truth, ecosystem);
        if (truth.length > 0) context.diagnostic(`${name}: ${truth.length} ${ecosystem}`);
      }
      assert.deepEqual(propertiesOf(sbom.metadata.component, "sealift:sbom:not-catalogued"), []);
    });
  }
});
