/** `backup`, `restore` and what names their keys, as far as they come without an engine. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { siteContent } from "../../installer/backup/site-content.ts";
import { bytesSource, writeBackup } from "../../installer/backup/write-backup.ts";
import { authorize } from "../../installer/commands/authorize.ts";
import { backup } from "../../installer/commands/backup.ts";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import { keyGenerate } from "../../installer/commands/key-generate.ts";
import { operatorList, operatorRecipients } from "../../installer/commands/operator.ts";
import { restore } from "../../installer/commands/restore.ts";
import { siteInit } from "../../installer/commands/site-init.ts";
import { appendEntry } from "../../installer/lifecycle/ledger.ts";
import { openSiteForChange } from "../../installer/lifecycle/site.ts";
import { type Deployment, NOTHING_DEPLOYED, writeDeployments } from "../../installer/site/deployment.ts";
import { runVerb, type VerbResult } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const DIGEST = digestOf("a release");

interface Place {
  readonly at: (name: string) => string;
  readonly run: (
    command: Command,
    args?: readonly string[],
    options?: Record<string, OptionValue>,
  ) => Promise<VerbResult>;
  readonly recipient: string;
}

/** A site of alice's, with a backup key beside it. */
async function place(t: TestContext, init: Record<string, OptionValue> = {}): Promise<Place> {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", at("alice")]);
  writeFileSync(at("operators"), `alice namespaces="sealift-authorization" ${readFileSync(at("alice.pub"), "utf8")}`);
  await runVerb(keyGenerate, [], { backup: true, out: at("safe") });
  await runVerb(keyGenerate, [], { backup: true, out: at("other") });
  const run: Place["run"] = (command, args = [], options = {}) =>
    runVerb(command, args, { state: at("state"), ...options });
  const named = Object.fromEntries(Object.entries(init).map(([name, value]) => [name, at(String(value))]));
  await run(siteInit, [], { operators: at("operators"), ...named });
  return { at, run, recipient: readFileSync(at("safe.pub"), "utf8").trim() };
}

/** As if a release ran, of which a backup is made; nothing of it is in an engine. */
async function madeBackup(
  { at, recipient }: Pick<Place, "at" | "recipient">,
  { withoutLog = false } = {},
): Promise<string> {
  const site = openSiteForChange(at("state"));
  const config = canonicalJson({});
  const current: Deployment = {
    ...{ id: "1".repeat(32), release: DIGEST, appliance: "sealift-gateway", version: "1.0.0", colour: "blue" },
    ...{ config: digestOf(config), base: DIGEST, containers: DIGEST },
  };
  const deployments = { ...NOTHING_DEPLOYED, current };
  appendEntry(site.disk, site.paths.ledger, "operation", { deployments }, site.clock());
  writeDeployments(site.disk, site.paths, deployments);
  mkdirSync(at(`state/deployments/${current.id}`));
  writeFileSync(at(`state/deployments/${current.id}/config.json`), config);
  const logs = withoutLog ? undefined : [];
  const content = siteContent(openSiteForChange(at("state")), {}, { directory: "", databaseBytes: 0 }, logs);
  mkdirSync(at("out"));
  return (await writeBackup(at("out"), content, { recipients: [recipient] })).path;
}

test("backup keys come with the site or later, by operators' signatures, and are listed", async (t) => {
  const { at, run, recipient } = await place(t, { "backup-recipients": "safe.pub" });
  const listed = await run(operatorList);
  assert.ok(listed.lines.includes(`# backups are sealed for ${recipient}`));
  const other = readFileSync(at("other.pub"), "utf8").trim();
  const planned = await run(operatorRecipients, [at("other.pub")], { plan: true });
  assert.ok(planned.lines.some((line) => line.includes(`sealed for ${other}`)));
  await assert.rejects(run(operatorRecipients, [at("other.pub")]), coded("AUTHORIZATION_MISSING"));
  await assert.rejects(
    run(operatorRecipients, [at("other.key")], { key: [at("alice")] }),
    coded("BACKUP_RECIPIENT_MALFORMED"),
  );
  const out = at("change.request");
  await run(authorize, ["operator", "recipients", at("other.pub")], { out, key: [at("alice")] });
  await run(operatorRecipients, [at("other.pub")], { request: out, authorization: [`${out}.sig`] });
  assert.deepEqual(
    (await run(operatorList)).lines.filter((line) => line.includes("age1")),
    [`# backups are sealed for ${other}`],
  );
});

test("no backup without a key for it, without a release, or into nowhere", async (t) => {
  const { at, run } = await place(t);
  mkdirSync(at("out"));
  await assert.rejects(run(backup, [], { out: at("out") }), coded("BACKUP_NO_RECIPIENT"));
  await run(operatorRecipients, [at("safe.pub")], { key: [at("alice")] });
  await assert.rejects(run(backup, [], { out: at("out") }), coded("SITE_NOT_INSTALLED"));
  for (const keep of ["0", "-1", "x", "10000"]) {
    await assert.rejects(run(backup, [], { out: at("out"), keep }), coded("USAGE"));
  }
  await assert.rejects(run(backup), coded("USAGE"));
  const both = { out: at("out"), keep: "3", "without-audit-log": true };
  await assert.rejects(run(backup, [], both), coded("USAGE"));
  assert.deepEqual(readdirSync(at("out")), []);
});

test("a restore is refused before anything is touched", async (t) => {
  const mine = await place(t);
  const file = await madeBackup(mine);
  const theirs = await place(t);
  const opened = { identity: mine.at("safe.key") };
  await assert.rejects(mine.run(restore, [file]), coded("USAGE"));
  await assert.rejects(mine.run(restore, [], opened), coded("USAGE"));
  await assert.rejects(mine.run(restore, [file], { identity: mine.at("nothing") }), coded("FILE_NOT_FOUND"));
  await assert.rejects(mine.run(restore, [file], { identity: mine.at("safe.pub") }), coded("BACKUP_KEY_MALFORMED"));
  await assert.rejects(mine.run(restore, [file], { identity: mine.at("other.key") }), coded("BACKUP_KEY_WRONG"));
  await assert.rejects(mine.run(restore, [mine.at("nothing")], opened), coded("BACKUP_UNREADABLE"));
  await assert.rejects(mine.run(restore, [mine.at("operators")], opened), coded("BACKUP_MALFORMED"));
  await assert.rejects(theirs.run(restore, [file], opened), coded("BACKUP_OTHER_SITE"));
  await assert.rejects(
    theirs.run(authorize, ["restore", file], { ...opened, out: theirs.at("r") }),
    coded("BACKUP_OTHER_SITE"),
  );
  await assert.rejects(theirs.run(restore, [file], { ...opened, "new-host": true }), coded("STATE_EXISTS"));
  for (const { at } of [mine, theirs]) {
    assert.deepEqual(
      readdirSync(at("state")).filter((name) => name.startsWith(".")),
      [],
    );
  }
});

test("a new host gets no site without the release that ran, and nothing is left there", async (t) => {
  const mine = await place(t);
  const file = await madeBackup(mine);
  const wish = { identity: mine.at("safe.key"), "new-host": true, state: mine.at("new") };
  const left = (): string[] => readdirSync(mine.at(".")).filter((name) => /new|restore/.test(name));
  const error = await runVerb(restore, [file], wish).catch((cause: unknown) => cause as Error & { code: string });
  assert.ok("code" in error && error.code === "RESTORE_RELEASE_NEEDED", String(error));
  assert.match(error.message, /want sealift-gateway 1\.0\.0 \(sha256:/);
  assert.deepEqual(left(), []);
  // What a killed run left is no hindrance, and goes.
  mkdirSync(mine.at(".new.restore"), { mode: 0o700 });
  mkdirSync(mine.at(".new.restore/site"));
  writeFileSync(mine.at(".new.restore/ledger"), "half");
  await assert.rejects(runVerb(restore, [file], wish), coded("RESTORE_RELEASE_NEEDED"));
  mkdirSync(mine.at("new"), { mode: 0o700 });
  await assert.rejects(
    runVerb(authorize, ["restore", file], { ...wish, out: mine.at("r") }),
    coded("RESTORE_RELEASE_NEEDED"),
  );
  assert.deepEqual([left(), readdirSync(mine.at("new")), existsSync(mine.at("r"))], [["new"], [], false]);
});

test("a backup without an audit log makes no site, here or on a new host, and nothing is left", async (t) => {
  const mine = await place(t);
  const file = await madeBackup(mine, { withoutLog: true });
  const wish = { identity: mine.at("safe.key"), bundle: mine.at("none") };
  const into = { ...wish, "new-host": true, state: mine.at("new") };
  await assert.rejects(runVerb(restore, [file], into), coded("BACKUP_WITHOUT_LOG"));
  await assert.rejects(
    runVerb(authorize, ["restore", file], { ...into, out: mine.at("r") }),
    coded("BACKUP_WITHOUT_LOG"),
  );
  const site = openSiteForChange(mine.at("state"));
  writeDeployments(site.disk, site.paths, NOTHING_DEPLOYED);
  appendEntry(site.disk, site.paths.ledger, "operation", { deployments: NOTHING_DEPLOYED }, site.clock());
  await assert.rejects(mine.run(restore, [file], wish), coded("BACKUP_WITHOUT_LOG"));
  assert.deepEqual(
    readdirSync(mine.at(".")).filter((name) => /^\.?new|^r$/.test(name)),
    [],
  );
});

test("a backup that somebody put together of two sites becomes none", async (t) => {
  const mine = await place(t);
  const file = await madeBackup(mine);
  const content = siteContent(openSiteForChange(mine.at("state")), {}, { directory: "", databaseBytes: 0 }, []);
  const files = content.files.map((one) => (one.path === "ledger" ? bytesSource("ledger", Buffer.from("{}\n")) : one));
  mkdirSync(mine.at("forged"));
  const forged = await writeBackup(mine.at("forged"), { ...content, files }, { recipients: [mine.recipient] });
  const wish = { identity: mine.at("safe.key"), "new-host": true, state: mine.at("new") };
  await assert.rejects(runVerb(restore, [forged.path], wish), coded("LEDGER_DAMAGED"));
  assert.ok(existsSync(file) && !existsSync(mine.at("new")));
});

/** Runs until it is told to end: `swept` first, and from `handOver` on nothing. Returns how it ended, and whether the directory is left. */
async function signalled(t: TestContext, signal: NodeJS.Signals, code: string): Promise<readonly unknown[]> {
  const directory = join(await scratch(t), "clear");
  mkdirSync(directory);
  const module = new URL("../../installer/commands/swept.ts", import.meta.url).href;
  const script = `
    import { rmSync } from "node:fs";
    import { withSwept } from ${JSON.stringify(module)};
    await withSwept(() => rmSync(${JSON.stringify(directory)}, { recursive: true }), async (handOver) => {
      ${code}
      console.log("ready");
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill(signal);
  const [exit, by] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return [exit, by, existsSync(directory)];
}

test("what lies in clear is swept when a signal ends the verb, until somebody else heeds signals", async (t) => {
  assert.deepEqual(await signalled(t, "SIGINT", ""), [130, null, false]);
  assert.deepEqual(await signalled(t, "SIGTERM", ""), [143, null, false]);
  assert.deepEqual(await signalled(t, "SIGHUP", ""), [129, null, false]);
  assert.deepEqual(await signalled(t, "SIGTERM", "handOver();"), [null, "SIGTERM", true]);
  const elsewhere = 'handOver(); process.on("SIGINT", () => process.exit(7));';
  assert.deepEqual(await signalled(t, "SIGINT", elsewhere), [7, null, true]);
});
