/**
 * What ends Sealift or the engine in the middle of a change: afterwards there is the old state or the new one.
 * A sample; every point is killed at by test/long/deploy-kills.test.ts (npm run test:long).
 * SEALIFT_TEST_SEED chooses another sample.
 */
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { random } from "../support/faulty-disk.ts";
import { type Kill, KillCampaign, type KilledOperation } from "../support/kill-campaign.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningOperation } from "../support/running-operation.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { underLoad } from "../support/under-load.ts";

const PORT = 18_543;
const KILLS = 3;
/** More than any operation has; a kill that comes too late is a run to the end. */
const WRITES = 32;
const DELAY_MAX_MS = 4_000;
/** Samples of these: day-two-kill.test.ts and backup-restore.test.ts. */
const ELSEWHERE: readonly KilledOperation[] = ["rotate", "restore", "new-host"];
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);

inOwnMachine(
  import.meta.url,
  "a site is whole after whatever cut off its change",
  () => {
    const cleanups: (() => Promise<void>)[] = [];
    let site: RunningSite;
    let campaign: KillCampaign;

    before(async () => {
      const directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      site = await RunningSite.start(directory, "containerd");
      cleanups.unshift(() => site.engine.stop());
      campaign = new KillCampaign(site, directory, PORT);
      await campaign.complete("install");
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    it(`SIGKILL of sealift, seed ${SEED}`, async (t) => {
      const next = random(SEED);
      const pick = (below: number): number => Math.floor(next() * below);
      for (let i = 0; i < KILLS; i += 1) {
        const possible = campaign.possible().filter((one) => !ELSEWHERE.includes(one));
        const operation = possible[pick(possible.length)] ?? "install";
        const writes = operation === "uninstall" ? 12 : WRITES;
        const when = pick(3) === 0 ? "before" : "after";
        const point = {
          journalWrite: 1 + pick(writes),
          when,
          delayMs: when === "after" ? pick(DELAY_MAX_MS) : 0,
        } as const;
        const kill: Kill = {
          operation,
          point,
          ...(pick(2) === 0 && { recoverPoint: { journalWrite: 1 + pick(8), when: "after" } }),
        };
        t.diagnostic(JSON.stringify(kill));
        const { at, result, seconds } = await campaign.kill(kill);
        t.diagnostic(`at ${at}: ${result}, ${seconds.toFixed(0)} s`);
      }
    });

    it("a site that was killed so often can still be upgraded", async () => {
      if (campaign.possible().includes("install")) await campaign.complete("install");
      if (campaign.possible().includes("rollback")) await campaign.complete("rollback");
      assert.ok(campaign.possible().includes("upgrade"));
    });

    it("SIGINT at the switch, and again while the old state is brought back: 130, and no request is lost", async () => {
      await underLoad(await campaign.clientPort(), site.site.state, async () => {
        const upgrade = new RunningOperation(site, ["upgrade", (await realRelease("next")).bundle]);
        await upgrade.reached("switch", 300);
        upgrade.signal("SIGINT");
        for (let i = 0; i < 3; i += 1) {
          await new Promise((resolve) => setTimeout(resolve, 300));
          upgrade.signal("SIGINT");
        }
        const { exit, stderr } = await upgrade.ended;
        assert.equal(exit, 130, stderr);
        assert.match(stderr, /the old state is in place/);
      });
      await campaign.assertWhole();
      await site.assertAt("1.0.0");
    });

    it("SIGKILL while the new release is watched, then recover: no request is lost", async () => {
      await underLoad(await campaign.clientPort(), site.site.state, async () => {
        const upgrade = new RunningOperation(site, ["upgrade", (await realRelease("next")).bundle]);
        await upgrade.reached("watch", 1_000);
        upgrade.signal("SIGKILL");
        await upgrade.ended;
        await campaign.recover();
      });
      await campaign.assertWhole();
      await site.assertAt("1.0.0");
    });

    it("the power goes while the new release starts", async () => {
      const upgrade = new RunningOperation(site, ["upgrade", (await realRelease("next")).bundle]);
      await upgrade.reached("start", 1_000);
      upgrade.signal("SIGKILL");
      await Promise.all([site.engine.cutPower(), upgrade.ended]);
      await site.engine.start();
      await campaign.recover();
      await campaign.assertWhole();
      await site.assertAt("1.0.0");
    });
  },
  () => prepareReleases("first", "next"),
);
