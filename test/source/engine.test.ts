import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import {
  DOCKER_LAYER_GZIP,
  OCI_LAYER_GZIP,
  OCI_LAYER_TAR,
  OCI_LAYER_ZSTD,
  OCI_MANIFEST,
} from "../../bundles/model/media-types.ts";
import { parseManifest } from "../../bundles/model/oci.ts";
import { engineSource } from "../../bundles/source/engine.ts";
import type { ImageSource, SourceContext } from "../../bundles/source/source.ts";
import { bytesOf, type ForeignImage, foreignImage, sourceContext } from "../support/foreign-images.ts";
import { file, layer, symlink } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";

interface FakeEngine {
  id: string;
  platform: { Os: string; Architecture: string };
  archive: Buffer;
  /** Break the export off after so many bytes. */
  cutAt?: number;
  exports: number;
  readonly source: ImageSource;
  readonly context: SourceContext;
  readonly socketPath: string;
}

/** The two answers of Docker's API that the source asks for, on a socket of its own. */
async function fakeEngine(t: TestContext): Promise<FakeEngine> {
  const directory = await scratch(t);
  const socketPath = join(directory, "docker.sock");
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    if (path.endsWith("/images/app:v1/json")) {
      const { id, platform } = engine;
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ Id: id, ...platform }));
    } else if (path.endsWith("/images/app:v1/get")) {
      engine.exports += 1;
      response.writeHead(200, { "content-type": "application/x-tar" });
      if (engine.cutAt === undefined) response.end(engine.archive);
      else response.write(engine.archive.subarray(0, engine.cutAt), () => setTimeout(() => response.destroy(), 20));
    } else if (path.includes("broken")) {
      response.writeHead(500, { "content-type": "application/json" }).end('{"message":"no space left"}');
    } else {
      response.writeHead(404, { "content-type": "application/json" }).end('{"message":"No such image"}');
    }
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const engine: FakeEngine = {
    id: "",
    platform: { Os: "linux", Architecture: "amd64" },
    archive: Buffer.alloc(0),
    exports: 0,
    source: engineSource("app:v1", { socketPath }),
    context: sourceContext(join(directory, "cache")),
    socketPath,
  };
  return engine;
}

function blob(bytes: Buffer): Buffer {
  return file(`blobs/sha256/${digestOf(bytes).slice(7)}`, bytes);
}

function plainManifest(image: ForeignImage): Buffer {
  const manifest = JSON.parse(image.bytes.toString("utf8")) as object;
  const layers = image.tars.map((tar) => ({ mediaType: OCI_LAYER_TAR, digest: digestOf(tar), size: tar.length }));
  return Buffer.from(JSON.stringify({ ...manifest, layers }));
}

function indexOf(manifest: Buffer, mediaType = OCI_MANIFEST): Buffer {
  const annotations = {
    "io.containerd.image.name": "docker.io/library/app:v1",
    "org.opencontainers.image.ref.name": "v1",
  };
  const manifests = [{ mediaType, digest: digestOf(manifest), size: manifest.length, annotations }];
  return file("index.json", JSON.stringify({ schemaVersion: 2, manifests }));
}

/** As Docker 25 and newer save from the classic store: an OCI layout with plain layers. */
function classicExport(image: ForeignImage): Buffer {
  const manifest = plainManifest(image);
  return layer(...[...image.tars, image.config, manifest].map(blob), indexOf(manifest), file("manifest.json", "[]"));
}

/** As older engines save: configuration and layers beside a manifest.json, a repeated layer as a link. */
function oldExport(image: ForeignImage): Buffer {
  const [first, second] = image.tars as [Buffer, Buffer];
  const config = `${digestOf(image.config).slice(7)}.json`;
  const manifest = [{ Config: config, RepoTags: ["app:v1"], Layers: ["a/layer.tar", "b/layer.tar"] }];
  return layer(
    file("a/VERSION", "1.0"),
    symlink("a/layer.tar", "../c/layer.tar"),
    file("c/layer.tar", first),
    file("b/layer.tar", second),
    file(config, image.config),
    file("manifest.json", JSON.stringify(manifest)),
  );
}

for (const [what, exported] of [
  ["an OCI layout with plain layers", classicExport],
  ["the older manifest.json", oldExport],
] as const) {
  test(`compresses the layers of ${what} and keeps the configuration`, async (t) => {
    const engine = await fakeEngine(t);
    const image = foreignImage();
    engine.id = digestOf(image.config);
    engine.archive = exported(image);
    const lock = await engine.source.lock(engine.context);
    assert.deepEqual(lock, { kind: "engine", reference: "app:v1", imageId: engine.id });
    const loaded = await engine.source.load(lock, engine.context);
    assert.deepEqual(loaded.config, image.config);
    const manifest = parseManifest(loaded.manifest);
    assert.equal(manifest.mediaType, OCI_MANIFEST);
    assert.deepEqual(
      manifest.layers,
      loaded.layers.map(({ descriptor }) => descriptor),
    );
    for (const [i, { descriptor, blob: source }] of loaded.layers.entries()) {
      const bytes = await bytesOf(source.open());
      assert.equal(descriptor.mediaType, OCI_LAYER_ZSTD);
      assert.equal(digestOf(bytes), descriptor.digest);
      assert.deepEqual(zstdDecompressSync(bytes), image.tars[i]);
    }
    assert.equal(loaded.materials[0]?.digest["sha256"], engine.id.slice(7));
    const again = await engine.source.load(lock, { ...engine.context, ignoreBuiltLayers: true });
    assert.deepEqual(again.manifest, loaded.manifest);
    const kept = await readdir(join(engine.context.cacheDir, "engine"));
    assert.ok(!kept.some((name) => /partial|layer$/.test(name)), kept.join());
  });
}

test("carries compressed layers and their manifest byte for byte", async (t) => {
  const engine = await fakeEngine(t);
  const image = foreignImage();
  engine.id = image.digest;
  engine.archive = layer(...[...image.layers, image.config, image.bytes].map(blob), indexOf(image.bytes));
  const loaded = await engine.source.load(await engine.source.lock(engine.context), engine.context);
  assert.deepEqual(loaded.manifest, image.bytes);
  for (const [i, { descriptor, blob: source }] of loaded.layers.entries()) {
    assert.equal(descriptor.mediaType, OCI_LAYER_GZIP);
    assert.deepEqual(await bytesOf(source.open()), image.layers[i]);
  }
});

test("gives compressed layers OCI names where the engine has Docker's", async (t) => {
  const engine = await fakeEngine(t);
  const image = foreignImage({ docker: true });
  assert.ok(image.bytes.includes(DOCKER_LAYER_GZIP));
  engine.id = image.digest;
  engine.archive = layer(
    ...[...image.layers, image.config, image.bytes].map(blob),
    indexOf(image.bytes, image.mediaType),
  );
  const loaded = await engine.source.load(await engine.source.lock(engine.context), engine.context);
  assert.equal(parseManifest(loaded.manifest).layers[0]?.mediaType, OCI_LAYER_GZIP);
});

test("makes a kept layer anew when it was damaged in the cache", async (t) => {
  const engine = await fakeEngine(t);
  const image = foreignImage();
  engine.id = digestOf(image.config);
  engine.archive = classicExport(image);
  const lock = await engine.source.lock(engine.context);
  const first = await engine.source.load(lock, engine.context);
  const digest = first.layers[0]?.descriptor.digest as Digest;
  const path = join(engine.context.cacheDir, "engine", digest.slice(7));
  await writeFile(path, Buffer.alloc(first.layers[0]?.descriptor.size ?? 0));
  const second = await engine.source.load(lock, engine.context);
  assert.equal(digestOf(await bytesOf((second.layers[0] as (typeof second.layers)[0]).blob.open())), digest);
});

test("refuses an image that is another one by now, or whose export holds another one", async (t) => {
  const engine = await fakeEngine(t);
  const [image, other] = [foreignImage(), foreignImage({ content: Buffer.from("other") })];
  engine.id = digestOf(image.config);
  const lock = await engine.source.lock(engine.context);
  engine.archive = classicExport(other);
  await assert.rejects(engine.source.load(lock, engine.context), { code: "SOURCE_CHANGED" });
  engine.id = digestOf(other.config);
  await assert.rejects(engine.source.load(lock, engine.context), { code: "SOURCE_CHANGED" });
  await assert.rejects(engineSource("app:v2", { socketPath: engine.socketPath }).load(lock, engine.context), {
    code: "SOURCE_LOCK_STALE",
  });
});

test("refuses a layer that is not the one of the configuration", async (t) => {
  const engine = await fakeEngine(t);
  const [image, other] = [foreignImage(), foreignImage({ content: Buffer.from("other") })];
  engine.id = digestOf(image.config);
  engine.archive = oldExport({ ...image, tars: other.tars });
  const lock = await engine.source.lock(engine.context);
  await assert.rejects(engine.source.load(lock, engine.context), { code: "SOURCE_DIGEST_MISMATCH" });
});

test("fails when the export breaks off, and keeps nothing of it", async (t) => {
  const engine = await fakeEngine(t);
  const image = foreignImage();
  engine.id = digestOf(image.config);
  engine.archive = classicExport(image);
  engine.cutAt = 2000;
  const lock = await engine.source.lock(engine.context);
  await assert.rejects(engine.source.load(lock, engine.context), { code: "SOURCE_ENGINE_FAILED" });
  assert.deepEqual(await readdir(join(engine.context.cacheDir, "engine")), []);
});

test("fails on an export that ends early without an error, is empty or holds two images", async (t) => {
  const engine = await fakeEngine(t);
  const image = foreignImage();
  engine.id = digestOf(image.config);
  const whole = classicExport(image);
  for (const archive of [
    whole.subarray(0, 1024),
    whole.subarray(0, whole.length - 3 * 1024),
    Buffer.alloc(0),
    Buffer.from("{}"),
    layer(file("manifest.json", "[]")),
    layer(file("manifest.json", "not json")),
    layer(file("manifest.json", '[{"Config":"x","Layers":["y"]}]')),
    layer(file("manifest.json", '[{"Config":1,"Layers":[]},{}]')),
  ]) {
    engine.archive = archive;
    const lock = await engine.source.lock(engine.context);
    await assert.rejects(engine.source.load(lock, engine.context), { code: "SOURCE_LAYOUT_MALFORMED" });
  }
});

test("says what the engine does not have, for which platform, and where there is no engine", async (t) => {
  const engine = await fakeEngine(t);
  const from = (name: string, socketPath = engine.socketPath): ImageSource => engineSource(name, { socketPath });
  await assert.rejects(from("nothing").lock(engine.context), { code: "SOURCE_NOT_FOUND" });
  await assert.rejects(from("broken").lock(engine.context), { code: "SOURCE_ENGINE_FAILED" });
  await assert.rejects(from("app:v1").lock(engine.context), { code: "SOURCE_ENGINE_FAILED" });
  engine.id = digestOf("x");
  engine.platform = { Os: "linux", Architecture: "arm64" };
  await assert.rejects(from("app:v1").lock(engine.context), { code: "SOURCE_PLATFORM_MISSING" });
  await assert.rejects(from("app:v1", `${engine.socketPath}.no`).lock(engine.context), {
    code: "SOURCE_ENGINE_UNREACHABLE",
  });
});

test("refuses names that would ask the engine something else", () => {
  for (const name of [
    "",
    "../containers/json",
    "a/../b",
    "a?x=1",
    "a b",
    "a//b",
    "-a",
    "a#b",
    "a%2e",
    "x".repeat(2000),
  ]) {
    assert.throws(() => engineSource(name), { code: "SOURCE_REFERENCE_MALFORMED" }, name);
  }
});
