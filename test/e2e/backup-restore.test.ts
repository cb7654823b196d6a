/**
 * A site's backup and its way back, on the real engine: made under load, opened by age, its data restored where it
 * runs, and the whole site on a host that has none. The audit log holds across both, and says what is missing.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { dockerCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { type CommandResult, sealift } from "../support/command-line.ts";
import { random } from "../support/faulty-disk.ts";
import { type KillPoint, runKilledAt } from "../support/kill-at.ts";
import { failedRequests, startLoad } from "../support/load.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { readRunbook, runRunbook } from "../support/run-runbook.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18644;
/** What nobody must find again. */
const CANARY = "the heron counts seventeen lanterns";
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const next = random(SEED);
const MODEL = "sealift-test-model";

inOwnMachine(
  import.meta.url,
  "a site is backed up and restored",
  () => describe("backup and restore", { timeout: 600_000 }, suite),
  () => prepareReleases("first"),
);

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
const RUNBOOK = readRunbook(new URL("../../runbooks/backup-restore.md", import.meta.url));

interface Gap {
  readonly entriesAtBackup: number;
  readonly entriesAtRestore?: number;
  readonly epoch?: number;
}

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;
  let newHost: OwnEngine | undefined;
  let directory: string;
  let apiKey = "";
  let backups: string;
  let safe: string;
  let made = "";
  let withoutLog = "";
  let atBackup = 0;

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(async () => {
      await (newHost ?? site.engine).stop();
    });
    backups = join(directory, "backups");
    safe = join(directory, "safe");
    await mkdir(backups);
    await mkdir(safe);
    await writeFile(join(directory, "install.json"), JSON.stringify({ clientPort: PORT }));
    const { bundle } = await realRelease("first");
    const done = await site.change("install", bundle, "--config", join(directory, "install.json"), "--json");
    const { credentials } = JSON.parse(done.stdout) as { credentials: string[] };
    apiKey = (JSON.parse(credentials[0] ?? "") as { key: string }).key;
    await site.change("tenant", "add", "acme");
    assert.equal(await ask(), 200);
    const noKey = await site.run("backup", "--out", backups);
    assert.match(noKey.stderr, /\[BACKUP_NO_RECIPIENT\]/);
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const ask = (state = site.site.state): Promise<number> =>
    new Promise((resolve, reject) => {
      const ca = readFileSync(join(state, "site/client-ca.pem"));
      const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
      const options = { host: "127.0.0.1", port: PORT, path: "/v1/chat/completions", method: "POST", ca, headers };
      request({ ...options, agent: false }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode ?? 0));
      })
        .on("error", reject)
        .end(JSON.stringify({ model: MODEL, messages: [{ role: "user", content: CANARY }] }));
    });
  const tenants = async (state = site.site.state): Promise<string[]> => {
    const { stdout } = await sealift(["tenant", "list", "--json", "--state", state]);
    return (JSON.parse(stdout) as { tenants: { name: string }[] }).tenants.map(({ name }) => name).sort();
  };
  const identity = (): string => join(safe, "backup-key.key");
  const opened = (...more: readonly string[]): string[] => [made, "--identity", identity(), ...more];
  /** As an operator does it, but for where things are. */
  const runbook = async (way: string | undefined, state: string): Promise<void> => {
    const [where, ...rest] = RUNBOOK.blocks;
    assert.ok(where);
    const { bundle } = await realRelease("first");
    const commands = [
      `sealift() { if [ "$1" = key ]; then '${process.execPath}' '${MAIN}' "$@"; else '${process.execPath}' '${MAIN}' "$@" --state '${state}'; fi; }`,
      `BACKUPS='${backups}' SAFE='${safe}' KEY='${site.site.operatorKey}' BUNDLE='${bundle}'`,
    ];
    const here = { ...where, commands: `${commands.join("\n")}\n` };
    runRunbook({ ...RUNBOOK, blocks: [here, ...rest] }, { directory, environment: { ...process.env } }, way);
  };
  const succeeds = (result: CommandResult): CommandResult => {
    assert.equal(result.exit, 0, `${result.stdout}${result.stderr}`);
    return result;
  };
  const logDirectory = async (state = site.site.state): Promise<string> => {
    const { stdout } = succeeds(await sealift(["audit", "verify", "--state", state]));
    return /of this site, in (\S+);/.exec(stdout)?.[1] ?? "";
  };

  it("is made while the site works, and no request is lost", async () => {
    const load = await startLoad({
      origin: `https://127.0.0.1:${PORT}`,
      caFile: join(site.site.state, "site/client-ca.pem"),
      request: { path: "/v1/models", headers: { authorization: `Bearer ${apiKey}` }, includes: MODEL },
      keptPerSecond: 10,
      newPerSecond: 10,
      release: { header: "sealift-release" },
    });
    await runbook(undefined, site.site.state).finally(async () => {
      const report = await load.stop();
      assert.equal(failedRequests(report), 0, JSON.stringify(report));
    });
    const files = readdirSync(backups).filter((name) => name.endsWith(".tar.age"));
    assert.deepEqual(readdirSync(backups).sort(), ["backup-key.pub", ...files].sort(), "never the private half");
    made = join(backups, files[0] ?? "");
    assert.ok(!readdirSync(site.site.state).includes(".spool.new"), "nothing in clear is left");
    const ledger = JSON.parse(succeeds(await site.run("ledger", "show", "--json")).stdout) as unknown;
    const digest = createHash("sha256").update(readFileSync(made)).digest("hex");
    assert.ok(JSON.stringify(ledger).includes(`"digest":"sha256:${digest}"`), "the ledger knows it");
  });

  it("opens with age and tar, and holds no image, and its audit log nothing of what was said", {
    skip: skipWithout("age"),
  }, () => {
    const plain = execFileSync(requirePeer("age"), ["-d", "-i", identity(), made], { maxBuffer: 256e6 });
    const names = execFileSync("tar", ["-t"], { input: plain, encoding: "utf8" }).trim().split("\n");
    for (const name of [
      "manifest.json",
      "ledger",
      "site/authority.json",
      "databases/gateway.dump",
      "audit-log/checkpoint",
    ]) {
      assert.ok(names.includes(name), name);
    }
    assert.ok(!names.some((name) => /^(?:store|switch|lock)/.test(name)));
    assert.ok(plain.length < 20e6, `${plain.length} bytes`);
    assert.ok(!plain.includes(CANARY));
  });

  it("is refused with a code where it must not be restored", async () => {
    const other = join(directory, "other");
    succeeds(await sealift(["key", "generate", "--backup", "--out", other]));
    await site.refused(3, "BACKUP_KEY_WRONG", "restore", made, "--identity", `${other}.key`);
    await site.refused(2, "BACKUP_KEY_MALFORMED", "restore", made, "--identity", `${other}.pub`);
    const cut = join(directory, "cut.tar.age");
    cpSync(made, cut);
    await truncate(cut, 100_000);
    await site.refused(3, "BACKUP_TRUNCATED", "restore", cut, "--identity", identity());
    const unsigned = await site.run("restore", ...opened());
    assert.equal(unsigned.exit, 3, unsigned.stderr);
    assert.match(unsigned.stderr, /\[AUTHORIZATION_MISSING\]/);
    await site.refused(4, "STATE_EXISTS", "restore", ...opened("--new-host"));
    assert.ok(!readdirSync(site.site.state).includes(".spool.new"));
  });

  it("brings the data back where the site runs; the audit log goes on and says what is lost", async () => {
    await site.change("tenant", "add", "late");
    assert.deepEqual(await tenants(), ["acme", "default", "late"]);
    assert.equal(await ask(), 200);
    await runbook("data", site.site.state);
    const { entries } = JSON.parse(succeeds(await site.run("ledger", "show", "--json")).stdout) as {
      entries: readonly { readonly data: { readonly operation?: string; readonly gap?: Gap } }[];
    };
    const gap = entries.findLast(({ data }) => data.operation === "restore")?.data.gap ?? { entriesAtBackup: 0 };
    atBackup = gap.entriesAtBackup;
    assert.ok(atBackup > 0 && (gap.entriesAtRestore ?? 0) > atBackup, JSON.stringify(gap));
    assert.deepEqual(await tenants(), ["acme", "default"]);
    assert.equal(await ask(), 200, "a key of before works");
    await site.assertAt("1.0.0");
    succeeds(await site.run("ledger", "verify"));
    const log = await logDirectory();
    assert.match(await readFile(join(log, "checkpoint"), "utf8"), /^audit\.sealift\.internal/);
  });

  it("is made of all but the audit log where that does not hold, and says so", async () => {
    const whole = readdirSync(backups);
    const damage = join(await logDirectory(), "epochs");
    await mkdir(damage);
    const refused = await site.run("backup", "--out", backups);
    assert.match(refused.stderr, /\[AUDIT_EPOCH_DIFFERS\][\s\S]*hint: sealift backup --out DIR --without-audit-log/);
    const { stdout } = succeeds(await site.run("backup", "--out", backups, "--without-audit-log"));
    assert.match(stdout, /audit log: NOT IN IT/);
    rmSync(damage, { recursive: true });
    const added = readdirSync(backups).filter((name) => !whole.includes(name));
    assert.match(added.join(), /^without-audit-log-sealift-\S+\.tar\.age$/);
    withoutLog = join(backups, added.join());
    const planned = succeeds(await site.run("restore", withoutLog, "--identity", identity(), "--plan"));
    assert.match(planned.stdout, /IT HAS NO AUDIT LOG/);
  });

  it(`cut off in its middle the data is that of now or that of the backup, as the ledger says, seed ${SEED}`, async (t) => {
    const { plan } = JSON.parse((await site.run("restore", ...opened("--plan", "--json"))).stdout) as { plan: unknown };
    assert.ok(plan);
    const results = new Set<string>();
    // begin, then intent and outcome of halt, data, migrate, start, commit and tidy.
    const points: KillPoint[] = [
      { journalWrite: 4, when: "after", delayMs: Math.floor(next() * 600) },
      { journalWrite: 8, when: "after", delayMs: Math.floor(next() * 3_000) },
      { journalWrite: 11, when: "before" },
    ];
    for (const [i, point] of points.entries()) {
      const name = `now-${i}`;
      await site.change("tenant", "add", name);
      // The one that is carried out to its end is of all but the audit log.
      const given = i === points.length - 1 ? [withoutLog, "--identity", identity()] : opened();
      const killed = await runKilledAt(site.signed("restore", ...given), point);
      assert.ok(killed.wasKilled, killed.stdout + killed.stderr);
      const { result } = JSON.parse(succeeds(await site.run("recover", "--json")).stdout) as { result: string };
      t.diagnostic(`${JSON.stringify(point)}: ${result}`);
      results.add(result);
      const found = await tenants();
      assert.equal(found.includes(name), result === "restored", `${result}: ${found.join()}`);
      if (result === "restored") assert.equal((await site.run("tenant", "disable", name, "--plan")).exit, 0);
      await site.assertAt("1.0.0");
      assert.equal(await ask(), 200);
    }
    assert.deepEqual([...results].sort(), ["committed", "restored"]);
    succeeds(await site.run("ledger", "verify"));
  });

  const docker = async (...args: readonly string[]): Promise<string> => {
    const { engine } = newHost ?? site.engine;
    const { status, stdout, stderr } = await runCall(dockerCall(engine, args), { timeoutMs: 60_000 });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };

  it("brings the whole site to a host that has none, where a new epoch of the log begins", async () => {
    const oldLog = join(directory, "old-log");
    // Its last checkpoint covers all that it has.
    succeeds(await site.run("stop"));
    cpSync(await logDirectory(), oldLog, { recursive: true, filter: (path) => !path.endsWith("hand-over") });
    await site.engine.stop();
    await mkdir(join(directory, "new-engine"));
    newHost = await startOwnEngine(join(directory, "new-engine"), { store: "classic" });
    const state = join(directory, "new-state");
    const { bundle } = await realRelease("first");
    const run = (...args: readonly string[]): Promise<CommandResult> => sealift([...args, "--state", state]);
    const missing = await run("restore", ...opened("--new-host", "--key", site.site.operatorKey));
    assert.match(missing.stderr, /\[RESTORE_RELEASE_NEEDED\]/);
    const whole = opened("--new-host", "--bundle", bundle);
    const plan = succeeds(await run("restore", ...whole, "--plan"));
    assert.match(plan.stdout, /MUST NOT run it any more/);
    const left = (): string[] =>
      readdirSync(directory).filter((name) => name === "new-state" || name.endsWith(".restore"));
    assert.deepEqual(left(), []);
    // Cut off before there is a site: nothing of it is left. The host is as it was, and takes it again.
    const calls = 20 + Math.floor(next() * 40);
    const start = ["restore", ...whole, "--key", site.site.operatorKey, "--state", state];
    const placing = await runKilledAt(start, { journalWrite: calls, when: "before", counts: "placing" });
    assert.ok(placing.wasKilled, placing.stdout + placing.stderr);
    assert.deepEqual(left(), [".new-state.restore"], `killed at change ${calls}`);
    succeeds(await run("recover"));
    assert.deepEqual(left(), []);
    // Cut off when there is one: it is whole, and nothing of a release is there.
    const point: KillPoint = { journalWrite: 8 + Math.floor(next() * 12), when: "after" };
    const killed = await runKilledAt(start, point);
    assert.ok(killed.wasKilled, killed.stdout + killed.stderr);
    const recovered = JSON.parse(succeeds(await run("recover", "--json")).stdout) as {
      operation: string;
      result: string;
    };
    assert.deepEqual([recovered.operation, recovered.result], ["restore-site", "restored"], JSON.stringify(point));
    const none = JSON.parse((await run("status", "--json")).stdout) as { state: string; problems: string[] };
    assert.deepEqual([none.state, none.problems], ["not-installed", []]);
    assert.equal(await docker("volume", "ls", "--quiet"), "");
    const again = await run("restore", ...whole, "--key", site.site.operatorKey);
    assert.match(again.stderr, /\[STATE_EXISTS\][\s\S]*without --new-host/);
    rmSync(state, { recursive: true });
    await runbook("new-host", state);
    const status = JSON.parse((await run("status", "--json")).stdout) as { state: string; problems: string[] };
    assert.deepEqual([status.state, status.problems], ["healthy", []]);
    assert.deepEqual(await tenants(state), ["acme", "default"]);
    assert.equal(await ask(state), 200, "a key of before works");
    succeeds(await run("ledger", "verify"));
    const verified = succeeds(await run("audit", "verify", "--json")).stdout;
    const log = JSON.parse(verified) as {
      epoch: number;
      closed: { entries: number; root: string }[];
      ledgerEntries: number;
    };
    assert.equal(log.epoch, 2);
    assert.deepEqual(
      log.closed.map(({ entries }) => entries),
      [atBackup],
    );
    // The old log went on behind the backup: who kept its checkpoint is told that this is lost.
    const later = await run("audit", "verify", "--from", join(oldLog, "checkpoint"));
    assert.equal(later.exit, 3, later.stdout);
    assert.match(later.stderr, /\[AUDIT_LOG_REWOUND\]/);
    succeeds(await run("fsck", "--content"));
  });
}
