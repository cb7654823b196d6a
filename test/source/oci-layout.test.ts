import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_INDEX } from "../../bundles/model/media-types.ts";
import { scanForeignTar } from "../../bundles/source/foreign-tar.ts";
import { layoutSource } from "../../bundles/source/oci-layout.ts";
import { bytesOf, type ForeignImage, foreignImage, foreignIndex, sourceContext } from "../support/foreign-images.ts";
import { file, gnuLong, header, layer, padded, pax, symlink, directory as tarDirectory } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, writeSmallBundle } from "../support/small-bundle.ts";

type Files = Map<string, Buffer>;

function named(image: ForeignImage, ...names: string[]): Partial<Descriptor>[] {
  const entry = { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length };
  if (names.length === 0) return [entry];
  return names.map((name) => ({ ...entry, annotations: { "org.opencontainers.image.ref.name": name } }));
}

/** The files of a layout with these images; `entries` is what index.json lists. */
function layoutFiles(
  images: readonly ForeignImage[],
  entries: readonly object[],
  extra: readonly Buffer[] = [],
): Files {
  const files: Files = new Map([["oci-layout", Buffer.from('{"imageLayoutVersion": "1.0.0"}\n')]]);
  for (const bytes of [...images.flatMap((image) => [image.bytes, image.config, ...image.layers]), ...extra]) {
    files.set(`blobs/sha256/${digestOf(bytes).slice(7)}`, bytes);
  }
  files.set("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: entries })));
  return files;
}

async function write(root: string, files: Files): Promise<void> {
  await mkdir(join(root, "blobs/sha256"), { recursive: true });
  for (const [name, bytes] of files) await writeFile(join(root, name), bytes);
}

/** A directory layout with one image called v1. */
async function oneImage(t: TestContext, image = foreignImage()): Promise<{ directory: string; image: ForeignImage }> {
  const directory = await scratch(t);
  await write(join(directory, "images"), layoutFiles([image], named(image, "v1")));
  return { directory, image };
}

async function assertCarries(reference: string, directory: string, image: ForeignImage): Promise<void> {
  const context = sourceContext(directory);
  const source = layoutSource(reference);
  const lock = await source.lock(context);
  assert.deepEqual(lock, { kind: "layout", digest: image.digest }, reference);
  const loaded = await source.load(lock, context);
  assert.deepEqual(loaded.manifest, image.bytes);
  assert.deepEqual(loaded.config, image.config);
  for (const [i, { blob }] of loaded.layers.entries()) assert.deepEqual(await bytesOf(blob.open()), image.layers[i]);
  assert.equal(loaded.materials[0]?.digest["sha256"], image.digest.slice(7));
}

test("carries an image out of a directory layout, by name, by digest and by being the only one", async (t) => {
  const { directory, image } = await oneImage(t);
  for (const reference of ["images#v1", `images#${image.digest}`, "images", join(directory, "images#v1")]) {
    await assertCarries(reference, directory, image);
  }
});

test("reads the tars that GNU tar and others write, with directories, dots, pax and long names", async (t) => {
  const { directory, image } = await oneImage(t);
  for (const format of ["ustar", "pax", "gnu"]) {
    execFileSync("tar", [
      `--format=${format}`,
      "-C",
      join(directory, "images"),
      "-cf",
      join(directory, `${format}.tar`),
      ".",
    ]);
    await assertCarries(`${format}.tar#v1`, directory, image);
  }
  const files = [...layoutFiles([image], named(image, "v1"))];
  const parts = files.flatMap(([name, bytes], i) =>
    i % 2 === 0
      ? [pax({ path: name, size: String(bytes.length) }), header({ path: "x", size: 0, type: "File" }), padded(bytes)]
      : [gnuLong(name), file("x", bytes)],
  );
  const global = pax({ comment: "made by a test" }, "GlobalExtendedHeader");
  await writeFile(
    join(directory, "long.tar"),
    layer(global, tarDirectory("blobs"), ...parts, symlink("link", "index.json")),
  );
  await assertCarries("long.tar", directory, image);
});

test("carries an image out of a bundle of Sealift", async (t) => {
  const directory = await scratch(t);
  const small = await writeSmallBundle(join(directory, "b.tar"), smallRelease());
  const context = sourceContext(directory);
  for (const [name, { descriptor }] of small.release.images) {
    const lock = await layoutSource(`b.tar#${name}`).lock(context);
    assert.equal(lock.kind === "layout" && lock.digest, descriptor.digest);
    await layoutSource(`b.tar#${name}`).load(lock, context);
  }
  await assert.rejects(layoutSource("b.tar#model").lock(context), { code: "SOURCE_UNSUPPORTED" });
  await assert.rejects(layoutSource("b.tar").lock(context), { code: "SOURCE_REFERENCE_AMBIGUOUS" });
});

test("takes the platform's image of an index and of several entries with one name", async (t) => {
  const directory = await scratch(t);
  const [amd64, arm64] = [foreignImage(), foreignImage({ architecture: "arm64" })];
  const index = foreignIndex([
    [{ os: "linux", architecture: "arm64" }, arm64],
    [{ os: "linux", architecture: "amd64" }, amd64],
  ]);
  const entry = { mediaType: OCI_INDEX, digest: digestOf(index), size: index.length };
  await write(join(directory, "indexed"), layoutFiles([amd64, arm64], [entry], [index]));
  const flat = [amd64, arm64].flatMap((image, i) =>
    named(image, "v1").map((item) => ({
      ...item,
      platform: { os: "linux", architecture: i === 0 ? "amd64" : "arm64" },
    })),
  );
  await write(join(directory, "flat"), layoutFiles([amd64, arm64], flat));
  for (const reference of ["indexed", "flat#v1", "flat"]) {
    for (const [platform, image] of [
      ["linux/amd64", amd64],
      ["linux/arm64", arm64],
    ] as const) {
      const lock = await layoutSource(reference).lock(sourceContext(directory, platform));
      assert.equal(lock.kind === "layout" && lock.digest, image.digest, `${reference} ${platform}`);
    }
    await assert.rejects(layoutSource(reference).lock(sourceContext(directory, "linux/s390x")), {
      code: "SOURCE_PLATFORM_MISSING",
    });
  }
});

test("refuses an only image for another platform", async (t) => {
  const { directory } = await oneImage(t, foreignImage({ architecture: "arm64" }));
  await assert.rejects(layoutSource("images").lock(sourceContext(directory)), { code: "SOURCE_PLATFORM_MISSING" });
});

test("converts Docker's media types, with the old digest as lock and material", async (t) => {
  const image = foreignImage({ docker: true });
  const { directory } = await oneImage(t, image);
  const context = sourceContext(directory);
  const lock = await layoutSource("images#v1").lock(context);
  assert.equal(lock.kind === "layout" && lock.digest, image.digest);
  const loaded = await layoutSource("images#v1").load(lock, context);
  assert.ok(!loaded.manifest.includes("docker"));
  assert.equal(loaded.materials[0]?.digest["sha256"], image.digest.slice(7));
});

test("refuses a name that stands for another image than the lock's", async (t) => {
  const { directory, image } = await oneImage(t);
  const context = sourceContext(directory);
  const source = layoutSource("images#v1");
  const lock = await source.lock(context);
  const other = foreignImage({ content: Buffer.from("other") });
  await rename(join(directory, "images"), join(directory, "old"));
  await write(join(directory, "images"), layoutFiles([other], named(other, "v1")));
  await assert.rejects(source.load(lock, context), { code: "SOURCE_CHANGED" });
  await assert.rejects(source.load({ kind: "registry", reference: "x", digest: image.digest }, context), {
    code: "SOURCE_LOCK_STALE",
  });
});

test("says what is missing, cut short or damaged", async (t) => {
  const image = foreignImage();
  const directory = await scratch(t);
  const context = sourceContext(directory);
  const name = (bytes: Buffer | undefined): string => `blobs/sha256/${digestOf(bytes ?? "").slice(7)}`;
  for (const [what, code, change] of [
    ["a layer missing", "SOURCE_LAYOUT_MALFORMED", (files: Files) => files.delete(name(image.layers[0]))],
    [
      "a layer longer",
      "SOURCE_LAYOUT_MALFORMED",
      (files: Files) => files.set(name(image.layers[0]), Buffer.alloc(9999)),
    ],
    ["the config missing", "SOURCE_LAYOUT_MALFORMED", (files: Files) => files.delete(name(image.config))],
    [
      "the config changed",
      "SOURCE_DIGEST_MISMATCH",
      (files: Files) => files.set(name(image.config), Buffer.from(image.config.toString().replace("1:1", "0:0"))),
    ],
    [
      "the manifest changed",
      "SOURCE_DIGEST_MISMATCH",
      (files: Files) => files.set(name(image.bytes), Buffer.from("{}")),
    ],
    ["no index", "SOURCE_LAYOUT_MALFORMED", (files: Files) => files.delete("index.json")],
    ["a bad index", "OCI_MALFORMED", (files: Files) => files.set("index.json", Buffer.from("[]"))],
    [
      "an empty index",
      "SOURCE_NOT_FOUND",
      (files: Files) => files.set("index.json", Buffer.from('{"schemaVersion":2,"manifests":[]}')),
    ],
  ] as const) {
    const root = what.replaceAll(" ", "-");
    const files = layoutFiles([image], named(image, "v1"));
    change(files);
    await write(join(directory, root), files);
    await assert.rejects(layoutSource(root).lock(context), { code }, what);
  }
  await assert.rejects(layoutSource("images#v2").lock(context), { code: "SOURCE_NOT_FOUND" });
  await assert.rejects(layoutSource("no-such-directory").lock(context), { code: "SOURCE_NOT_FOUND" });
  for (const reference of ["", "#x", "x#"])
    assert.throws(() => layoutSource(reference), { code: "SOURCE_REFERENCE_MALFORMED" });
});

test("refuses a circle of indexes", async (t) => {
  const directory = await scratch(t);
  let inner = foreignIndex([[{ os: "linux", architecture: "amd64" }, foreignImage()]]);
  const indexes = [inner];
  for (let depth = 0; depth < 5; depth += 1) {
    const manifests = [{ mediaType: OCI_INDEX, digest: digestOf(inner), size: inner.length }];
    inner = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
    indexes.push(inner);
  }
  const entry = { mediaType: OCI_INDEX, digest: digestOf(inner), size: inner.length };
  await write(join(directory, "deep"), layoutFiles([], [entry], indexes));
  await assert.rejects(layoutSource("deep").lock(sourceContext(directory)), { code: "SOURCE_UNSUPPORTED" });
});

test("refuses tars that are compressed, damaged, cut short, or name a file twice or outside", async (t) => {
  const { directory, image } = await oneImage(t);
  const context = sourceContext(directory);
  execFileSync("tar", [
    "-C",
    join(directory, "images"),
    "-cf",
    join(directory, "good.tar"),
    "index.json",
    "oci-layout",
    "blobs",
  ]);
  const good = await readFile(join(directory, "good.tar"));
  const flipped = Buffer.from(good);
  flipped[5] = (flipped[5] ?? 0) ^ 1;
  for (const [what, bytes, code] of [
    ["gzip", gzipSync(good), "SOURCE_UNSUPPORTED"],
    ["flipped", flipped, "SOURCE_LAYOUT_MALFORMED"],
    ["short", good.subarray(0, 700), "SOURCE_LAYOUT_MALFORMED"],
    ["empty", Buffer.alloc(0), "SOURCE_LAYOUT_MALFORMED"],
    ["zeros", Buffer.alloc(10_240), "SOURCE_LAYOUT_MALFORMED"],
    ["text", Buffer.from("no tar ".repeat(1000)), "SOURCE_LAYOUT_MALFORMED"],
    ["twice", layer(file("index.json", "{}"), file("./index.json", "{}")), "SOURCE_LAYOUT_MALFORMED"],
    ["outside", layer(file("../index.json", "{}")), "SOURCE_LAYOUT_MALFORMED"],
    ["long header", layer(header({ path: "x", size: 2 ** 30, type: "ExtendedHeader" })), "SOURCE_LAYOUT_MALFORMED"],
  ] as const) {
    await writeFile(join(directory, `${what}.tar`), bytes);
    await assert.rejects(layoutSource(`${what}.tar`).lock(context), { code }, what);
  }
  await assertCarries("good.tar", directory, image);
});

test("never crashes on a tar with any one byte of a header changed", () => {
  const good = layer(file("index.json", "{}"), pax({ path: "long" }), file("x", "y".repeat(600)), symlink("a", "b"));
  for (let at = 0; at < good.length; at += 1) {
    const bytes = Buffer.from(good);
    bytes[at] = ((bytes[at] ?? 0) + 37) % 256;
    const readAt = (buffer: Uint8Array, position: number): number =>
      bytes.copy(buffer, 0, position, position + buffer.length);
    try {
      scanForeignTar(readAt, bytes.length, "tar");
    } catch (cause) {
      assert.equal((cause as { code?: string }).code, "SOURCE_LAYOUT_MALFORMED", String(cause));
    }
  }
});
