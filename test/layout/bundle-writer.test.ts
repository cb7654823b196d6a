import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { BundleWriter } from "../../bundles/layout/bundle-writer.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const bytes = Buffer.from("some bytes");

const lies = [
  {
    what: "another digest",
    code: "LAYOUT_DIGEST_MISMATCH",
    digest: digestOf("other"),
    size: bytes.length,
    chunks: [bytes],
  },
  {
    what: "too little",
    code: "LAYOUT_SIZE_MISMATCH",
    digest: digestOf(bytes),
    size: bytes.length + 1,
    chunks: [bytes],
  },
  {
    what: "too much",
    code: "LAYOUT_SIZE_MISMATCH",
    digest: digestOf(bytes),
    size: bytes.length,
    chunks: [bytes, bytes],
  },
];

for (const { what, code, digest, size, chunks } of lies) {
  test(`discards the new bundle and keeps the old one when a source gives ${what}`, async (t) => {
    const directory = await scratch(t);
    const path = join(directory, "bundle");
    await writeFile(path, "old");
    const writer = await BundleWriter.create(path);
    const open = async function* () {
      yield* chunks;
    };
    await assert.rejects(writer.writeBlob({ digest, size, open }), coded(code));
    assert.deepEqual(await readdir(directory), ["bundle"]);
    assert.equal(await readFile(path, "utf8"), "old");
  });
}

test("keeps the old bundle when a source breaks off", async (t) => {
  const directory = await scratch(t);
  const path = join(directory, "bundle");
  await writeFile(path, "old");
  const writer = await BundleWriter.create(path);
  const open = async function* () {
    yield bytes.subarray(0, 4);
    throw new Error("connection reset");
  };
  await assert.rejects(
    writer.writeBlob({ digest: digestOf(bytes), size: bytes.length, open }),
    coded("LAYOUT_WRITE_FAILED"),
  );
  assert.deepEqual(await readdir(directory), ["bundle"]);
});

test("cannot start in a directory that is not there", async (t) => {
  const path = join(await scratch(t), "missing/bundle");
  await assert.rejects(BundleWriter.create(path), coded("LAYOUT_WRITE_FAILED"));
});
