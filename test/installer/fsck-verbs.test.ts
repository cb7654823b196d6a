import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { sealift } from "../support/command-line.ts";
import { createSiteWithOperator } from "../support/ready-site.ts";
import { scratch } from "../support/scratch.ts";

test("fsck of a new site: text without what acts on a terminal, one JSON document, exit codes of the contract", async (t) => {
  const { state } = await createSiteWithOperator(await scratch(t));
  const clean = await sealift(["fsck", "--json", "--state", state]);
  const report = JSON.parse(clean.stdout) as { clean: boolean; findings: unknown[]; checks: { status: string }[] };
  assert.deepEqual([clean.exit, report.clean, report.findings], [0, true, []], clean.stdout + clean.stderr);
  assert.ok(
    report.checks.some(({ status }) => status === "not-checked"),
    "nothing is installed",
  );
  writeFileSync(join(state, "\u001b[2J\u202e"), "", { mode: 0o600 });
  const text = await sealift(["fsck", "--content", "--state", state]);
  assert.equal(text.exit, 4, text.stdout);
  assert.match(text.stdout, /^degraded files \[FSCK_UNKNOWN_FILE\]: .*\n {2}hint: /m);
  for (const character of ["\u001b", "\u202e"]) assert.ok(!(text.stdout + text.stderr).includes(character));
  assert.equal((await sealift(["fsck", "more"])).exit, 2);
  assert.equal((await sealift(["fsck", "--state", join(state, "nowhere")])).exit, 4);
});

test("support-bundle lists what is in it, replaces nothing, and works where there is no site", async (t) => {
  const directory = await scratch(t);
  const { state } = await createSiteWithOperator(directory);
  const out = join(directory, "support.tar");
  const made = await sealift(["support-bundle", "--out", out, "--json", "--state", state]);
  assert.equal(made.exit, 0, made.stderr);
  const manifest = JSON.parse(made.stdout) as { files: { name: string }[]; file: string; bytes: number };
  assert.ok(manifest.files.some(({ name }) => name === "fsck.json"));
  assert.deepEqual([manifest.file, manifest.bytes, statSync(out).mode & 0o777], [out, statSync(out).size, 0o600]);
  const again = await sealift(["support-bundle", "--out", out, "--state", state]);
  assert.equal(again.exit, 4);
  assert.match(again.stderr, /\[FILE_EXISTS\]/);
  assert.equal((await sealift(["support-bundle"])).exit, 2);
  const elsewhere = join(directory, "elsewhere.tar");
  const none = await sealift(["support-bundle", "--out", elsewhere, "--state", join(directory, "nowhere")]);
  assert.equal(none.exit, 0, none.stderr);
  assert.match(none.stdout, /not gathered: site\.json \[STATE_NOT_FOUND\]/);
  assert.ok(existsSync(elsewhere));
});
