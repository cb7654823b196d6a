import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { closeStore, INDEX_FILE, type Layout, openLayout } from "../../../bundles/layout/layout.ts";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import type { Descriptor } from "../../../bundles/model/descriptor.ts";
import { digestOf, hexOf } from "../../../bundles/model/digest.ts";
import { DOCKER_MANIFEST_LIST, OCI_INDEX } from "../../../bundles/model/media-types.ts";
import { parseSbom } from "../../../sbom/document.ts";
import { imageInLayout, storedImageSbom } from "../../../sbom/generate/stored-image.ts";
import { scratch } from "../../support/scratch.ts";
import { type SmallImage, smallImage, smallRelease, writeSmallBundle } from "../../support/small-bundle.ts";

const created = "2026-01-02T03:04:05Z";
const options = {
  toolVersion: "0.0.0-test",
  specVersion: "1.6",
  fallbackName: "fallback",
  fallbackTime: "2001-01-01T00:00:00Z",
  onLayer: () => {},
} as const;

async function withLayout<T>(path: string, use: (layout: Layout) => T | Promise<T>): Promise<T> {
  const { layout, store } = openLayout(path);
  try {
    return await use(layout);
  } finally {
    closeStore(store);
  }
}

/** An OCI layout directory as other tools write it. */
async function writeLayout(
  root: string,
  images: readonly SmallImage[],
  entries: readonly Descriptor[],
  more: readonly Buffer[] = [],
): Promise<void> {
  const files = new Map<string, Buffer>([
    ["oci-layout", Buffer.from('{"imageLayoutVersion": "1.0.0"}\n')],
    [INDEX_FILE, canonicalJson({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: entries })],
  ]);
  for (const { blobs } of images)
    for (const [digest, bytes] of blobs) files.set(`blobs/sha256/${hexOf(digest)}`, bytes);
  for (const bytes of more) files.set(`blobs/sha256/${hexOf(digestOf(bytes))}`, bytes);
  for (const [name, bytes] of files) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), bytes);
  }
}

const named = (image: SmallImage, name?: string): Descriptor =>
  name === undefined
    ? image.descriptor
    : { ...image.descriptor, annotations: { "org.opencontainers.image.ref.name": name } };

test("describes an image of a bundle under its name, digest and the release's time", async (context) => {
  const path = join(await scratch(context), "bundle.tar");
  const { release } = await writeSmallBundle(path, smallRelease());
  await withLayout(path, async (layout) => {
    const digest = release.images.get("gateway")?.descriptor.digest ?? "";
    for (const ref of ["gateway", digest]) {
      const sbom = parseSbom(await storedImageSbom(imageInLayout(layout, ref), options));
      assert.equal(sbom.subject?.name, "gateway");
      assert.equal(sbom.subject?.version, digest);
      assert.equal(sbom.timestamp, release.manifest.created);
      assert.deepEqual(
        sbom.components.map((component) => component.name),
        ["debian", "base-files", "gateway"],
      );
    }
    for (const ref of [undefined, "nothing", release.manifest.version, digestOf("x")]) {
      assert.throws(() => imageInLayout(layout, ref), { code: "SBOM_IMAGE_NOT_FOUND" });
    }
  });
});

test("describes the only image of a layout that another tool made, named or not", async (context) => {
  const image = smallImage({ name: "app" }, created, "linux/amd64");
  for (const [i, [name, want]] of (
    [
      [undefined, "fallback"],
      ["registry.invalid:5000/team/App:1.2", "app"],
    ] as const
  ).entries()) {
    const root = join(await scratch(context), String(i));
    await writeLayout(root, [image], [named(image, name)]);
    await withLayout(root, async (layout) => {
      const sbom = parseSbom(await storedImageSbom(imageInLayout(layout, undefined), options));
      assert.equal(sbom.subject?.name, want);
      assert.equal(sbom.timestamp, created);
    });
  }
});

test("takes one manifest with two names for one image, and wants a choice between two", async (context) => {
  const root = await scratch(context);
  const [one, two] = ["one", "two"].map((name) => smallImage({ name }, created, "linux/amd64")) as [
    SmallImage,
    SmallImage,
  ];
  await writeLayout(join(root, "same"), [one], [named(one, "a"), named(one, "b")]);
  await withLayout(join(root, "same"), (layout) => assert.equal(imageInLayout(layout, undefined).name, "a"));
  await writeLayout(join(root, "two"), [one, two], [named(one, "a"), named(two, "b")]);
  await withLayout(join(root, "two"), (layout) => {
    assert.ok(imageInLayout(layout, "b").manifest.equals(two.manifest));
    assert.throws(() => imageInLayout(layout, undefined), { code: "SBOM_IMAGE_NOT_FOUND" });
  });
});

test("finds the one platform of an index that the layout has, and leaves attestations out", async (context) => {
  const root = await scratch(context);
  const image = smallImage({ name: "app" }, created, "linux/arm64");
  const absent = { ...image.descriptor, digest: digestOf("absent"), platform: { os: "linux", architecture: "amd64" } };
  const index = canonicalJson({
    schemaVersion: 2,
    mediaType: DOCKER_MANIFEST_LIST,
    manifests: [
      absent,
      { ...image.descriptor, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
      { ...image.descriptor, platform: { os: "unknown", architecture: "unknown" } },
    ],
  });
  await writeLayout(
    root,
    [image],
    [{ mediaType: DOCKER_MANIFEST_LIST, digest: digestOf(index), size: index.length }],
    [index],
  );
  await withLayout(root, (layout) => assert.ok(imageInLayout(layout, undefined).manifest.equals(image.manifest)));
});

test("fails when a layer's bytes are not those of its digest", async (context) => {
  const root = await scratch(context);
  const image = smallImage({ name: "app" }, created, "linux/amd64");
  await writeLayout(root, [image], [image.descriptor]);
  const layer =
    [...image.blobs.keys()].find((digest) => !image.blobs.get(digest)?.toString().startsWith("{")) ?? digestOf("");
  const bytes = Buffer.from(image.blobs.get(layer) as Buffer);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
  await writeFile(join(root, "blobs/sha256", hexOf(layer)), bytes);
  await withLayout(root, async (layout) => {
    await assert.rejects(storedImageSbom(imageInLayout(layout, undefined), options), (cause: { code?: string }) =>
      ["LAYOUT_DIGEST_MISMATCH", "SBOM_LAYER_MALFORMED"].includes(cause.code ?? ""),
    );
  });
});
