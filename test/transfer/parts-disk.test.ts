import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { link, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { hostPartsDisk, PartialFile } from "../../bundles/transfer/parts-disk.ts";
import { scratch } from "../support/scratch.ts";

test("what lies under the name of a file half done, a link or a pipe perhaps, is not written into", async (t) => {
  const directory = await scratch(t);
  const other = join(directory, "other");
  const lain: Readonly<Record<string, (path: string) => Promise<void> | Buffer>> = {
    link: (path) => symlink(other, path),
    "hard link": (path) => link(other, path),
    pipe: (path) => execFileSync("mkfifo", [path]),
  };
  for (const [what, lay] of Object.entries(lain)) {
    await writeFile(other, "untouched");
    const path = join(directory, what);
    await lay(`${path}.partial`);
    const file = new PartialFile(hostPartsDisk, path);
    file.write(Buffer.from("made"), 0);
    file.finish(4);
    assert.ok((await stat(path)).isFile(), what);
    assert.equal(await readFile(path, "utf8"), "made", what);
    assert.equal(await readFile(other, "utf8"), "untouched", what);
  }
});
