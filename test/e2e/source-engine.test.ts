import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_LAYER_ZSTD } from "../../bundles/model/media-types.ts";
import { parseManifest } from "../../bundles/model/oci.ts";
import { engineSource } from "../../bundles/source/engine.ts";
import { bytesOf, type ForeignImage, foreignImage, sourceContext } from "../support/foreign-images.ts";
import { file, layer, directory as tarDirectory } from "../support/layer-tar.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { scratch } from "../support/scratch.ts";

const NAME = "sealift.local/app:v1";

/** An archive that every engine loads: an OCI layout with a manifest.json that points at the same blobs. */
function loadable(image: ForeignImage): Buffer {
  const blob = (bytes: Buffer): string => `blobs/sha256/${digestOf(bytes).slice(7)}`;
  const annotations = { "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "v1" };
  const entry = { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length, annotations };
  const legacy = [{ Config: blob(image.config), RepoTags: [NAME], Layers: image.layers.map(blob) }];
  return layer(
    tarDirectory("blobs"),
    tarDirectory("blobs/sha256"),
    ...[image.config, image.bytes, ...image.layers].map((bytes) => file(blob(bytes), bytes)),
    file("oci-layout", '{"imageLayoutVersion":"1.0.0"}'),
    file("index.json", JSON.stringify({ schemaVersion: 2, manifests: [entry] })),
    file("manifest.json", JSON.stringify(legacy)),
  );
}

inOwnMachine(import.meta.url, "an image that the real Docker engine has", () => {
  const withEngine = async (t: TestContext, store: "classic" | "containerd"): Promise<OwnEngine> => {
    const cleanups: (() => Promise<void>)[] = [];
    const directory = await scratch({ after: (work) => void cleanups.push(work) });
    const engine = await startOwnEngine(directory, { store });
    // In this order: nothing can be removed from under a running engine.
    t.after(async () => {
      await engine.stop();
      for (const work of cleanups) await work();
    });
    return engine;
  };

  test("is carried from the classic store with its configuration and its layers compressed, the same each time", async (t) => {
    const { engine, load } = await withEngine(t, "classic");
    const image = foreignImage();
    await load(loadable(image));
    const directory = await scratch(t);
    const source = engineSource(NAME, { socketPath: engine.socketPath });
    const lock = await source.lock(sourceContext(directory));
    assert.deepEqual(lock, { kind: "engine", reference: NAME, imageId: digestOf(image.config) });
    const loaded = await source.load(lock, sourceContext(directory));
    assert.deepEqual(loaded.config, image.config);
    assert.deepEqual(
      parseManifest(loaded.manifest).layers,
      loaded.layers.map(({ descriptor }) => descriptor),
    );
    for (const [i, { descriptor, blob }] of loaded.layers.entries()) {
      assert.equal(descriptor.mediaType, OCI_LAYER_ZSTD);
      const bytes = await bytesOf(blob.open());
      assert.equal(digestOf(bytes), descriptor.digest);
      assert.deepEqual(zstdDecompressSync(bytes), image.tars[i]);
    }
    const elsewhere = await source.load(lock, { ...sourceContext(join(directory, "other")), ignoreBuiltLayers: true });
    assert.deepEqual(elsewhere.manifest, loaded.manifest);

    await load(loadable(foreignImage({ content: Buffer.from("another build") })));
    await assert.rejects(source.load(lock, sourceContext(directory)), { code: "SOURCE_CHANGED" });
    await assert.rejects(
      engineSource("sealift.local/none:v1", { socketPath: engine.socketPath }).lock(sourceContext(directory)),
      {
        code: "SOURCE_NOT_FOUND",
      },
    );
  });

  test("is carried from the containerd store byte for byte", async (t) => {
    const { engine, load } = await withEngine(t, "containerd");
    const image = foreignImage();
    await load(loadable(image));
    const directory = await scratch(t);
    const source = engineSource(NAME, { socketPath: engine.socketPath });
    const lock = await source.lock(sourceContext(directory));
    assert.deepEqual(lock, { kind: "engine", reference: NAME, imageId: image.digest });
    const loaded = await source.load(lock, sourceContext(directory));
    assert.deepEqual(loaded.manifest, image.bytes);
    for (const [i, { blob }] of loaded.layers.entries()) assert.deepEqual(await bytesOf(blob.open()), image.layers[i]);
  });
});
