import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync } from "node:fs";
import { mkdir, rmdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openImportedRecords } from "../../verify/imported-records.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

test("opens a snapshot of each kind with the signatures beside it, as many as there are", async (context) => {
  const root = await scratch(context);
  for (const [name, kind] of [
    ["osv.zip", "zip"],
    ["osv.tar", "tar"],
    ["osv.tar.gz", "tar.gz"],
    ["osv.tar.zst", "tar.zst"],
    ["osv.ndjson", "lines"],
  ] as const) {
    const path = join(root, name);
    await writeFile(path, "12345");
    await writeFile(`${path}.sigstore.json`, "one");
    await writeFile(`${path}.2.sigstore.json`, "two");
    const { fd, ...records } = openImportedRecords(path);
    closeSync(fd);
    assert.deepEqual(
      { ...records, signatures: records.signatures.map(String) },
      { kind, size: 5, signatures: ["one", "two"] },
    );
  }
});

test("refuses what no signature covers or what could hold it up: a directory, a pipe, a lone record, nothing", async (context) => {
  const root = await scratch(context);
  assert.throws(() => openImportedRecords(join(root, "nothing.zip")), coded("SCAN_DATABASE_NOT_FOUND"));
  await mkdir(join(root, "directory.zip"));
  execFileSync("mkfifo", [join(root, "pipe.tar")]);
  await writeFile(join(root, "record.json"), "{}");
  await writeFile(join(root, "readme.txt"), "");
  for (const name of ["directory.zip", "pipe.tar", "record.json", "readme.txt"]) {
    assert.throws(() => openImportedRecords(join(root, name)), coded("SCAN_DATABASE_UNREADABLE"), name);
  }
});

test("refuses a signature that is larger than any, or that is none of a file", async (context) => {
  const path = join(await scratch(context), "osv.zip");
  await writeFile(path, "");
  await writeFile(`${path}.sigstore.json`, Buffer.alloc(1024 * 1024 + 1));
  assert.throws(() => openImportedRecords(path), coded("SCAN_DATABASE_UNREADABLE"));
  await writeFile(`${path}.sigstore.json`, "{}");
  await mkdir(`${path}.2.sigstore.json`);
  assert.throws(() => openImportedRecords(path), coded("SCAN_DATABASE_UNREADABLE"));
  await rmdir(`${path}.2.sigstore.json`);
  await symlink(`${path}.sigstore.json`, `${path}.2.sigstore.json`);
  assert.throws(() => openImportedRecords(path), coded("SCAN_DATABASE_UNREADABLE"));
});
