/** On the real engine: the next release comes as a thin bundle, built for what the site says it has, in media parts. */
import assert from "node:assert/strict";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { leftOut, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { parseInventory } from "../../bundles/transfer/inventory.ts";
import { storedPath } from "../../installer/site/store.ts";
import { sealift } from "../support/command-line.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { writeTar } from "../support/small-bundle.ts";

const PORT = 18444;
const PART_BYTES = 200_000;

inOwnMachine(
  import.meta.url,
  "a site is upgraded by a thin bundle in media parts",
  () => {
    const cleanups: (() => Promise<void>)[] = [];
    let site: RunningSite;
    let directory: string;

    before(async () => {
      directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      site = await RunningSite.start(directory, "classic");
      cleanups.unshift(() => site.engine.stop());
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    /** What `bundle build --inventory` makes; building the whole release again would take longer than all the rest. */
    async function writeThin(path: string): Promise<number> {
      const file = join(directory, "inventory");
      assert.equal((await site.run("inventory", "--out", file)).exit, 0);
      const has = new Set(
        [...parseInventory(await readFile(file), file)].map((digest) => digest.slice("sha256:".length)),
      );
      const { layout, store } = openLayout((await realRelease("next")).bundle);
      const carried = layout.files.filter(({ name }) => !has.has(name.slice("blobs/sha256/".length)));
      await writeTar(
        path,
        carried.map(({ name, size }) => [name, layout.readUnverified(name, size)]),
      );
      closeStore(store);
      return layout.files.length - carried.length;
    }

    it("installs a release, leaves out of the next one what it has, and runs it", async () => {
      const config = join(directory, "config.yaml");
      await writeFile(config, `clientPort: ${PORT}\n`);
      await site.change("install", (await realRelease("first")).bundle, "--config", config);
      const thin = join(directory, "thin.tar");
      assert.ok((await writeThin(thin)) > 5, "most layers are the same");
      const parts = join(directory, "parts");
      const split = await sealift([
        "bundle",
        "split",
        thin,
        "--size",
        String(PART_BYTES),
        "--parity",
        "1",
        "--out",
        parts,
      ]);
      assert.equal(split.exit, 0, split.stderr);
      const [first = ""] = (await readdir(parts)).filter((name) => name.includes(".part01-of-"));
      await rm(join(parts, first));
      await site.refused(5, "PARTS_MISSING", "upgrade", parts);
      await site.assertAt("1.0.0");
      assert.equal((await sealift(["bundle", "repair", parts])).exit, 0);
      await site.change("upgrade", parts);
      await site.assertAt("1.1.0");
      const { layout, store } = openLayout(storedPath(site.site.state, (await realRelease("next")).digest as Digest));
      const release = readRelease(layout, readLayoutIndex(layout).release);
      assert.deepEqual(leftOut(layout, release), [], "in the store it is whole");
      closeStore(store);
    });
  },
  () => prepareReleases("first", "next"),
);
