import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import test from "node:test";
import { BLOCK_BYTES, renderEnd, renderHeader, scanTar } from "../../bundles/layout/tar-format.ts";
import { tarOf } from "../support/small-bundle.ts";

function scan(bytes: Buffer, claimedSize = bytes.length) {
  return scanTar((buffer, position) => bytes.copy(buffer, 0, position, position + buffer.byteLength), claimedSize);
}

const refusedWith = (code: string) => (error: { code?: string }) => error.code === code;
const good = tarOf({ "oci-layout": "{}", "index.json": "x".repeat(513) });

test("lists names, sizes and positions", () => {
  assert.deepEqual(scan(good), [
    { name: "oci-layout", size: 2, position: 512 },
    { name: "index.json", size: 513, position: 1536 },
  ]);
});

test("is what GNU tar lists and extracts", () => {
  assert.equal(execFileSync("tar", ["-tf", "-"], { input: good }).toString(), "oci-layout\nindex.json\n");
  assert.equal(execFileSync("tar", ["-xOf", "-", "index.json"], { input: good }).toString(), "x".repeat(513));
});

test("writes a size of 8 GiB in base-256, as GNU tar reads it", () => {
  const size = 8 ** 11;
  // The content is missing, so tar complains in the end; its listing comes first.
  const { stdout } = spawnSync("tar", ["-tvf", "-"], { input: renderHeader("blobs/sha256/a", size), encoding: "utf8" });
  assert.match(stdout, new RegExp(` ${size} `));
});

test("refuses a change of any single byte outside of content", () => {
  let refused = 0;
  for (let at = 0; at < good.length; at += 1) {
    const inContent = (at >= 512 && at < 514) || (at >= 1536 && at < 1536 + 513);
    if (inContent) continue;
    const changed = Buffer.from(good);
    changed[at] = (changed[at] as number) ^ 1;
    assert.throws(
      () => scan(changed),
      (error: { code?: string }) => /^LAYOUT_/.test(error.code ?? ""),
      `byte ${at}`,
    );
    refused += 1;
  }
  assert.equal(refused, good.length - 515);
});

test("refuses every truncation", () => {
  for (let length = 0; length < good.length; length += 1) {
    assert.throws(() => scan(good.subarray(0, length)), refusedWith("LAYOUT_TRUNCATED"), `length ${length}`);
  }
});

test("refuses bytes after the end", () => {
  assert.throws(() => scan(Buffer.concat([good, Buffer.alloc(BLOCK_BYTES)])), refusedWith("LAYOUT_TAR_NOT_CANONICAL"));
});

test("refuses a name that is there twice", () => {
  const header = renderHeader("oci-layout", 0);
  assert.throws(() => scan(Buffer.concat([header, header, renderEnd()])), refusedWith("LAYOUT_DUPLICATE_FILE"));
});

test("refuses what another tar wrote", () => {
  const foreign = execFileSync("tar", ["-cf", "-", "-C", "/", "etc/hostname"]);
  assert.throws(() => scan(foreign), refusedWith("LAYOUT_TAR_NOT_CANONICAL"));
});

test("refuses an octal size that belongs in base-256 and the reverse", () => {
  const header = renderHeader("oci-layout", 5);
  header.writeBigUInt64BE(5n, 128);
  header[124] = 0x80;
  assert.throws(
    () => scan(Buffer.concat([header, Buffer.alloc(512), renderEnd()])),
    refusedWith("LAYOUT_TAR_NOT_CANONICAL"),
  );
});
