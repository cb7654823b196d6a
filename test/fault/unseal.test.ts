/** A power cut, a kill or a full disk at every call of `attest collect` and `attest unseal`, in the state and in memory. */
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { ATTESTED } from "../../installer/lifecycle/attested.ts";
import { openSite } from "../../installer/lifecycle/site.ts";
import { readHostKey } from "../../installer/lifecycle/transport-key.ts";
import { unseal } from "../../installer/lifecycle/unseal.ts";
import { challengeFor, collectFor, requiringSite, UNLOCK_KEY, unlockFor } from "../support/attested-site.ts";
import { type Fault, FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";

const SKIP = existsSync("/dev/shm") ? false : "this machine has no /dev/shm";
const KINDS: readonly ((at: number) => Fault)[] = [
  (at) => ({ kind: "power", at }),
  (at) => ({ kind: "kill", at }),
  (at) => ({ kind: "error", code: "ENOSPC", at, forever: true }),
  (at) => ({ kind: "error", code: "EIO", at, forever: false }),
];

test("a release opened under any fault is opened and spent, or can be opened again; never is the key there unspent after a failure", {
  skip: SKIP,
}, async (t) => {
  const parent = await scratch(t);
  const site = await requiringSite(makeTestSite(parent), t);
  const challenge = challengeFor(site.open());
  const answer = await collectFor(site.open(), site.run, challenge);
  const file = await unlockFor(site.open(), site.verifier, challenge, answer);
  const on = { clock: site.clock.read };
  const ends = { opened: 0, again: 0 };
  for (const [k, kind] of KINDS.entries()) {
    let isComplete = false;
    for (let at = 1; !isComplete; at += 1) {
      const name = `${k}-${at}`;
      const [state, run] = [join(parent, name), join(site.run, name)];
      cpSync(site.directory, state, { recursive: true });
      cpSync(join(site.run, site.open().siteId), join(run, site.open().siteId), {
        recursive: true,
      });
      const keyOut = join(run, "unlock.key");
      const disk = new FaultyDisk(kind(at), at);
      try {
        await unseal(openSite(state, { ...on, disk }), run, file, keyOut);
        isComplete = disk.calls < at;
      } catch (error) {
        const code = (error as { code?: string }).code ?? "";
        if (!disk.isDead) assert.ok(["STATE_DISK_FULL", "STATE_WRITE_FAILED"].includes(code), `${name}: ${error}`);
      }
      const whole = openSite(state, on);
      const isSpent = whole.ledger.entries.at(-1)?.type === ATTESTED;
      const hasKey = existsSync(keyOut);
      if (hasKey) assert.deepEqual(readFileSync(keyOut), UNLOCK_KEY, `${name}: whole or not there`);
      if (isSpent) {
        // Memory and disk do not lose the same writes in a power cut; a real one empties memory altogether.
        if (!disk.isDead) assert.ok(hasKey, `${name}: spent, and the key is there`);
        await assert.rejects(
          unseal(whole, run, file, keyOut),
          (e) => (e as { code?: string }).code === "ATTEST_RELEASE_SPENT",
        );
        ends.opened += 1;
      } else {
        await unseal(whole, run, file, keyOut);
        assert.deepEqual(readFileSync(keyOut), UNLOCK_KEY, name);
        ends.again += 1;
      }
      assert.equal(existsSync(join(run, whole.siteId, "answer.json")), false, `${name}: the transport key is gone`);
      assert.equal(openSite(state, on).ledger.entries.filter(({ type }) => type === ATTESTED).length, 1, name);
    }
  }
  t.diagnostic(JSON.stringify(ends));
  assert.ok(ends.opened > 4 && ends.again > 8);
});

test("a question answered under any fault leaves no evidence without its keys, and the host key is made once", {
  skip: SKIP,
}, async (t) => {
  const parent = await scratch(t);
  const site = await requiringSite(makeTestSite(parent), t);
  const challenge = challengeFor(site.open());
  const on = { clock: site.clock.read };
  for (const [k, kind] of KINDS.entries()) {
    let isComplete = false;
    for (let at = 1; !isComplete; at += 1) {
      const name = `collect-${k}-${at}`;
      const [state, run] = [join(parent, name), join(site.run, name)];
      cpSync(site.directory, state, { recursive: true });
      const disk = new FaultyDisk(kind(at), at);
      try {
        const answer = await collectFor(openSite(state, { ...on, disk }), run, challenge);
        isComplete = disk.calls < at;
        const file = await unlockFor(openSite(state, on), site.verifier, challenge, answer);
        await unseal(openSite(state, on), run, file, join(run, "unlock.key"));
      } catch (error) {
        const code = (error as { code?: string }).code ?? "";
        if (!disk.isDead) assert.ok(["STATE_DISK_FULL", "STATE_WRITE_FAILED"].includes(code), `${name}: ${error}`);
        const before = readHostKey(openSite(state, on).paths)?.spki;
        const { hostKey } = await collectFor(openSite(state, on), run, challenge);
        const again = await collectFor(openSite(state, on), run, challenge);
        assert.equal(again.hostKey, hostKey, name);
        if (before) assert.deepEqual(readHostKey(openSite(state, on).paths)?.spki, before, name);
      }
    }
  }
});
