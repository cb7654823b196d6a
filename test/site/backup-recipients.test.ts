/** Who opens a site's backups is part of its authority, and changes as operators do. */
import assert from "node:assert/strict";
import test from "node:test";
import { makeBackupKey } from "../../installer/backup/age-file.ts";
import { planOperatorChange } from "../../installer/lifecycle/operator-change.ts";
import {
  addOperators,
  makeAuthority,
  parseAuthority,
  removeOperator,
  withBackupRecipients,
} from "../../installer/site/authority.ts";
import { makeSigner } from "../support/ssh-signer.ts";

const signers = ["alice", "bob"].map((principal) => ({ principal, key: makeSigner().key }));
const parts = { operators: signers, reviewers: [], thresholds: {}, recoveryKey: undefined };
const [one, two] = [(await makeBackupKey()).recipient, (await makeBackupKey()).recipient].sort() as [string, string];

test("an authority without backup recipients is what it was before there were any", () => {
  const authority = makeAuthority(parts, 1);
  assert.deepEqual(authority.backupRecipients, []);
  assert.ok(!("backupRecipients" in authority.document));
  assert.equal(makeAuthority({ ...parts, backupRecipients: [] }, 1).digest, authority.digest);
});

test("recipients are kept in one order, and through every other change", () => {
  const authority = makeAuthority({ ...parts, backupRecipients: [two, one] }, 1);
  assert.deepEqual(authority.backupRecipients, [one, two]);
  const carol = { principal: "carol", key: makeSigner().key };
  const changed = removeOperator(addOperators(authority, [carol]), "bob");
  assert.deepEqual([changed.backupRecipients, changed.document.version], [[one, two], 3]);
});

test("other recipients are a change that the plan names", () => {
  const before = makeAuthority({ ...parts, backupRecipients: [one] }, 4);
  const after = withBackupRecipients(before, [two]);
  assert.equal(after.document.version, 5);
  assert.deepEqual(planOperatorChange(before, after).details, [
    `backups to come are no more sealed for ${one}`,
    `backups to come are sealed for ${two}`,
  ]);
  assert.throws(() => withBackupRecipients(after, [two]), { code: "AUTHORITY_MALFORMED" });
});

test("what is no age recipient is no authority", () => {
  const { document } = makeAuthority(parts, 1);
  for (const bad of [[], ["age1x"], [one, one], [one.toUpperCase()], ["ssh-ed25519 AAAA"], one, [1]]) {
    assert.throws(() => parseAuthority({ ...document, backupRecipients: bad }), { code: "AUTHORITY_MALFORMED" });
  }
});
