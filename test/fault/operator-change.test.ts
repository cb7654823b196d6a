/** A power cut at every call of a real operation, its authorization included: operators before or after, and the ledger agrees. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { execute, recover } from "../../installer/lifecycle/execute.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import {
  operatorChange,
  operatorChangeParameters,
  planOperatorChange,
} from "../../installer/lifecycle/operator-change.ts";
import { openSite, openSiteForChange } from "../../installer/lifecycle/site.ts";
import { removeOperator } from "../../installer/site/authority.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { sshSign } from "../support/ssh-signer.ts";
import { makeTestSite, request } from "../support/test-site.ts";

test("operators removed under a power cut at any call are removed or not, with the ledger's word for it", async (t) => {
  const parent = await scratch(t);
  const { directory: template, clock, open, alice } = makeTestSite(parent);
  const before = open();
  const after = removeOperator(before.authority, "bob");
  const subject = planOperatorChange(before.authority, after);
  const bytes = request(before, subject);
  const authorization = await checkAuthorization(before, subject, bytes, [
    { name: "alice", bytes: sshSign(alice, bytes) },
  ]);
  const ends = new Map<number, number>();
  let isComplete = false;
  for (let at = 1; !isComplete; at += 1) {
    const directory = join(parent, `at-${at}`);
    cpSync(template, directory, { recursive: true });
    const disk = new FaultyDisk({ kind: at % 2 ? "power" : "kill", at }, at);
    const site = openSiteForChange(directory, { disk, clock: clock.read });
    try {
      const entry = spendAuthorization(site, authorization);
      await execute(site, operatorChange, site, operatorChangeParameters(before.authority, after), entry);
      isComplete = true;
    } catch (error) {
      if (!disk.isDead) throw error;
    }
    const whole = openSite(directory, { clock: clock.read });
    await recover(whole, new Map([[operatorChange.name, operatorChange]]), whole);
    const { authority, ledger } = openSiteForChange(directory, { clock: clock.read });
    assert.ok([before.authority.digest, after.digest].includes(authority.digest), `at ${at}`);
    if (at % 5 === 0) assert.deepEqual((await auditLedger(ledger)).findings, [], `at ${at}`);
    ends.set(authority.operators.length, (ends.get(authority.operators.length) ?? 0) + 1);
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(ends)));
  assert.ok((ends.get(3) ?? 0) > 3 && (ends.get(2) ?? 0) > 3);
});
