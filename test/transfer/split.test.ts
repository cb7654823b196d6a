import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { digestFromHex } from "../../bundles/model/digest.ts";
import { hostPartsDisk, type PartsDisk } from "../../bundles/transfer/parts-disk.ts";
import { partsName } from "../../bundles/transfer/split.ts";
import { planSplit } from "../../bundles/transfer/split-plan.ts";
import { contents, digests, makeParts, PARTS_NAME, someBytes } from "../support/parts.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const bytesOf = (bundle: ReturnType<typeof someBytes>) => Buffer.concat([...bundle.chunks()]);

test("the parts one after the other are the bundle, none is too large, and the list has each one's hash", async (t) => {
  for (const [sizeBytes, parity] of [
    [48_000, 2],
    [60_000, 0],
    [52_000, 3],
    [1_000_000, 1],
  ] as const) {
    const out = join(await scratch(t), "parts");
    const { parts, parity: files, list } = await makeParts(out, { sizeBytes, parity });
    const found = await contents(out);
    assert.equal(files.length, parity);
    assert.ok(Buffer.concat(parts.map(({ name }) => found.get(name) as Buffer)).equals(bytesOf(someBytes(160_000))));
    for (const bytes of found.values()) assert.ok(bytes.length <= sizeBytes, `${bytes.length} bytes`);
    const lines = [...parts, ...files].map(({ name }) => {
      const hash = createHash("sha256").update(found.get(name) as Buffer);
      return `${hash.digest("hex")}  ${name}\n`;
    });
    assert.equal(await readFile(list, "utf8"), lines.join(""));
    assert.equal(found.size, parts.length + parity + 1);
  }
});

test("names say release, order and number, and are short enough for a disc", async (t) => {
  const out = await scratch(t);
  const name = partsName("a-rather-long-appliance-name", "10.20.30-rc.1.and.more", digestFromHex("ab".repeat(32)));
  assert.equal(name, "a-rather-long-applia-10.20.30-rc.1.and.-abababab");
  const { parts, parity } = await makeParts(out, { name });
  assert.equal(parts[2]?.name, `${name}.part03-of-0${parts.length}`);
  assert.equal(parity[1]?.name, `${name}.vol016+016.par2`);
  for (const file of await readdir(out)) assert.ok(file.length <= 64, file);
});

test("a size with which there would be too many parts or no room for parity is refused, before anything is made", async (t) => {
  const out = join(await scratch(t), "parts");
  await assert.rejects(makeParts(out, { sizeBytes: 100, parity: 0 }), coded("SPLIT_SIZE_UNUSABLE"));
  await assert.rejects(makeParts(out, { sizeBytes: 8_000, parity: 1 }), coded("SPLIT_SIZE_UNUSABLE"));
  assert.throws(() => planSplit("a", 10 ** 12, 10 ** 8, 2), coded("SPLIT_SIZE_UNUSABLE"));
  await assert.rejects(readdir(out));
});

test("real sizes: parity fits on the medium, and the last part is not an empty one", () => {
  for (const size of [700_000_000, 4_700_000_000, 25_000_000_000]) {
    for (const bytes of [1_000_000_001, 12_345_678_912, 50_000_000_512]) {
      for (const parity of [0, 1, 2, 5]) {
        const plan = planSplit(PARTS_NAME, bytes, size, parity);
        assert.equal(
          plan.parts.reduce((sum, part) => sum + part.size, 0),
          bytes,
        );
        assert.ok(plan.parts.every((part) => part.size > 0 && part.size <= size));
        assert.equal(plan.blockBytes % (parity === 0 ? 1 : 4), 0);
      }
    }
  }
});

test("what is there and right is kept, and what belongs to something else is not touched", async (t) => {
  const out = await scratch(t);
  const { parts } = await makeParts(out);
  const before = await contents(out);
  await rm(join(out, parts[1]?.name as string));
  await rm(join(out, `${PARTS_NAME}.sha256`));
  await writeFile(join(out, `${parts[1]?.name}.partial`), "half");
  await makeParts(out);
  assert.deepEqual(digests(await contents(out)), digests(before));

  await assert.rejects(makeParts(out, { bundle: someBytes(160_000, 2) }), coded("PARTS_DIRECTORY_IN_USE"));
  await assert.rejects(makeParts(out, { name: "other-1.0.0-12345678" }), coded("PARTS_DIRECTORY_IN_USE"));
  await assert.rejects(makeParts(out, { sizeBytes: 80_000 }), coded("PARTS_DIRECTORY_IN_USE"));
  assert.deepEqual(digests(await contents(out)), digests(before));
  await truncate(join(out, parts[0]?.name as string), 100);
  await assert.rejects(makeParts(out), coded("PARTS_DIRECTORY_IN_USE"));
});

/** Fails the `at`-th call that changes the disk, and counts. */
function failingDisk(at: number, code: string): { readonly disk: PartsDisk; readonly calls: () => number } {
  let calls = 0;
  const step = (): void => {
    if (calls++ === at) throw Object.assign(new Error(code), { code });
  };
  const disk: PartsDisk = {
    create: (path) => {
      step();
      return hostPartsDisk.create(path);
    },
    write: (fd, bytes, position) => {
      if (calls === at) hostPartsDisk.write(fd, bytes.subarray(0, bytes.length / 2), position);
      step();
      hostPartsDisk.write(fd, bytes, position);
    },
    truncate: (fd, size) => {
      step();
      hostPartsDisk.truncate(fd, size);
    },
    sync: (fd) => {
      step();
      hostPartsDisk.sync(fd);
    },
    rename: (from, to) => {
      step();
      hostPartsDisk.rename(from, to);
    },
  };
  return { disk, calls: () => calls };
}

test("whichever write fails, no half file has a part's name, and the same command goes on", async (t) => {
  const root = await scratch(t);
  const whole = failingDisk(-1, "");
  await makeParts(join(root, "whole"), { disk: whole.disk });
  const want = await contents(join(root, "whole"));
  for (let at = 0; at < whole.calls(); at++) {
    const out = join(root, String(at));
    const code = at % 2 === 0 ? "ENOSPC" : "EIO";
    const { disk } = failingDisk(at, code);
    const failed = code === "ENOSPC" ? "PARTS_DISK_FULL" : "PARTS_WRITE_FAILED";
    await assert.rejects(makeParts(out, { disk }), coded(failed), `call ${at}`);
    // A directory stays only for what the next run goes on with.
    const left = existsSync(out) ? await contents(out) : undefined;
    assert.notEqual(left?.size, 0, `an empty directory after call ${at}`);
    for (const [name, bytes] of left ?? []) assert.deepEqual(bytes, want.get(name), `${name} after call ${at}`);
    await makeParts(out);
    assert.deepEqual(digests(await contents(out)), digests(want), `after call ${at}`);
  }
});

test("a split that cannot begin leaves no directory that was not there, and keeps one that was", async (t) => {
  const root = await scratch(t);
  const { disk } = failingDisk(0, "ENOSPC");
  await assert.rejects(makeParts(join(root, "a/b/c"), { disk }), coded("PARTS_DISK_FULL"));
  assert.deepEqual(await readdir(root), []);
  await mkdir(join(root, "mine"));
  await assert.rejects(
    makeParts(join(root, "mine"), { disk: failingDisk(0, "ENOSPC").disk }),
    coded("PARTS_DISK_FULL"),
  );
  await assert.rejects(
    makeParts(join(root, "mine/a/b"), { disk: failingDisk(0, "ENOSPC").disk }),
    coded("PARTS_DISK_FULL"),
  );
  assert.deepEqual([await readdir(root), await readdir(join(root, "mine"))], [["mine"], []]);
  await assert.rejects(makeParts(join(root, "new", "x".repeat(300))), coded("PARTS_WRITE_FAILED"));
  assert.deepEqual(await readdir(root), ["mine"]);
});

test("a destination that is a file, and a link in a part's place, are refused", async (t) => {
  const root = await scratch(t);
  await writeFile(join(root, "file"), "");
  await assert.rejects(makeParts(join(root, "file")), coded("PARTS_WRITE_FAILED"));
  const { parts } = await makeParts(join(root, "one"));
  const name = parts[0]?.name as string;
  await mkdir(join(root, "two"));
  await copyFile(join(root, "one", name), join(root, "elsewhere"));
  await symlink(join(root, "elsewhere"), join(root, "two", name));
  await assert.rejects(makeParts(join(root, "two")));
});
