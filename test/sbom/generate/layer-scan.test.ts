import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { digestOf } from "../../../bundles/model/digest.ts";
import { OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD } from "../../../bundles/model/media-types.ts";
import { isWanted, LayerScanner, type ScanLimits, scanLayer } from "../../../sbom/generate/layer-scan.ts";
import {
  chunksOf,
  directory,
  END,
  file,
  header,
  layer,
  padded,
  pax,
  scanOf,
  symlink,
} from "../../support/layer-tar.ts";

const MANIFEST = '{"name":"a","version":"1.0.0"}';
const sample = layer(
  directory("app"),
  file("app/package.json", MANIFEST),
  file("app/main.js", "x".repeat(100_000), 0o755),
  file("app/.wh.gone"),
  file("lib/.wh..wh..opq"),
  file("lib/.wh..wh.plnk"),
  symlink("lib/link", "../app"),
);

for (const [mediaType, bytes] of [
  [OCI_LAYER_TAR, sample],
  [OCI_LAYER_GZIP, gzipSync(sample)],
  [OCI_LAYER_ZSTD, zstdCompressSync(sample)],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", gzipSync(sample)],
  // Parallel compressors write several members or frames; zstd:chunked ends with a skippable one.
  [OCI_LAYER_GZIP, Buffer.concat([gzipSync(sample.subarray(0, 5000)), gzipSync(sample.subarray(5000))])],
  [
    OCI_LAYER_ZSTD,
    Buffer.concat([
      zstdCompressSync(sample.subarray(0, 5000)),
      zstdCompressSync(sample.subarray(5000)),
      Buffer.from("502a4d1804000000deadbeef", "hex"),
    ]),
  ],
] as const) {
  for (const chunk of [1, 333, 1 << 20]) {
    if (chunk === 1 && mediaType === OCI_LAYER_TAR) continue;
    test(`finds diff_id, entries and wanted content in ${bytes.length} bytes of ${mediaType} by ${chunk}`, async () => {
      const scan = await scanLayer(chunksOf(bytes, chunk), mediaType);
      assert.equal(scan.diffId, digestOf(sample));
      assert.equal(scan.uncompressedBytes, sample.length);
      assert.deepEqual(scan.whiteouts, ["app/gone"]);
      assert.deepEqual(scan.opaqueDirectories, ["lib"]);
      assert.deepEqual(
        scan.entries.map(({ path, kind, link, isExecutable, content }) => [
          path,
          kind,
          link,
          isExecutable,
          content?.length,
        ]),
        [
          ["app", "directory", "", false, undefined],
          ["app/package.json", "file", "", false, MANIFEST.length],
          ["app/main.js", "file", "", true, undefined],
          ["lib/link", "symlink", "../app", false, undefined],
        ],
      );
    });
  }
}

test("lets the caller reuse the chunk that it passed", async () => {
  const bytes = zstdCompressSync(sample);
  const scanner = new LayerScanner(OCI_LAYER_ZSTD);
  const lent = Buffer.alloc(100);
  for (let at = 0; at < bytes.length; at += 100) {
    const length = bytes.copy(lent, 0, at, at + 100);
    await scanner.write(lent.subarray(0, length));
    lent.fill(0xff);
  }
  assert.equal((await scanner.end()).diffId, digestOf(sample));
});

async function refuses(
  bytes: Buffer,
  mediaType: string,
  code: string,
  limits: Partial<ScanLimits> = {},
): Promise<void> {
  for (const chunk of [97, 1 << 20]) {
    await assert.rejects(scanLayer(chunksOf(bytes, chunk), mediaType, limits), { code });
  }
}

const random = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (Math.imul(i, 2654435761) >>> 13) & 0xff));
const incompressible = layer(file("a", random));

test("refuses a truncated gzip or zstd layer at every length tried", async () => {
  for (const [mediaType, bytes] of [
    [OCI_LAYER_GZIP, gzipSync(incompressible)],
    [OCI_LAYER_ZSTD, zstdCompressSync(incompressible)],
  ] as const) {
    for (const length of [0, 1, 10, 100, bytes.length >> 1, bytes.length - 5, bytes.length - 1]) {
      await refuses(bytes.subarray(0, length), mediaType, "SBOM_LAYER_MALFORMED");
    }
  }
});

test("refuses bytes after the compressed data", async () => {
  const tails = [Buffer.from("garbage!"), Buffer.alloc(64)];
  for (const tail of tails) {
    await refuses(Buffer.concat([zstdCompressSync(sample), tail]), OCI_LAYER_ZSTD, "SBOM_LAYER_MALFORMED");
    await refuses(Buffer.concat([gzipSync(sample), tail]), OCI_LAYER_GZIP, "SBOM_LAYER_MALFORMED");
  }
});

test("refuses a flipped byte in compressed data", async () => {
  const bytes = gzipSync(incompressible);
  bytes[bytes.length - 6] = (bytes[bytes.length - 6] as number) ^ 1;
  await refuses(bytes, OCI_LAYER_GZIP, "SBOM_LAYER_MALFORMED");
});

test("refuses a layer whose bytes are compressed otherwise than its media type says", async () => {
  await refuses(gzipSync(sample), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
  await refuses(zstdCompressSync(sample), OCI_LAYER_GZIP, "SBOM_LAYER_MALFORMED");
  await refuses(sample, OCI_LAYER_ZSTD, "SBOM_LAYER_MALFORMED");
});

test("refuses a media type that is no layer", async () => {
  for (const mediaType of ["application/json", "", "__proto__", "constructor"]) {
    await refuses(sample, mediaType, "SBOM_MEDIA_TYPE_UNSUPPORTED");
  }
});

test("stops a decompression bomb at the limit, long before its end", async () => {
  const bomb = (compress: (bytes: Buffer) => Buffer): Buffer => {
    const size = 64 << 20;
    return compress(Buffer.concat([header({ path: "zeros", size, type: "File" }), Buffer.alloc(size), END]));
  };
  const limits = { layerBytes: 4 << 20 };
  for (const [mediaType, bytes] of [
    [OCI_LAYER_GZIP, bomb((plain) => gzipSync(plain, { level: 1 }))],
    [OCI_LAYER_ZSTD, bomb((plain) => zstdCompressSync(plain))],
  ] as const) {
    const scanner = new LayerScanner(mediaType, limits);
    await assert.rejects(scanner.write(bytes), { code: "SBOM_LAYER_TOO_LARGE" });
    await assert.rejects(scanner.write(bytes), { code: "SBOM_LAYER_TOO_LARGE" });
    await assert.rejects(scanner.end(), { code: "SBOM_LAYER_TOO_LARGE" });
  }
});

test("refuses more entries, longer names and more content than the limits", async () => {
  const many = layer(...Array.from({ length: 11 }, (_, i) => file(`file-${i}`)));
  await refuses(many, OCI_LAYER_TAR, "SBOM_LAYER_TOO_LARGE", { entries: 10 });
  await refuses(many, OCI_LAYER_TAR, "SBOM_LAYER_TOO_LARGE", { nameBytes: 60 });
  const wanted = layer(file("package.json", "x".repeat(600)), file("app/package.json", "x".repeat(600)));
  await refuses(wanted, OCI_LAYER_TAR, "SBOM_FILE_TOO_LARGE", { fileBytes: 500 });
  await refuses(wanted, OCI_LAYER_TAR, "SBOM_LAYER_TOO_LARGE", { keptBytes: 1000 });
  assert.equal((await scanOf(wanted)).entries[1]?.content?.length, 600);
});

test("refuses a wanted file of terabytes at its header", async () => {
  const huge = header({ path: "var/lib/dpkg/status", size: 2 ** 42, type: "File" });
  await refuses(huge, OCI_LAYER_TAR, "SBOM_FILE_TOO_LARGE");
});

test("takes absolute and dotted names as paths below the root, and refuses those that leave it", async () => {
  const scan = await scanOf(layer(file("/etc/os-release"), file("./a//b/../c"), file(".wh.x"), directory(".")));
  assert.deepEqual(
    scan.entries.map((entry) => entry.path),
    ["etc/os-release", "a/c", ""],
  );
  assert.deepEqual(scan.whiteouts, ["x"]);
  for (const name of ["../x", "a/../../x", "/..", "a/b/../../.."]) {
    await refuses(layer(file(name)), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
  }
});

test("refuses whiteouts that name nothing, and names longer than Linux has", async () => {
  for (const name of ["a/.wh.", "a/.wh..", "a/.wh..."]) {
    await refuses(layer(file(name)), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
  }
  await refuses(layer(pax({ path: "x/".repeat(3000) }), file("short")), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
  await refuses(layer(pax({ linkpath: "x/".repeat(3000) }), symlink("s", "t")), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
});

test("refuses a wanted file that is stored sparse, and takes another", async () => {
  const sparse = (name: string): Buffer =>
    layer(pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name }), file("x", "map"));
  await refuses(sparse("var/lib/dpkg/status"), OCI_LAYER_TAR, "SBOM_LAYER_MALFORMED");
  assert.equal((await scanOf(sparse("var/data"))).entries.length, 1);
});

test("keeps a file that may be a hardlinked package.json, and says of others that they are none", async () => {
  const scan = await scanOf(
    layer(
      file("store/1", MANIFEST),
      file("store/2", '{"a":1}'),
      file("store/3", "text"),
      file("store/4", "{".padEnd(200_000)),
    ),
  );
  assert.deepEqual(
    scan.entries.map(({ content, isNoManifest }) => [content?.length, isNoManifest]),
    [
      [MANIFEST.length, false],
      [undefined, true],
      [undefined, true],
      [undefined, false],
    ],
  );
});

test("knows which files the catalogers read", () => {
  for (const path of [
    "package.json",
    "app/package.json",
    "app/node_modules/a/package.json",
    "node_modules/@s/a/package.json",
    "x/node_modules/a/node_modules/b/package.json",
    "node_modules/.pnpm/a@1/node_modules/a/package.json",
    "my_node_modules/a/b/package.json",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/libc6",
    "var/lib/dpkg/info/libc6:amd64.list",
    "etc/os-release",
    "usr/lib/os-release",
  ]) {
    assert.ok(isWanted(path), path);
  }
  for (const path of [
    "node_modules/a/lib/package.json",
    "node_modules/a/test/b/package.json",
    "app/package.json5",
    "xpackage.json",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/info/libc6.postinst",
    "app/etc/os-release",
  ]) {
    assert.ok(!isWanted(path), path);
  }
});

test("passes on the error of the stream that it reads", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield gzipSync(sample).subarray(0, 50);
    throw new Error("source gave up");
  }
  await assert.rejects(scanLayer(broken(), OCI_LAYER_GZIP), /source gave up/);
});

test("holds no more than a few megabytes while a large layer passes", async () => {
  const scanner = new LayerScanner(OCI_LAYER_TAR);
  const piece = Buffer.alloc(1 << 20, "x");
  const before = process.memoryUsage();
  await scanner.write(header({ path: "big", size: 256 << 20, type: "File" }));
  for (let i = 0; i < 256; i += 1) await scanner.write(piece);
  await scanner.write(padded(""));
  await scanner.write(END);
  const after = process.memoryUsage();
  assert.equal((await scanner.end()).entries.length, 1);
  assert.ok(after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed < 32 << 20);
});
