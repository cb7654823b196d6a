import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { openLog, testKey } from "../../compose/services/audit/audit-directory.ts";
import { sealift } from "../../support/command-line.ts";
import { scratch } from "../../support/scratch.ts";

test("audit verify says what holds, what was not checked, and ends with 3 when something does not hold", async (t) => {
  const root = await scratch(t);
  const directory = join(root, "log");
  const log = await openLog(directory);
  await log.append([Buffer.from('{"ts":"2026-11-21T07:00:00.000Z"}')]);
  await log.close();
  const [key, checkpoint] = [join(root, "key.pem"), join(root, "older")];
  const publicKey = createPublicKey(testKey.export({ format: "pem", type: "pkcs8" }));
  await writeFile(key, publicKey.export({ format: "pem", type: "spki" }));
  await writeFile(checkpoint, await readFile(join(directory, "checkpoint")));

  const bare = await sealift(["audit", "verify", directory]);
  assert.equal(bare.exit, 0, bare.stderr);
  assert.match(bare.stdout, /1 entries, root [A-Za-z0-9+/]{43}=\nfirst 2026-11-21T07:00:00\.000Z, last 2026-/);
  assert.equal(bare.stdout.match(/^not checked: /gm)?.length, 2);
  assert.match(bare.stdout, /^the log holds$/m);

  const full = await sealift(["audit", "verify", directory, "--key", key, "--from", checkpoint, "--json"]);
  const { holds, entries, isSignatureChecked, continues, notChecked } = JSON.parse(full.stdout);
  assert.deepEqual([holds, entries, isSignatureChecked, continues, notChecked], [true, 1, true, 1, []]);

  await writeFile(join(directory, "tile/entries/000.p/1"), Buffer.from('\0\x21{"ts":"2025-11-21T07:00:00.000Z"}'));
  const bad = await sealift(["audit", "verify", directory]);
  assert.equal(bad.exit, 3);
  assert.match(bad.stderr, /error \[AUDIT_ENTRY_CHANGED\]: entry 0 is not what the tree says/);
  assert.doesNotMatch(bad.stdout, /holds/);
  assert.match((await sealift(["audit", "verify", "--state", join(root, "none")])).stderr, /error \[STATE_NOT_FOUND\]/);
  assert.equal((await sealift(["audit", "verify", directory, "--state", root])).exit, 2);
  assert.equal((await sealift(["audit", "verify", directory, "--checkpoint"])).exit, 2);
  assert.equal((await sealift(["audit", "verify", root])).exit, 4);
});
