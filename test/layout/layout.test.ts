import assert from "node:assert/strict";
import { readFile, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { blobName, closeStore, openLayout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, smallRelease, writeDirectory, writeSmallBundle, writeTar } from "../support/small-bundle.ts";
import { coded } from "../support/test-trust.ts";

async function withLayout(
  path: string,
  work: (layout: ReturnType<typeof openLayout>["layout"]) => unknown,
): Promise<void> {
  const { layout, store } = openLayout(path);
  try {
    await work(layout);
  } finally {
    closeStore(store);
  }
}

for (const kind of ["tar", "directory"] as const) {
  test(`reads the same release from a ${kind}`, async (t) => {
    const small = smallRelease();
    const path = join(await scratch(t), "bundle");
    if (kind === "tar") await writeSmallBundle(path, small);
    else await writeDirectory(path, bundleFiles(small));
    await withLayout(path, async (layout) => {
      const index = readLayoutIndex(layout);
      assert.equal(index.release.digest, small.release.descriptor.digest);
      assert.deepEqual(readRelease(layout, index.release), small.release);
      const digest = small.release.document.descriptor.digest;
      const chunks = [];
      for await (const chunk of layout.stream(digest)) chunks.push(chunk);
      assert.deepEqual(Buffer.concat(chunks), small.blobs.get(digest));
    });
  });
}

test("the writer's tar is the canonical tar of its files", async (t) => {
  const directory = await scratch(t);
  const small = await writeSmallBundle(join(directory, "a"));
  await writeTar(join(directory, "b"), bundleFiles(small));
  assert.deepEqual(await readFile(join(directory, "a")), await readFile(join(directory, "b")));
});

test("fails a read and a stream of a blob whose bytes changed", async (t) => {
  const small = smallRelease();
  const [digest] = small.release.manifest.images.map((image) => image.digest) as [Digest];
  const path = join(await scratch(t), "bundle");
  const files = bundleFiles(small).map(([name, bytes]): [string, Buffer] => {
    if (name !== blobName(digest)) return [name, bytes];
    const changed = Buffer.from(bytes);
    changed[0] = (changed[0] as number) ^ 1;
    return [name, changed];
  });
  await writeTar(path, files);
  await withLayout(path, async (layout) => {
    assert.throws(() => layout.read(digest, 1e6), coded("LAYOUT_DIGEST_MISMATCH"));
    await assert.rejects(async () => {
      for await (const _ of layout.stream(digest));
    }, coded("LAYOUT_DIGEST_MISMATCH"));
    assert.throws(() => layout.read(`sha256:${"0".repeat(64)}` as Digest, 1e6), coded("LAYOUT_BLOB_MISSING"));
    assert.throws(() => layout.read(digest, 3), coded("LAYOUT_SIZE_MISMATCH"));
  });
});

test("refuses what is not there, not a bundle, truncated or foreign", async (t) => {
  const directory = await scratch(t);
  assert.throws(() => openLayout(join(directory, "nothing")), coded("LAYOUT_NOT_FOUND"));
  assert.throws(() => openLayout("/dev/null"), coded("LAYOUT_NOT_A_LAYOUT"));
  assert.throws(() => openLayout(directory), coded("LAYOUT_NOT_A_LAYOUT"));
  const path = join(directory, "bundle");
  await writeSmallBundle(path);
  await truncate(path, 4096);
  assert.throws(() => openLayout(path), coded("LAYOUT_TRUNCATED"));
  await writeTar(path, [["../escape", Buffer.from("x")]]);
  assert.throws(() => openLayout(path), coded("LAYOUT_FOREIGN_FILE"));
});

test("refuses a foreign file or a symbolic link in a directory layout", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeDirectory(path, bundleFiles(smallRelease()));
  await writeFile(join(path, "blobs/sha256/README"), "hello");
  assert.throws(() => openLayout(path), coded("LAYOUT_FOREIGN_FILE"));
  const linked = join(await scratch(t), "bundle");
  await writeDirectory(linked, bundleFiles(smallRelease()));
  await symlink("/etc/passwd", join(linked, `blobs/sha256/${"0".repeat(64)}`));
  assert.throws(() => openLayout(linked), coded("LAYOUT_FOREIGN_FILE"));
});
