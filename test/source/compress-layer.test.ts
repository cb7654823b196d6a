import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { digestOf } from "../../bundles/model/digest.ts";
import { compressLayer } from "../../bundles/source/compress-layer.ts";
import { chunksOf } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";

const TAR = Buffer.concat(
  Array.from({ length: 3000 }, (_, i) => Buffer.from(`file ${i % 97} ${(i * 7919) % 4001}\n`.repeat(9))),
);

test("gives the same bytes however the tar comes in chunks", async (t) => {
  const directory = await scratch(t);
  const made = await Promise.all(
    [1000, 65_536, TAR.length].map((size) =>
      compressLayer(chunksOf(TAR, size), TAR.length, join(directory, String(size))),
    ),
  );
  for (const one of made) assert.deepEqual(one, made[0]);
  const bytes = await readFile(join(directory, "1000"));
  assert.equal(made[0]?.digest, digestOf(bytes));
  assert.equal(made[0]?.size, bytes.length);
  assert.equal(made[0]?.diffId, digestOf(TAR));
  assert.deepEqual(zstdDecompressSync(bytes), TAR);
});

test("leaves nothing behind when the tar breaks off or has another size", async (t) => {
  const directory = await scratch(t);
  async function* broken(): AsyncGenerator<Buffer> {
    yield TAR.subarray(0, 5000);
    throw new Error("gone");
  }
  await assert.rejects(compressLayer(broken(), TAR.length, join(directory, "a")), /gone/);
  await assert.rejects(compressLayer(chunksOf(TAR), TAR.length + 1, join(directory, "b")));
  await assert.rejects(compressLayer(chunksOf(TAR), TAR.length - 1, join(directory, "c")));
  assert.deepEqual(await readdir(directory), []);
});
