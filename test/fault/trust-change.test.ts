/** A power cut at every call of a trust import, its authorization included: the old trust or the new one, whole. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { recover } from "../../installer/lifecycle/execute.ts";
import { openSite, openSiteForChange } from "../../installer/lifecycle/site.ts";
import { enrolledTrust, trustChange } from "../../installer/lifecycle/trust-change.ts";
import { trustDigest } from "../../installer/site/trust.ts";
import { freshTrust, importTrust } from "../support/enrolled-site.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { testTrust } from "../support/test-trust.ts";

test("a trust imported under a power cut at any call is in force or not, and can be imported again", async (t) => {
  const parent = await scratch(t);
  const { directory: template, clock, open, alice } = makeTestSite(parent);
  const publisher = testTrust();
  await importTrust(open(), publisher.files, alice);
  const { files } = freshTrust(publisher);
  const [before, after] = [trustDigest(publisher.files), trustDigest(files)];
  const ends = new Map([
    [before, 0],
    [after, 0],
  ]);
  let isComplete = false;
  for (let at = 1; !isComplete; at += 3) {
    const directory = join(parent, `at-${at}`);
    cpSync(template, directory, { recursive: true });
    const disk = new FaultyDisk({ kind: at % 2 ? "power" : "kill", at }, at);
    const on = { clock: clock.read };
    try {
      await importTrust(openSiteForChange(directory, { ...on, disk }), files, alice);
      isComplete = true;
    } catch (error) {
      if (!disk.isDead) throw error;
    }
    const whole = openSite(directory, on);
    await recover(whole, new Map([[trustChange.name, trustChange]]), whole);
    const { pin } = enrolledTrust(openSiteForChange(directory, on));
    ends.set(pin.digest, (ends.get(pin.digest) ?? 0) + 1);
    assert.equal(ends.size, 2, `at ${at}: ${pin.digest}`);
    if (pin.digest === after) continue;
    await importTrust(openSiteForChange(directory, on), files, alice);
    assert.equal(enrolledTrust(openSiteForChange(directory, on)).pin.digest, after, `at ${at}`);
  }
  t.diagnostic(JSON.stringify([...ends.values()]));
  assert.ok([...ends.values()].every((count) => count > 2));
});
