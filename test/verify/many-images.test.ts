import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { judge, wrong, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

test("a release of 255 images is verified, and one of 257 is none", async (t) => {
  const images = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `image${i}` }));
  // Compose allows 256 services, and one of these is the front.
  const bundle = signedBundle({ small: smallRelease({ images: images(255) }) });
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const verdict = await judge(path, bundle);
  assert.deepEqual(wrong(verdict), []);
  assert.equal(verdict.decision, "allow");
  const tooMany = signedBundle({ small: smallRelease({ images: images(257) }) });
  await writeSignedBundle(path, tooMany);
  assert.deepEqual(wrongCodes(await judge(path, tooMany)), ["RELEASE_MALFORMED"]);
});
