/** `key generate --backup`: an age key pair for the safe. */
import assert from "node:assert/strict";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { identitiesIn, recipientsIn } from "../../installer/backup/age-file.ts";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";

test("a backup key is private, opens as age's, and is never written over", async (t) => {
  const prefix = join(await scratch(t), "backup");
  const made = await sealift(["key", "generate", "--backup", "--out", prefix, "--json"]);
  assert.equal(made.exit, 0, made.stderr);
  assert.equal((await stat(`${prefix}.key`)).mode & 0o777, 0o600);
  const recipient = (await readFile(`${prefix}.pub`, "utf8")).trim();
  assert.deepEqual(recipientsIn(`${recipient}\n`, "pub"), [recipient]);
  const identity = await readFile(`${prefix}.key`, "utf8");
  assert.equal(identitiesIn(identity, "key").length, 1);
  assert.ok(identity.startsWith(`# public key: ${recipient}\n`));
  assert.equal((JSON.parse(made.stdout) as { recipient: string }).recipient, recipient);
  assert.ok(!made.stdout.includes("AGE-SECRET"));
  const again = await sealift(["key", "generate", "--backup", "--out", prefix]);
  assert.match(again.stderr, /\[FILE_EXISTS\]/);
  assert.equal(await readFile(`${prefix}.key`, "utf8"), identity);
  const mixed = await sealift(["key", "generate", "--backup", "--password-env", "X", "--out", `${prefix}2`]);
  assert.equal(mixed.exit, 2, mixed.stderr);
});

test("a backup key whose public half is there already leaves no private half behind", async (t) => {
  const directory = await scratch(t);
  await writeFile(join(directory, "backup.pub"), "another's\n");
  const refused = await sealift(["key", "generate", "--backup", "--out", join(directory, "backup")]);
  assert.equal(refused.exit, 4, refused.stderr);
  assert.match(refused.stderr, /\[FILE_EXISTS\].*\n {2}hint: choose another name/);
  assert.deepEqual(await readdir(directory), ["backup.pub"]);
});
