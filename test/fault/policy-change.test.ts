/** A power cut at every call of a policy import, its authorization included: the old policy or the new one. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { recover } from "../../installer/lifecycle/execute.ts";
import { policyChange, policyOfLedger } from "../../installer/lifecycle/policy-change.ts";
import { openSite, openSiteForChange } from "../../installer/lifecycle/site.ts";
import { DEFAULT_POLICY } from "../../verify/policy.ts";
import { importPolicy } from "../support/enrolled-site.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";

test("a policy enrolled under a power cut at any call is in force or not, and can be enrolled again", async (t) => {
  const parent = await scratch(t);
  const { directory: template, clock, open, alice } = makeTestSite(parent);
  const policy = (version: number): Buffer => canonicalJson({ ...DEFAULT_POLICY, version });
  await importPolicy(open(), policy(1), alice);
  const ends = new Map<number | undefined, number>();
  let isComplete = false;
  for (let at = 1; !isComplete; at += 1) {
    const directory = join(parent, `at-${at}`);
    cpSync(template, directory, { recursive: true });
    const disk = new FaultyDisk({ kind: at % 2 ? "power" : "kill", at }, at);
    const on = { clock: clock.read };
    try {
      await importPolicy(openSiteForChange(directory, { ...on, disk }), policy(2), alice);
      isComplete = true;
    } catch (error) {
      if (!disk.isDead) throw error;
    }
    const whole = openSite(directory, on);
    await recover(whole, new Map([[policyChange.name, policyChange]]), whole);
    const inForce = (): number | undefined =>
      policyOfLedger(openSiteForChange(directory, on).ledger.entries).policy.version;
    ends.set(inForce(), (ends.get(inForce()) ?? 0) + 1);
    if (inForce() === 2) continue;
    await importPolicy(openSiteForChange(directory, on), policy(2), alice);
    assert.equal(inForce(), 2, `at ${at}`);
  }
  assert.deepEqual([...ends.keys()], [1, 2]);
  assert.ok([...ends.values()].every((count) => count > 2));
});
