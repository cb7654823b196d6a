import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { bundleInspect } from "../../installer/commands/bundle-inspect.ts";
import { runVerb } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";

test("signatures are listed by what they are about, whatever their digests are", async (t) => {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, signedBundle());
  const { lines, document } = await runVerb(bundleInspect, [path]);
  const signed = lines.filter((line) => line.startsWith("signed  "));
  assert.ok(signed.length > 5);
  assert.deepEqual(
    signed.map((line) => line.split(/ +/)[1]),
    [...signed].map((line) => line.split(/ +/)[1]).sort(),
  );
  assert.deepEqual(
    lines.filter((line) => line.endsWith(" ")),
    [],
  );
  assert.equal((document["signatures"] as unknown[]).length, signed.length);
});
