import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { blobName, closeStore, type Layout, openStore, readLayout } from "../../bundles/layout/layout.ts";
import { allowRelease } from "../../verify/allowed-release.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { siteVerdict } from "../support/allowed-bundle.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle, writeSignedDirectory } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { coded } from "../support/test-trust.ts";

const bundle = signedBundle();
const digest = bundle.small.release.descriptor.digest;

async function verified(t: TestContext): Promise<{ path: string; verdict: Verdict; layout: Layout }> {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const store = openStore(path);
  t.after(() => closeStore(store));
  return { path, verdict: await siteVerdict(path, bundle.trustFiles), layout: readLayout(store) };
}

test("a site's verdict that allows gives the release of its digest, with what a site needs to know of it", async (t) => {
  const { verdict, layout } = await verified(t);
  const allowed = allowRelease(verdict, layout);
  assert.equal(allowed.release.descriptor.digest, digest);
  assert.deepEqual(allowed.release.manifest, bundle.small.release.manifest);
  assert.equal(allowed.verdict, verdict);
  assert.equal(allowed.layout, layout);
});

test("a verdict that denies, is advisory or names nothing allows nothing", async (t) => {
  const { verdict, layout } = await verified(t);
  assert.throws(() => allowRelease({ ...verdict, decision: "deny" }, layout), coded("RELEASE_DENIED"));
  assert.throws(() => allowRelease({ ...verdict, scope: "advisory" }, layout), coded("RELEASE_ADVISORY"));
  const nothing = { ...verdict, subject: { ...verdict.subject, digest: null } };
  assert.throws(() => allowRelease(nothing, layout), coded("RELEASE_DENIED"));
});

test("a verdict allows no other release than its own", async (t) => {
  const { verdict } = await verified(t);
  const other = join(await scratch(t), "other");
  await writeSignedBundle(other, signedBundle({ small: smallRelease({ version: "1.1.0" }) }));
  const store = openStore(other);
  t.after(() => closeStore(store));
  assert.throws(() => allowRelease(verdict, readLayout(store)), coded("RELEASE_EXCHANGED"));
});

test("a bundle that was changed in place after the verdict is refused", async (t) => {
  const { path, verdict, layout } = await verified(t);
  const bytes = readFileSync(path);
  const { position } = (layout.blob(digest)?.extents[0] ?? {}) as { position: number };
  bytes[position + 10] = (bytes[position + 10] as number) ^ 1;
  // The same file, which is open: not another one by its name.
  writeFileSync(path, bytes);
  assert.throws(() => allowRelease(verdict, layout), coded("LAYOUT_DIGEST_MISMATCH"));
});

test("a directory whose files were exchanged by name after the verdict still gives the verified bytes", async (t) => {
  const path = join(await scratch(t), "layout");
  await writeSignedDirectory(path, bundle);
  const verdict = await siteVerdict(path, bundle.trustFiles);
  const store = openStore(path);
  t.after(() => closeStore(store));
  renameSync(join(path, blobName(digest)), join(path, "elsewhere"));
  writeFileSync(join(path, blobName(digest)), "swapped");
  assert.equal(allowRelease(verdict, readLayout(store)).release.descriptor.digest, digest);
});
