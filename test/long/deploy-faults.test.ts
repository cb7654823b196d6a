/**
 * An upgrade is struck in each of its steps: by a signal, by SIGKILL while clients ask, by the end of the
 * engine, by a power cut. Afterwards the site is whole, at the old release, or at the new one if it was
 * committed, and no request is lost where no container had to end.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ImageStore } from "../../compose/engine/engine.ts";
import { KillCampaign } from "../support/kill-campaign.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningOperation } from "../support/running-operation.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { underLoad } from "../support/under-load.ts";

const PORT = 18_643;
/** Before the commit, in their order, each with a moment in its middle. */
const STEPS: readonly (readonly [string, number])[] = [
  ["stage", 100],
  ["load", 300],
  ["backup", 100],
  ["rehearse", 3_000],
  ["migrate", 500],
  ["start", 800],
  ["prove", 50],
  ["gate", 50],
  ["switch", 200],
  ["watch", 2_000],
];

inOwnMachine(
  import.meta.url,
  "an upgrade is struck in each of its steps",
  () => {
    suite("classic");
    suite("containerd");
  },
  () => prepareReleases("first", "next"),
  4 * 3_600_000,
);

function suite(store: ImageStore): void {
  describe(`the ${store} store`, () => {
    const cleanups: (() => Promise<void>)[] = [];
    let site: RunningSite;
    let campaign: KillCampaign;

    before(async () => {
      const directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      site = await RunningSite.start(directory, store);
      cleanups.unshift(() => site.engine.stop());
      campaign = new KillCampaign(site, directory, PORT);
      await campaign.complete("install");
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    const upgrade = async (pauseStep?: string): Promise<RunningOperation> =>
      new RunningOperation(site, ["upgrade", (await realRelease("next")).bundle], pauseStep);
    const assertOld = async (): Promise<void> => {
      await campaign.assertWhole();
      await site.assertAt("1.0.0");
    };

    for (const [index, [step, delayMs]] of STEPS.entries()) {
      const [signal, code] = index % 2 === 0 ? (["SIGINT", 130] as const) : (["SIGTERM", 143] as const);
      it(`${signal} in ${step}, again and again: ${code}, the old state, no request lost`, async () => {
        await underLoad(PORT, site.site.state, async () => {
          const operation = await upgrade();
          await operation.reached(step, delayMs);
          let isOver = false;
          const ended = operation.ended.finally(() => {
            isOver = true;
          });
          while (!isOver) {
            operation.signal(signal);
            await Promise.race([sleep(400), ended]);
          }
          const { exit, stderr } = await ended;
          assert.equal(exit, code, stderr);
          assert.match(stderr, /the old state is in place/);
        });
        await assertOld();
      });

      it(`SIGKILL of sealift in ${step}, then recover: no request is lost`, async () => {
        await underLoad(PORT, site.site.state, async () => {
          const operation = await upgrade();
          await operation.reached(step, delayMs);
          operation.signal("SIGKILL");
          await operation.ended;
          await campaign.recover(step);
        });
        await assertOld();
      });

      it(`the engine ends in ${step}: the old state, at once or after recover`, async () => {
        const operation = await upgrade();
        await operation.reached(step, delayMs);
        await site.engine.kill();
        const { exit, stderr } = await operation.ended;
        assert.ok(exit === 5 || exit === 6, `${exit}: ${stderr}`);
        assert.match(stderr, exit === 6 ? /hint: .*sealift recover/ : /\[OPERATION_FAILED\]/);
        await site.engine.start();
        if (exit === 6) await campaign.recover(`the engine ended in ${step}`);
        await assertOld();
      });

      it(`the power goes in ${step}: the old state after recover`, async () => {
        const operation = await upgrade();
        await operation.reached(step, delayMs);
        operation.signal("SIGKILL");
        await Promise.all([site.engine.cutPower(), operation.ended]);
        await site.engine.start();
        await campaign.recover(`a power cut in ${step}`);
        await assertOld();
      });
    }

    for (const step of ["drain", "tidy"]) {
      it(`SIGTERM in ${step}, after the commit: it goes on to its end, and no request is lost`, async () => {
        await underLoad(PORT, site.site.state, async () => {
          const operation = await upgrade(step);
          await operation.paused();
          operation.signal("SIGTERM");
          operation.resume();
          const { exit, stderr } = await operation.ended;
          assert.equal(exit, 0, stderr);
        });
        await campaign.assertWhole();
        await site.assertAt("1.1.0");
        await underLoad(PORT, site.site.state, () => campaign.complete("rollback"));
      });

      it(`the power goes in ${step}, after the commit: the new state after recover`, async () => {
        const operation = await upgrade(step);
        await operation.paused();
        operation.signal("SIGKILL");
        await Promise.all([site.engine.cutPower(), operation.ended]);
        await site.engine.start();
        await campaign.recover(`a power cut in ${step}`);
        await campaign.assertWhole();
        await site.assertAt("1.1.0");
        await campaign.complete("rollback");
      });
    }
  });
}
