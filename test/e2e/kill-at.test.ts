/** The harness that kills real verbs (test/support/kill-at.ts), on the smallest real operation: `trust import`. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { sealift } from "../support/command-line.ts";
import { countJournalWrites, runKilledAt } from "../support/kill-at.ts";
import { createSiteWithOperator, enrolSite } from "../support/ready-site.ts";
import { realTrust } from "../support/real-release.ts";
import { scratch } from "../support/scratch.ts";

test("a real operation is killed before and after each of its journal writes, and recovers", async (t) => {
  const trust = await realTrust();
  const importInto = async () => {
    const { state, operatorKey } = await createSiteWithOperator(await scratch(t));
    const options = ["--fingerprint", trust.fingerprint, "--key", operatorKey, "--state", state];
    return { state, args: ["trust", "import", trust.directory, ...options] };
  };
  const writes = await countJournalWrites((await importInto()).args);
  assert.ok(writes >= 4, `begin, intent, outcome and end, got ${writes}`);
  for (let journalWrite = 1; journalWrite <= writes; journalWrite += 1) {
    for (const when of ["before", "after"] as const) {
      const { state, args } = await importInto();
      const { wasKilled } = await runKilledAt(args, { journalWrite, when });
      assert.ok(wasKilled);
      const journal = join(state, "journal/open");
      const records = existsSync(journal) ? readFileSync(journal, "utf8").split("\n").length - 1 : 0;
      assert.equal(records, when === "before" ? journalWrite - 1 : journalWrite);
      const recovered = await sealift(["recover", "--state", state]);
      assert.equal(recovered.exit, 0, recovered.stderr);
      assert.ok(!existsSync(journal));
    }
  }
});

test("a verb that ends before the chosen write is not killed", async (t) => {
  const { state } = await enrolSite(await scratch(t), await realTrust());
  const { wasKilled, exit } = await runKilledAt(["recover", "--state", state], { journalWrite: 1, when: "before" });
  assert.equal(wasKilled, false);
  assert.equal(exit, 0);
});
