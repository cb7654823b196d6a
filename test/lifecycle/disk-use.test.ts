import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test, { type TestContext } from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { diskUse } from "../../installer/lifecycle/disk-use.ts";
import { type ReleaseParts, releaseParts } from "../../installer/lifecycle/stored-release.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, smallRelease, writeDirectory } from "../support/small-bundle.ts";

const SHARED = { "etc/os-release": "ID=debian\n" };
const OLD = { "app/old": randomBytes(300_000) };
const NEW = { "app/new": randomBytes(500_000) };
const MODEL = { name: "model", mediaType: "application/octet-stream", bytes: randomBytes(200_000) };

async function release(t: TestContext, ...args: Parameters<typeof smallRelease>): Promise<ReleaseParts> {
  const path = await scratch(t);
  await writeDirectory(path, bundleFiles(smallRelease(...args)));
  const { layout, store } = openLayout(path);
  t.after(() => closeStore(store));
  return releaseParts(layout, readRelease(layout, readLayoutIndex(layout).release));
}

test("what the release that runs has already is not counted, nor is a layer that two images share", async (t) => {
  const images = (layer: Record<string, Buffer>) =>
    ["gateway", "audit"].map((name) => ({ name, layers: [SHARED, layer] }));
  const first = await release(t, { images: images(OLD), files: [MODEL] });
  const next = await release(t, { version: "1.1.0", images: images(NEW), files: [MODEL] });
  const within = (got: number, least: number, most: number): void =>
    assert.ok(got >= least && got <= most, `got ${got}, want ${least} to ${most}`);
  const alone = diskUse(first, undefined, "classic");
  within(alone.engineBytes, 300_000, 320_000);
  within(alone.storeBytes, 500_000, 560_000);
  const upgrade = diskUse(next, first, "classic");
  within(upgrade.engineBytes, 500_000, 510_000);
  within(upgrade.storeBytes, 500_000, 550_000);
  within(diskUse(next, first, "containerd").engineBytes, 1_000_000, 1_020_000);
  assert.deepEqual(diskUse(first, first, "containerd"), { engineBytes: 0, storeBytes: 0 });
});
