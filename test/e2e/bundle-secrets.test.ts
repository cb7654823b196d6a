/** No secret of anybody is in the layers of the appliance's images, nor in what a release says beside them. */
import assert from "node:assert/strict";
import test from "node:test";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { realRelease } from "../support/real-release.ts";
import { secretsIn } from "../support/secret-patterns.ts";

const LAYER_MAX_BYTES = 512 * 1024 * 1024;
/** V8 takes no string of half a gigabyte; pieces overlap by more than any secret is long. */
const PIECE_BYTES = 64 * 1024 * 1024;
const OVERLAP_BYTES = 8 * 1024;

function foundIn(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES - OVERLAP_BYTES) {
    found.push(...secretsIn(bytes.toString("latin1", at, at + PIECE_BYTES)));
  }
  return found;
}

test("no layer and no document of a release has a secret in it", async (t) => {
  const { layout, store } = openLayout((await realRelease("first")).bundle);
  t.after(() => closeStore(store));
  const { release } = readLayoutIndex(layout);
  const { images, manifest } = readRelease(layout, release);
  const found: string[] = [];
  let layers = 0;
  for (const [name, { manifest: image }] of images) {
    for (const { digest } of image.layers) {
      const tar = await promisify(zstdDecompress)(layout.read(digest, LAYER_MAX_BYTES));
      found.push(...foundIn(tar).map((what) => `${name} ${digest}: ${what}`));
      layers += 1;
    }
    found.push(...foundIn(layout.read(image.config.digest, DOCUMENT_MAX_BYTES)).map((what) => `${name}: ${what}`));
  }
  for (const digest of [manifest.compose, manifest.configSchema, manifest.applianceFile, manifest.lock]) {
    found.push(...foundIn(layout.read(digest, DOCUMENT_MAX_BYTES)).map((what) => `${digest}: ${what}`));
  }
  assert.ok(layers >= 6, String(layers));
  assert.deepEqual(found, []);
});
