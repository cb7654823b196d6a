/** A fault at every disk call of staging and of removing a release: a whole release or none, and the next run goes on. */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { removeStored, stageRelease, storedPath, storedReleases } from "../../installer/site/store.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import { openAllowed } from "../support/allowed-bundle.ts";
import { type Fault, FaultyDisk, PowerCut } from "../support/faulty-disk.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { type SignedBundle, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

/** Every n-th call; 1 is all of them. */
const STEP = Number(process.env["SEALIFT_STORE_FAULT_STEP"] ?? 7);
const images = [{ name: "gateway" }];
const first = signedBundle({ small: smallRelease({ images }) });
const second = signedBundle({ small: smallRelease({ images, version: "1.1.0" }), signers: first.signers });
const digestOfBundle = (bundle: SignedBundle): Digest => bundle.small.release.descriptor.digest;

const FAULTS: readonly ((at: number) => Fault)[] = [
  (at) => ({ kind: "error", code: "EIO", at, forever: false }),
  (at) => ({ kind: "error", code: "EIO", at, forever: true }),
  (at) => ({ kind: "error", code: "ENOSPC", at, forever: true }),
  (at) => ({ kind: "kill", at }),
  (at) => ({ kind: "power", at }),
];

interface Scene {
  /** A state directory in which the first release is stored. */
  readonly template: string;
  readonly parent: string;
  readonly next: AllowedRelease;
}

async function scene(t: TestContext): Promise<Scene> {
  const parent = await scratch(t);
  const template = join(parent, "template");
  mkdirSync(join(template, "store"), { recursive: true });
  const open = async (name: string, bundle: SignedBundle): Promise<AllowedRelease> => {
    await writeSignedBundle(join(parent, name), bundle);
    return (await openAllowed(t, join(parent, name), first.trustFiles)).allowed;
  };
  await stageRelease(hostDisk, template, await open("first", first));
  return { parent, template, next: await open("second", second) };
}

/** Runs `work` with a fault at every STEP-th of its calls, and `after` on what each left. */
async function underFaults(
  { parent, template }: Scene,
  work: (disk: FaultyDisk, state: string) => Promise<unknown>,
  after: (state: string, ended: string, what: string) => Promise<void>,
): Promise<Map<string, number>> {
  const ends = new Map<string, number>();
  const whole = new FaultyDisk();
  const practice = join(parent, "practice");
  cpSync(template, practice, { recursive: true });
  await work(whole, practice);
  for (let at = 1, run = 0; at <= whole.calls; at += STEP, run += 1) {
    const fault = (FAULTS[run % FAULTS.length] as (at: number) => Fault)(at);
    const state = join(parent, `run-${run}`);
    cpSync(template, state, { recursive: true });
    const disk = new FaultyDisk(fault, at);
    const ended = await work(disk, state).then(
      () => (disk.isDead ? "cut" : "done"),
      (cause: unknown) => {
        if (disk.isDead || cause instanceof PowerCut) return "cut";
        if (cause instanceof SealiftError) return cause.code;
        throw cause;
      },
    );
    // What was said to be done stays, if power goes the next moment.
    if (ended === "done") disk.cutPower();
    ends.set(ended, (ends.get(ended) ?? 0) + 1);
    await after(state, ended, JSON.stringify(fault));
  }
  return ends;
}

test(`a fault at every ${STEP}th call of staging leaves a whole release or none`, async (t) => {
  const here = await scene(t);
  const [old, next] = [digestOfBundle(first), digestOfBundle(second)];
  const ends = await underFaults(
    here,
    (disk, state) => stageRelease(disk, state, here.next),
    async (state, ended, what) => {
      const stored = storedReleases(state);
      assert.ok(stored.includes(old), `${what}: the release that was there is gone`);
      assert.match(ended, /^(?:done|cut|STATE_WRITE_FAILED|STATE_DISK_FULL)$/, what);
      if (ended === "done") assert.ok(stored.includes(next), `${what}: said to be done`);
      if (stored.includes(next)) assert.equal((await judge(storedPath(state, next), first)).decision, "allow", what);
      await stageRelease(hostDisk, state, here.next);
      assert.deepEqual(readdirSync(join(state, "store")).sort(), [old, next].map(hexOf).sort(), what);
      for (const one of [old, next]) {
        assert.equal((await judge(storedPath(state, one), first)).decision, "allow", what);
      }
    },
  );
  t.diagnostic(JSON.stringify(Object.fromEntries(ends)));
  assert.ok(ends.has("cut") && ends.has("STATE_WRITE_FAILED") && ends.has("STATE_DISK_FULL"));
});

test("a fault at any call of removing leaves a whole release or none", async (t) => {
  const here = await scene(t);
  const release = digestOfBundle(first);
  const ends = await underFaults(
    here,
    async (disk, state) => removeStored(disk, state, release),
    async (state, ended, what) => {
      if (existsSync(storedPath(state, release))) {
        assert.notEqual(ended, "done", what);
        assert.equal((await judge(storedPath(state, release), first)).decision, "allow", what);
      }
      removeStored(hostDisk, state, release);
      assert.deepEqual(readdirSync(join(state, "store")), [], what);
    },
  );
  t.diagnostic(JSON.stringify(Object.fromEntries(ends)));
});
