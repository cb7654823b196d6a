/** What a restore is allowed to be, and what is made of a backup before anybody believes it. */
import assert from "node:assert/strict";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestFromHex } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { eventOf } from "../../installer/audit/ledger-events.ts";
import { type BackupManifest, manifestDigest, WITHOUT_LOG } from "../../installer/backup/backup-manifest.ts";
import { besideState, makeBeside, removeBeside, requireExchangeable } from "../../installer/backup/beside-state.ts";
import { nothingRunning, placeSite } from "../../installer/backup/place-site.ts";
import { siteContent } from "../../installer/backup/site-content.ts";
import { spoolDirectory } from "../../installer/backup/spool.ts";
import { ledgerVerify } from "../../installer/commands/ledger.ts";
import { recover } from "../../installer/commands/recover.ts";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { BACKUP_MADE } from "../../installer/lifecycle/backup-entry.ts";
import { SILENT } from "../../installer/lifecycle/deploy-context.ts";
import { appendEntry, compareWithWitness, headOf, readLedger } from "../../installer/lifecycle/ledger.ts";
import { auditLedger, parseWitness } from "../../installer/lifecycle/ledger-audit.ts";
import { deploymentsOfLedger, SITE_RESTORED } from "../../installer/lifecycle/ledger-deployments.ts";
import { acquireLock } from "../../installer/lifecycle/lock.ts";
import { restoreDataKind } from "../../installer/lifecycle/restore-data.ts";
import { asideName } from "../../installer/lifecycle/restore-databases.ts";
import {
  planRestoreData,
  releaseNeeded,
  requireAuditLog,
  requireOwnBackup,
} from "../../installer/lifecycle/restore-plan.ts";
import { logKeyFiles, restoreSiteKind, secretsToRestore } from "../../installer/lifecycle/restore-site.ts";
import { openSite, type Site } from "../../installer/lifecycle/site.ts";
import { type Deployment, NOTHING_DEPLOYED } from "../../installer/site/deployment.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { runVerb } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { sshSign } from "../support/ssh-signer.ts";
import { makeTestSite, request, type TestSite, upgradePlan } from "../support/test-site.ts";

const DIGEST = digestFromHex("a".repeat(64));
const AT: Deployment = {
  ...{ id: "1".repeat(32), release: DIGEST, appliance: "sealift-gateway", version: "1.1.0", colour: "blue" },
  ...{ config: DIGEST, base: DIGEST, containers: DIGEST },
};
const LOG = { path: "audit-log", origin: "site.example/a", size: 100, root: `${"A".repeat(43)}=` };

function throwsCode(code: string, work: () => unknown): SealiftError {
  try {
    work();
  } catch (cause) {
    assert.ok(cause instanceof SealiftError, String(cause));
    assert.equal(cause.code, code);
    return cause;
  }
  return assert.fail(`nothing was thrown, want ${code}`);
}

/** Of `site` as it is now. */
function manifestOf(site: Site, changes: Partial<BackupManifest> = {}): BackupManifest {
  const { about } = siteContent(site, {}, { directory: "", databaseBytes: 10_000_000 }, []);
  const deployments = { ...NOTHING_DEPLOYED, current: AT };
  return { ...about, deployments, databases: ["gateway"], logs: [LOG], files: [], restBytes: 0, ...changes };
}

interface Rules {
  readonly version?: string;
  readonly upgradeFrom?: string;
  readonly appliance?: string;
  readonly names?: readonly string[];
}

function parts({
  version = "1.1.0",
  upgradeFrom = ">=1.0.0",
  appliance = AT.appliance,
  names = ["gateway"],
}: Rules = {}) {
  const release = { manifest: { appliance, version, upgradeFrom } };
  return { release, rules: { database: { service: "postgres", names } } } as unknown as Parameters<
    typeof planRestoreData
  >[2];
}

async function made(t: TestContext): Promise<{ test: TestSite; site: Site; directory: string }> {
  const directory = await scratch(t);
  const testSite = makeTestSite(directory);
  return { test: testSite, site: testSite.open(), directory };
}

test("a site's data comes from a backup of its own history only", async (t) => {
  const { test: made1, site } = await made(t);
  const manifest = manifestOf(site);
  requireOwnBackup(site, manifest);
  throwsCode("BACKUP_OTHER_SITE", () => requireOwnBackup(site, { ...manifest, siteId: "f".repeat(32) }));
  throwsCode("BACKUP_OTHER_HISTORY", () => requireOwnBackup(site, { ...manifest, ledgerHead: DIGEST }));
  throwsCode("BACKUP_OTHER_HISTORY", () => requireOwnBackup(site, { ...manifest, ledgerLength: 7 }));
  appendEntry(site.disk, site.paths.ledger, "started", {}, site.clock());
  requireOwnBackup(made1.open(), manifest);
});

test("the plan says which backup it is, what is lost, and whether the site knows it", async (t) => {
  const { test: made1, site } = await made(t);
  const manifest = manifestOf(site);
  const { subject, parameters } = planRestoreData(site, AT, parts(), manifest, 130);
  assert.deepEqual([subject.action, subject.from, subject.to], ["restore", DIGEST, DIGEST]);
  assert.deepEqual(parameters.gap, { entriesAtBackup: 100, entriesAtRestore: 130 });
  assert.equal(parameters.backup.manifest, manifestDigest(manifest));
  const text = subject.details.join("\n");
  assert.match(text, /NOT IN THIS SITE'S LEDGER/);
  assert.match(text, /WHAT WAS STORED AFTER 2026-11-21T08:00:00\.000Z IS LOST/);
  assert.match(text, /of its entries from number 100 on the data is lost/);
  // How far the log has come meanwhile is no part of what operators sign.
  assert.deepEqual(planRestoreData(site, AT, parts(), manifest, 200).subject, subject);
  appendEntry(site.disk, site.paths.ledger, BACKUP_MADE, { manifest: manifestDigest(manifest) }, site.clock());
  const known = planRestoreData(made1.open(), AT, parts(), manifest, 130);
  assert.match(known.subject.details.join("\n"), /made by this site: entry 2 of its ledger/);
  assert.deepEqual(planRestoreData(site, AT, parts(), { ...manifest, logs: [] }, 0).parameters.gap, {});
});

test("a backup without the audit log gives its databases, says what it cannot say, and makes no site", async (t) => {
  const { site } = await made(t);
  const whole = manifestOf(site, { logs: [] });
  const manifest: BackupManifest = { ...whole, kind: WITHOUT_LOG };
  const { subject, parameters } = planRestoreData(site, AT, parts(), manifest, 130);
  assert.deepEqual(parameters.gap, { entriesAtRestore: 130 });
  const text = subject.details.join("\n");
  assert.match(text, /IT HAS NO AUDIT LOG/);
  assert.match(text, /audit log: goes on; nothing here says from which entry on the data is lost/);
  assert.doesNotMatch(planRestoreData(site, AT, parts(), whole, 0).subject.details.join("\n"), /NO AUDIT LOG/);
  const error = throwsCode("BACKUP_WITHOUT_LOG", () => requireAuditLog(manifest));
  assert.match(error.hints.join(), /restore the newest whole backup first/);
  requireAuditLog(whole);
});

test("a release gets no data on which it cannot work", async (t) => {
  const { site } = await made(t);
  const plan = (data: Partial<NonNullable<BackupManifest["deployments"]["data"]>>, rules: Rules = {}): unknown =>
    planRestoreData(
      site,
      AT,
      parts(rules),
      manifestOf(site, {
        deployments: {
          ...NOTHING_DEPLOYED,
          current: AT,
          data: { appliance: AT.appliance, version: "1.1.0", rollbackTo: "", ...data },
        },
      }),
      0,
    );
  plan({});
  plan({ version: "1.0.0" });
  plan({ version: "1.2.0", rollbackTo: ">=1.1.0" });
  throwsCode("UPGRADE_NOT_ALLOWED", () => plan({ version: "0.9.0" }));
  throwsCode("ROLLBACK_NOT_ALLOWED", () => plan({ version: "1.2.0" }));
  throwsCode("RELEASE_OTHER_APPLIANCE", () => plan({}, { appliance: "other" }));
  throwsCode("RELEASE_OTHER_APPLIANCE", () => plan({}, { names: ["gateway", "more"] }));
  throwsCode("BACKUP_MALFORMED", () =>
    planRestoreData(site, AT, parts(), manifestOf(site, { deployments: NOTHING_DEPLOYED }), 0),
  );
  assert.equal(releaseNeeded(AT, "got nothing").code, "RESTORE_RELEASE_NEEDED");
});

/** What was unpacked of `site`'s backup, and its manifest. */
async function unpacked(site: Site, directory: string): Promise<{ from: string; manifest: BackupManifest }> {
  const from = join(directory, "unpacked");
  cpSync(site.paths.directory, from, { recursive: true });
  const { files, about } = siteContent(site, {}, { directory: "", databaseBytes: 0 }, []);
  const named = files.map(({ path, size, mode, uid }) => ({ path, size, mode, uid, digest: DIGEST }));
  return { from, manifest: { ...about, files: named, restBytes: 0 } };
}

test("a site is put together from a backup whose parts agree, and nothing runs there", async (t) => {
  const { site, directory } = await made(t);
  const { from, manifest } = await unpacked(site, directory);
  const into = besideState(join(directory, "new"));
  assert.equal(into, join(directory, ".new.restore"));
  await mkdir(into, { mode: 0o700 });
  const placed = placeSite(into, from, manifest, { disk: hostDisk, clock: site.clock });
  assert.deepEqual([placed.siteId, headOf(placed.ledger)], [site.siteId, headOf(site.ledger)]);
  assert.equal(placed.authority.digest, site.authority.digest);
  const floor = { ...NOTHING_DEPLOYED, current: AT, previous: AT, securityFloor: "1.0.0", engineId: "E" };
  assert.deepEqual(nothingRunning(floor), { ...NOTHING_DEPLOYED, securityFloor: "1.0.0" });
});

test("a site that was put together is whole also if the power goes then, and nobody else may write any of it", async (t) => {
  const { site, directory } = await made(t);
  const { from, manifest } = await unpacked(site, directory);
  const open = { ...manifest, files: manifest.files.map((file) => ({ ...file, mode: 0o666 })) };
  const into = besideState(join(directory, "new"));
  await mkdir(into, { mode: 0o700 });
  const disk = new FaultyDisk();
  placeSite(into, from, open, { disk, clock: site.clock });
  disk.cutPower();
  assert.ok(manifest.files.length > 2);
  for (const { path } of manifest.files.filter((file) => file.path !== "site/deployment.json")) {
    assert.deepEqual(readFileSync(join(into, path)), readFileSync(join(site.paths.directory, path)), path);
    assert.equal(statSync(join(into, path)).mode & 0o777, 0o644, path);
  }
});

test("what a restore to a new host leaves when it is killed goes with recover, but nothing of somebody else's", async (t) => {
  const directory = await scratch(t);
  const state = join(directory, "state");
  assert.equal(removeBeside(hostDisk, state), false);
  const beside = makeBeside(hostDisk, state);
  assert.equal(statSync(beside).mode & 0o777, 0o700);
  await mkdir(join(beside, ".spool.new"));
  writeFileSync(join(beside, ".spool.new/secret"), "in clear");
  const lock = acquireLock(join(beside, "lock"), "restore");
  throwsCode("LOCK_HELD", () => removeBeside(hostDisk, state));
  lock.release();
  const planned = await runVerb(recover, [], { state, plan: true });
  assert.match(planned.lines.join("\n"), /would be removed/);
  assert.ok(existsSync(beside));
  const { exit, lines } = await runVerb(recover, [], { state });
  assert.deepEqual([exit, existsSync(beside), existsSync(state)], [0, false, false]);
  assert.match(lines.join("\n"), /restore --new-host was cut off before it brought a site/);
  await assert.rejects(runVerb(recover, [], { state }), { code: "STATE_NOT_FOUND" });
});

test("recover says of a state that cannot be what it says without a restore", async (t) => {
  const directory = await scratch(t);
  writeFileSync(join(directory, "file"), "");
  for (const [state, code] of [
    [join(directory, "x".repeat(250)), "STATE_NOT_FOUND"],
    [join(directory, "nowhere/state"), "STATE_NOT_FOUND"],
    [join(directory, "file/state"), "STATE_UNREADABLE"],
  ] as const) {
    for (const plan of [true, false]) await assert.rejects(runVerb(recover, [], { state, plan }), { code }, state);
  }
});

test("nothing is unpacked, and nothing removed, where another user made the place ready", async (t) => {
  const directory = await scratch(t);
  const state = join(directory, "state");
  const beside = besideState(state);
  await mkdir(beside);
  chmodSync(beside, 0o777);
  throwsCode("STATE_UNSAFE", () => makeBeside(hostDisk, state));
  assert.equal(removeBeside(hostDisk, state), false);
  assert.ok(lstatSync(beside));
  rmSync(beside, { recursive: true });
  await mkdir(join(directory, "theirs"), { mode: 0o700 });
  writeFileSync(join(directory, "theirs/file"), "kept");
  symlinkSync(join(directory, "theirs"), beside);
  throwsCode("STATE_UNSAFE", () => makeBeside(hostDisk, state));
  assert.equal(removeBeside(hostDisk, state), false);
  assert.ok(lstatSync(beside));
  assert.equal(readFileSync(join(directory, "theirs/file"), "utf8"), "kept");
});

test("a state directory that no rename can exchange is told before anything is unpacked", async (t) => {
  const directory = await scratch(t);
  const state = join(directory, "state");
  requireExchangeable(state);
  await mkdir(state);
  requireExchangeable(state);
  // As the root of a file system of its own has it.
  await mkdir(join(state, "lost+found"));
  const error = throwsCode("RESTORE_STATE_MOUNTED", () => requireExchangeable(state));
  assert.ok(error.hints.some((hint) => hint.includes(`--state ${join(state, "site")}`)));
});

test("a backup whose parts do not agree becomes no site", async (t) => {
  const { site, directory } = await made(t);
  const wrong: Readonly<Record<string, Partial<BackupManifest>>> = {
    a: { siteId: "f".repeat(32) },
    b: { ledgerHead: DIGEST },
    c: { ledgerLength: 2 },
    d: { deployments: { ...NOTHING_DEPLOYED, current: AT } },
  };
  for (const [name, changes] of Object.entries(wrong)) {
    const base = join(directory, name);
    await mkdir(base);
    const { from, manifest } = await unpacked(site, base);
    const into = join(base, "into");
    await mkdir(into, { mode: 0o700 });
    throwsCode("BACKUP_MALFORMED", () => placeSite(into, from, { ...manifest, ...changes }, { clock: site.clock }));
  }
  const base = join(directory, "edited");
  await mkdir(base);
  const { from, manifest } = await unpacked(site, base);
  const authority = join(from, "site/authority.json");
  const document = JSON.parse(readFileSync(authority, "utf8")) as { thresholds: object; version: number };
  writeFileSync(authority, canonicalJson({ ...document, version: 9 }));
  await mkdir(join(base, "into"), { mode: 0o700 });
  throwsCode("AUTHORITY_CHANGED", () => placeSite(join(base, "into"), from, manifest, { clock: site.clock }));
});

test("a database is kept aside under a name of its own, however long its name is", () => {
  assert.equal(asideName("gateway"), "gateway_before_restore");
  const long = ["a", "b"].map((end) => `${"x".repeat(62)}${end}`);
  const aside = long.map(asideName);
  assert.ok(
    aside.every((name) => name.length <= 63 && /^[a-z0-9_]+$/.test(name)),
    aside.join(),
  );
  assert.equal(new Set([...aside, ...long]).size, 4);
});

const BACKUP = { manifest: DIGEST, created: "2026-11-21T08:00:00.000Z", release: DIGEST, version: "1.1.0" };
const parts1 = { stage: true, base: true, backup: false, rehearse: false, migrate: true, credentials: false };
const DEPLOY = {
  ...{ action: "install", before: NOTHING_DEPLOYED, to: AT, after: { ...NOTHING_DEPLOYED, current: AT }, config: "{}" },
  ...{ newSecrets: [], hasOldVolumes: false, parts: parts1, watchSeconds: 0, drainSeconds: 60 },
};

test("a site is restored in the steps of an install, with what is the backup's where it is needed", async (t) => {
  const { site } = await made(t);
  const context = {
    ...site,
    engine: () => assert.fail("no engine"),
    source: undefined,
    report: SILENT,
    signal: undefined,
    showOnce: () => {},
  };
  const given = { deploy: DEPLOY, backup: BACKUP, secrets: [], databases: ["gateway"], logs: [LOG], gap: { epoch: 2 } };
  const steps = restoreSiteKind.steps(context, given);
  const names = steps.map(({ name }) => name);
  const at = (name: string): number => names.indexOf(name);
  assert.ok(at("stage") === 0 && at("restore-secrets") + 1 === at("secrets"), names.join());
  assert.deepEqual(names.slice(at("base"), at("migrate")), ["base", "restore-data", "restore-log"]);
  assert.deepEqual(names.slice(at("commit")), ["commit", "tidy", "forget"]);
  assert.deepEqual(
    steps.filter(({ isCommit }) => isCommit).map(({ name }) => name),
    ["commit"],
  );
  // What recover finds in the journal gives the same steps.
  assert.deepEqual(
    restoreSiteKind.steps(context, JSON.parse(JSON.stringify(given))).map(({ name }) => name),
    names,
  );
  assert.deepEqual(restoreSiteKind.facts?.(given), { deployments: DEPLOY.after, restored: BACKUP, gap: { epoch: 2 } });
  for (const bad of [
    { ...given, more: 1 },
    { ...given, deploy: {} },
    { ...given, databases: ["A"] },
    { ...given, gap: { a: -1 } },
  ]) {
    throwsCode("JOURNAL_DAMAGED", () => restoreSiteKind.steps(context, bad));
  }
});

test("secrets come back with their readers and modes, and go again when the restore is taken back", async (t) => {
  const { site } = await made(t);
  const context = {
    ...site,
    engine: () => assert.fail("no engine"),
    source: undefined,
    report: SILENT,
    signal: undefined,
    showOnce: () => {},
  };
  const path = "secrets/gateway/pepper";
  const uid = process.getuid?.() ?? 0;
  const given = {
    deploy: DEPLOY,
    backup: BACKUP,
    secrets: [{ path, mode: 0o400, uid }],
    databases: [],
    logs: [],
    gap: {},
  };
  const step = restoreSiteKind.steps(context, given).find(({ name }) => name === "restore-secrets");
  const unpacked = join(spoolDirectory(site), path);
  await mkdir(join(unpacked, ".."), { recursive: true });
  writeFileSync(unpacked, "the pepper");
  await step?.do();
  await step?.do();
  const file = join(site.paths.directory, path);
  assert.deepEqual([readFileSync(file, "utf8"), statSync(file).mode & 0o777], ["the pepper", 0o400]);
  await step?.undo();
  await step?.undo();
  assert.ok(!existsSync(file));
});

test("where a release runs the commit is one file, by which recover knows", async (t) => {
  const { site } = await made(t);
  const context = {
    ...site,
    engine: () => assert.fail("no engine"),
    source: undefined,
    report: SILENT,
    signal: undefined,
    showOnce: () => {},
  };
  const given = { id: "2".repeat(32), at: AT, backup: BACKUP, databases: ["gateway"], gap: {} };
  const steps = restoreDataKind.steps(context, given);
  assert.deepEqual(
    steps.map(({ name }) => name),
    ["halt", "data", "migrate", "start", "commit", "tidy"],
  );
  const commit = steps.find(({ isCommit }) => isCommit);
  assert.equal(await commit?.probe(), "not-done");
  await commit?.do();
  assert.equal(await commit?.probe(), "done");
  const next = restoreDataKind.steps(context, { ...given, id: "3".repeat(32) }).find(({ isCommit }) => isCommit);
  assert.equal(await next?.probe(), "not-done", "the one before was another");
  throwsCode("JOURNAL_DAMAGED", () => restoreDataKind.steps(context, { ...given, at: {} }));
});

test("the log's key is made anew, and a secret that is there stays", async (t) => {
  const { site } = await made(t);
  const rules = [
    { kind: "ed25519", files: { "audit/key": 1 }, publicFiles: { "audit/key.pub": 1 } },
    { kind: "key", files: { "gateway/pepper": 1 } },
  ] as unknown as Parameters<typeof logKeyFiles>[0];
  assert.deepEqual(logKeyFiles(rules), ["audit/key", "audit/key.pub"]);
  assert.deepEqual(logKeyFiles([]), []);
  const file = { size: 1, digest: DIGEST, mode: 0o400, uid: 10_001 };
  const files = ["secrets/audit/key", "secrets/audit/key.pub", "secrets/gateway/pepper", "secrets/there", "ledger"].map(
    (path) => ({ ...file, path }),
  );
  writeFileSync(join(site.paths.directory, "secrets/there"), "");
  assert.deepEqual(secretsToRestore(site.paths.directory, { files }, rules), [
    { path: "secrets/gateway/pepper", mode: 0o400, uid: 10_001 },
  ]);
});

test("the ledger tells of a site that came to another host, and whether operators wanted it", async (t) => {
  const { test: made1, site } = await made(t);
  const data = { deployments: { ...NOTHING_DEPLOYED, securityFloor: "1.0.0" } };
  const subject = upgradePlan({ action: "restore", details: ["a"] });
  const bytes = request(site, subject);
  const signature = { name: "alice", bytes: sshSign(made1.alice, bytes) };
  spendAuthorization(site, await checkAuthorization(site, subject, bytes, [signature]));
  const ledger = appendEntry(site.disk, site.paths.ledger, SITE_RESTORED, data, site.clock());
  assert.deepEqual(deploymentsOfLedger(ledger.entries), data.deployments);
  assert.deepEqual((await auditLedger(ledger)).findings, []);
  const other = makeTestSite(await scratch(t));
  const alone = appendEntry(hostDisk, other.open().paths.ledger, SITE_RESTORED, data, other.clock.read());
  assert.deepEqual(
    (await auditLedger(alone)).findings.map(({ code }) => code),
    ["LEDGER_UNAUTHORIZED"],
  );
  assert.equal(readLedger(site.paths.ledger).entries.length, 3);
});

test("two hosts that run one site are told apart by whatever was kept of either since the backup, and by nothing before", async (t) => {
  const { test: old, site, directory } = await made(t);
  const { from, manifest } = await unpacked(site, directory);
  const kept = parseWitness(readFileSync(site.paths.ledger), "before the backup");
  appendEntry(site.disk, site.paths.ledger, BACKUP_MADE, { manifest: manifestDigest(manifest) }, site.clock());
  const subject = upgradePlan({ action: "restore", details: ["a"] });
  let bytes: Buffer | undefined;
  const hosts = new Map<string, Site>();
  for (const name of ["one", "two"]) {
    old.clock.pass(60_000);
    const into = besideState(join(directory, name));
    await mkdir(into, { mode: 0o700 });
    const placed = placeSite(into, from, manifest, { disk: hostDisk, clock: site.clock });
    // One signed request is good on both: neither host can know of the other.
    bytes ??= request(placed, subject);
    const signature = { name: "alice", bytes: sshSign(old.alice, bytes) };
    spendAuthorization(placed, await checkAuthorization(placed, subject, bytes, [signature]));
    const data = { deployments: NOTHING_DEPLOYED };
    appendEntry(hostDisk, placed.paths.ledger, SITE_RESTORED, data, site.clock());
    hosts.set(name, openSite(into, { disk: hostDisk, clock: site.clock }));
  }
  hosts.set("old", old.open());
  const first = manifest.ledgerLength + 1;
  for (const [name, host] of hosts) {
    const { ledger, siteId } = host;
    assert.equal(siteId, site.siteId);
    assert.deepEqual((await auditLedger(ledger)).findings, [], `${name} holds by itself`);
    assert.ok(kept);
    assert.equal(compareWithWitness(ledger, siteId, kept), undefined, name);
    for (const [other, { paths, ledger: its }] of hosts) {
      if (other === name) continue;
      const witness = parseWitness(readFileSync(paths.ledger), other) ?? assert.fail(other);
      const found = compareWithWitness(ledger, siteId, witness);
      assert.deepEqual([found?.code, found?.entry], ["LEDGER_DIFFERS", first], `${name} and ${other}`);
      const head = { name: other, siteId, head: headOf(its), length: its.heads.length };
      assert.match(compareWithWitness(ledger, siteId, head)?.code ?? "", /^LEDGER_(?:DIFFERS|REWOUND)$/);
      const theirs = { ...manifest, ledgerHead: headOf(its), ledgerLength: its.heads.length };
      throwsCode("BACKUP_OTHER_HISTORY", () => requireOwnBackup(host, theirs));
      const said = await runVerb(ledgerVerify, [host.paths.ledger], { against: [paths.ledger] });
      assert.equal(said.exit, 3);
      assert.match(said.lines.join("\n"), new RegExp(`entry ${first} \\[LEDGER_DIFFERS\\]`));
    }
  }
});

test("the audit log's event of a restore has the gap in numbers", async (t) => {
  const { site } = await made(t);
  const gap = { entriesAtBackup: 100, entriesAtRestore: 130 };
  const ledger = appendEntry(site.disk, site.paths.ledger, "operation", { operation: "restore", gap }, site.clock());
  const entry = ledger.entries.at(-1);
  assert.ok(entry);
  assert.deepEqual(eventOf(entry, headOf(ledger))["counts"], gap);
  assert.equal(eventOf({ ...entry, data: { gap: { a: "text" } } }, headOf(ledger))["counts"], undefined);
});
