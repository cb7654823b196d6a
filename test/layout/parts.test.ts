import assert from "node:assert/strict";
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import test from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout, openStore } from "../../bundles/layout/layout.ts";
import { requireUndamaged } from "../../bundles/layout/parts.ts";
import { tarBytes } from "../../bundles/layout/tar-bytes.ts";
import { writeSignatures } from "../../bundles/sign/attach.ts";
import { makeParts } from "../support/parts.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, smallRelease, writeDirectory, writeSmallBundle } from "../support/small-bundle.ts";

const coded =
  (code: string, ...words: string[]) =>
  (error: { code?: string; message?: string }) => {
    assert.equal(error.code, code);
    for (const word of words) assert.ok(error.message?.includes(word), `${word} in: ${error.message}`);
    return true;
  };

/** A small bundle in parts, without parity: this side does not look at it. */
async function bundleInParts(t: Parameters<typeof scratch>[0], version = "1.0.0", count = 4) {
  const root = await scratch(t);
  const small = smallRelease({ version });
  const bundle = join(root, "bundle.tar");
  await writeSmallBundle(bundle, small);
  const out = join(root, "parts");
  const { layout, store } = openLayout(bundle);
  const { size } = await stat(bundle);
  const { parts } = await makeParts(out, {
    bundle: tarBytes(store, layout),
    name: `test-${version}-12345678`,
    sizeBytes: Math.ceil(size / count),
    parity: 0,
  });
  closeStore(store);
  return {
    root,
    bundle,
    out,
    small,
    parts: parts.map(({ name }) => join(out, name)) as [string, string, string, string],
  };
}

async function readWhole(path: string): Promise<Buffer> {
  const { layout, store } = openLayout(path);
  try {
    readRelease(layout, readLayoutIndex(layout).release);
    for (const digest of layout.blobDigests()) for await (const _ of layout.stream(digest));
    return Buffer.concat([...tarBytes(store, layout).chunks()].map((chunk) => Buffer.from(chunk)));
  } finally {
    closeStore(store);
  }
}

test("parts, one of them, a directory layout and the tar are the same bundle, byte for byte", async (t) => {
  const { root, bundle, out, small, parts } = await bundleInParts(t);
  const want = await readFile(bundle);
  await writeDirectory(join(root, "layout"), bundleFiles(small));
  for (const path of [bundle, out, parts[2], join(root, "layout")]) {
    assert.ok((await readWhole(path)).equals(want), path);
  }
});

test("parts on several media below one directory are one bundle, also where a medium wrote names in capitals", async (t) => {
  const { bundle, out, parts } = await bundleInParts(t);
  for (const [i, part] of parts.entries()) {
    await mkdir(join(out, `disc${i}`));
    await rename(part, join(out, `disc${i}`, part.slice(dirname(part).length + 1).toUpperCase()));
  }
  assert.ok((await readWhole(out)).equals(await readFile(bundle)));
});

test("missing parts are named", async (t) => {
  const { out, parts } = await bundleInParts(t);
  await rm(parts[1]);
  await rm(parts[3]);
  assert.throws(() => openStore(out), coded("PARTS_MISSING", "part02-of-04, ", "part04-of-04 missing"));
});

test("a part that is a link or a pipe's name only is as good as missing", async (t) => {
  const { root, out, parts } = await bundleInParts(t);
  await rename(parts[0], join(root, "elsewhere"));
  await symlink(join(root, "elsewhere"), parts[0]);
  assert.throws(() => openStore(out), coded("PARTS_MISSING", "part01-of-04"));
});

test("parts of two releases in one directory are refused unless one is named", async (t) => {
  const { bundle, out, parts } = await bundleInParts(t);
  const other = await bundleInParts(t, "1.0.1");
  for (const name of await readdir(other.out)) await copyFile(join(other.out, name), join(out, name));
  assert.throws(() => openStore(out), coded("PARTS_MIXED", "1.0.0", "1.0.1"));
  assert.ok((await readWhole(parts[0])).equals(await readFile(bundle)));
});

test("parts of one release that was cut in two ways are refused, and numbers that cannot be", async (t) => {
  const { out, parts } = await bundleInParts(t);
  const other = await bundleInParts(t, "1.0.0", 3);
  await rm(parts[2]);
  await copyFile(other.parts[2], join(out, "test-1.0.0-12345678.part03-of-03"));
  assert.throws(() => openStore(out), coded("PARTS_MIXED"));
  await rename(join(out, "test-1.0.0-12345678.part03-of-03"), join(out, "test-1.0.0-12345678.part05-of-04"));
  assert.throws(() => openStore(out), coded("PARTS_MIXED", "number 5"));
  await rename(join(dirname(parts[3]), "test-1.0.0-12345678.part05-of-04"), parts[3]);
  await copyFile(parts[3], parts[3].replace("of-04", "of-00"));
  assert.throws(() => openStore(out), coded("PARTS_MIXED", "of-00"));
  // Alone it is no parity either.
  for (const part of parts) await rm(part, { force: true });
  assert.throws(() => openStore(out), coded("PARTS_MIXED", "number 4, want 1 to 0"));
});

test("the same part twice is refused, and a copy under another's name is recognized", async (t) => {
  const { out, parts } = await bundleInParts(t);
  await mkdir(join(out, "again"));
  await copyFile(parts[1], join(out, "again", "test-1.0.0-12345678.part02-of-04"));
  assert.throws(() => openStore(out), coded("PARTS_DUPLICATE", "again", "part02-of-04"));
  await rm(join(out, "again"), { recursive: true });
  await copyFile(parts[1], parts[2]);
  const copied = coded("PARTS_DAMAGED", "part03-of-04 (it is a copy of test-1.0.0-12345678.part02-of-04)");
  assert.throws(() => requireUndamaged(out), copied);
  assert.throws(() => openLayout(out), copied);
});

test("a part that is cut short, goes on, or has another name's place is damaged, and named", async (t) => {
  const { out, parts } = await bundleInParts(t);
  const bytes = await readFile(parts[1]);
  await truncate(parts[1], bytes.length - 1);
  assert.throws(() => openLayout(out), coded("PARTS_DAMAGED", "part02-of-04"));
  await writeFile(parts[1], Buffer.concat([bytes, Buffer.alloc(512)]));
  assert.throws(() => openLayout(out), coded("PARTS_DAMAGED", "part02-of-04"));
  await writeFile(parts[1], bytes);
  await rename(parts[2], join(out, "x"));
  await rename(parts[0], parts[2]);
  await rename(join(out, "x"), parts[0]);
  assert.throws(() => openLayout(out), coded("PARTS_DAMAGED", "part01-of-04", "part03-of-04"));
});

test("one bit in any part is found by the list, and by the digests where the list was changed too", async (t) => {
  const { out, parts } = await bundleInParts(t);
  for (const part of parts) {
    const bytes = await readFile(part);
    const changed = Buffer.from(bytes);
    changed[bytes.length >> 1] = (changed[bytes.length >> 1] as number) ^ 4;
    await writeFile(part, changed);
    assert.throws(() => requireUndamaged(out), coded("PARTS_DAMAGED", part.slice(out.length + 1)));
    await rm(join(out, "list"), { force: true });
    const list = join(out, "test-1.0.0-12345678.sha256");
    await rename(list, join(out, "list"));
    await assert.rejects(readWhole(out), (error: { code?: string }) =>
      /^(?:LAYOUT|OCI|RELEASE)_/.test(error.code ?? ""),
    );
    await rename(join(out, "list"), list);
    await writeFile(part, bytes);
  }
  requireUndamaged(out);
});

test("signatures do not go into parts", async (t) => {
  const { out } = await bundleInParts(t);
  const { layout, store } = openLayout(out);
  try {
    const release = readRelease(layout, readLayoutIndex(layout).release);
    await assert.rejects(writeSignatures(layout, release, []), coded("PARTS_READ_ONLY"));
  } finally {
    closeStore(store);
  }
});

test("a directory layout that holds more than its release has no tar", async (t) => {
  const root = await scratch(t);
  const layout = join(root, "layout");
  await writeDirectory(layout, [...bundleFiles(smallRelease()), [`blobs/sha256/${"0".repeat(64)}`, Buffer.from("x")]]);
  const opened = openLayout(layout);
  assert.throws(() => tarBytes(opened.store, opened.layout), coded("LAYOUT_FOREIGN_FILE"));
  closeStore(opened.store);
});
