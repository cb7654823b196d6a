import assert from "node:assert/strict";
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { writeNew, writeOver } from "../../../installer/host/write-new.ts";
import { scratch } from "../../support/scratch.ts";
import { coded } from "../../support/test-trust.ts";

test("a new file never replaces another, and the hint says so", async (t) => {
  const path = join(await scratch(t), "file");
  await writeNew(path, Buffer.from("one"));
  await assert.rejects(writeNew(path, Buffer.from("two")), coded("FILE_EXISTS"));
  await assert.rejects(writeNew(path, Buffer.from("two")), {
    hints: ["choose another name, or move it away: what is there is never written over"],
  });
  assert.equal(await readFile(path, "utf8"), "one");
});

test("a file that cannot be written whole is not there", async (t) => {
  const directory = await scratch(t);
  // Bytes that cannot be read any more when they are to be written.
  const broken = Object.defineProperty(Buffer.from("x"), "byteLength", {
    get: () => {
      throw new Error("no space left");
    },
  });
  await assert.rejects(writeNew(join(directory, "file"), broken), coded("FILE_WRITE_FAILED"));
  assert.deepEqual(await readdir(directory), []);
});

test("a file is replaced whole or stays as it was, and nobody's link is written through", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await writeFile(at("report"), "old");
  await writeFile(at("other"), "another's");
  await symlink(at("other"), at("report.partial"));
  await writeOver(at("report"), "new");
  assert.deepEqual([await readFile(at("report"), "utf8"), await readFile(at("other"), "utf8")], ["new", "another's"]);
  await mkdir(at("report.partial"));
  await assert.rejects(writeOver(at("report"), "newer"), coded("FILE_WRITE_FAILED"));
  assert.equal(await readFile(at("report"), "utf8"), "new");
  await assert.rejects(writeOver(at("none/report"), "x"), coded("FILE_WRITE_FAILED"));
  assert.deepEqual((await readdir(directory)).sort(), ["other", "report", "report.partial"]);
});

test("a link stays a link, as /dev/stdout has to", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await writeFile(at("file"), "old");
  await symlink(at("file"), at("link"));
  await writeOver(at("link"), "new");
  assert.ok((await lstat(at("link"))).isSymbolicLink());
  assert.equal(await readFile(at("file"), "utf8"), "new");
});

test("a device is written to, and not replaced", async () => {
  await writeOver("/dev/null", "x");
  await assert.rejects(writeOver("/dev/full", "x"), coded("FILE_WRITE_FAILED"));
});
