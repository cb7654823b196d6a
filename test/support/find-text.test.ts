import assert from "node:assert/strict";
import { mkdir, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { findTexts, spellings } from "./find-text.ts";
import { scratch } from "./scratch.ts";

const SECRET = "marker-7f3a~9c/Q?";

test("finds a text however it is spelt, with anything before and after it", async (t) => {
  const directory = await scratch(t);
  for (const before of ["", "a", "ab", "abc"]) {
    const inside = Buffer.from(`${before}${SECRET} and more`);
    const ways: Readonly<Record<string, Buffer | string>> = {
      plain: inside,
      utf16le: Buffer.from(inside.toString(), "utf16le"),
      utf16be: Buffer.from(inside.toString(), "utf16le").swap16(),
      hex: inside.toString("hex"),
      HEX: inside.toString("hex").toUpperCase(),
      base64: inside.toString("base64"),
      base64url: inside.toString("base64url"),
      json: [...inside.toString()].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
      gzip: gzipSync(inside),
      zstd: zstdCompressSync(inside),
      "gzip cut off": gzipSync(Buffer.concat([inside, Buffer.alloc(100_000)])).subarray(0, -8),
    };
    for (const [name, bytes] of Object.entries(ways)) await writeFile(join(directory, `${name} ${before}`), bytes);
  }
  const { found, files, decompressed } = await findTexts(directory, [SECRET]);
  const paths = new Set(found.map(({ path }) => path));
  assert.equal(paths.size, 44, JSON.stringify([...paths]));
  assert.deepEqual([files, decompressed], [44, 12]);
});

test("finds a text at every place of a chunk's border, and in the last bytes", async (t) => {
  const directory = await scratch(t);
  const border = 1024 * 1024;
  for (let shift = 0; shift <= SECRET.length; shift += 4) {
    const bytes = Buffer.concat([Buffer.alloc(border - shift), Buffer.from(SECRET)]);
    await writeFile(join(directory, String(shift)), bytes);
  }
  const { found, files } = await findTexts(directory, [SECRET]);
  assert.ok(files > 3);
  assert.equal(found.length, files);
});

test("finds nothing where nothing is, follows no link, and passes over what nobody changed", async (t) => {
  const directory = await scratch(t);
  await mkdir(join(directory, "searched/inner"), { recursive: true });
  await writeFile(join(directory, "elsewhere"), SECRET);
  await symlink(join(directory, "elsewhere"), join(directory, "searched/link"));
  const path = join(directory, "searched/inner/file");
  await writeFile(path, SECRET.slice(1));
  assert.deepEqual((await findTexts(join(directory, "searched"), [SECRET])).found, []);
  await writeFile(path, SECRET);
  // An older time that a program sets does not hide a change from the kernel's own record.
  await utimes(path, 1, 1);
  const since = Date.now();
  assert.equal((await findTexts(directory, [SECRET], { changedSince: since - 60_000 })).found.length, 2);
  assert.equal((await findTexts(directory, [SECRET], { changedSince: since + 60_000 })).files, 0);
});

test("a text has spellings that differ", () => {
  const all = spellings(SECRET).map(({ bytes }) => bytes.toString("latin1"));
  assert.equal(new Set(all).size, all.length);
  assert.ok(all.length >= 10);
});
