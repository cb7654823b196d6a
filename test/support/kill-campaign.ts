/**
 * Kills of Sealift in the middle of what it does to a running site, one after another on the same site, as
 * a site would meet them in its life. After each one `recover` must leave the state before or the state
 * after, the whole of it and nothing else.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { dockerCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { projectName } from "../../compose/render.ts";
import { type Deployments, NOTHING_DEPLOYED } from "../../installer/site/deployment.ts";
import { sealift } from "./command-line.ts";
import { type KilledResult, type KillPoint, runKilledAt } from "./kill-at.ts";
import { realRelease } from "./real-release.ts";
import type { RunningSite, SiteStatus } from "./running-site.ts";

export const KILLED_OPERATIONS = [
  "install",
  "upgrade",
  "rollback",
  "config",
  "uninstall",
  "rotate",
  "restore",
  "new-host",
] as const;
export type KilledOperation = (typeof KILLED_OPERATIONS)[number];

/** What is installed: nothing, or a release, with or without one to go back to. */
export interface SiteState {
  readonly version: string | null;
  readonly deploymentId: string | null;
}

export interface Kill {
  readonly operation: KilledOperation;
  readonly point: KillPoint;
  /** `recover` is killed there too, and run once more. */
  readonly recoverPoint?: KillPoint;
}

export interface KillOutcome {
  /** False if the operation has fewer journal writes and went to its end. */
  readonly wasKilled: boolean;
  readonly wasRecoverKilled: boolean;
  /** The journal's last record at the kill, as `intent start`. */
  readonly at: string;
  readonly result: "old" | "new";
  readonly seconds: number;
}

/** What PostgreSQL's superuser does in the appliance's own database. */
const TABLE = "public.sealift_test_row";
const PURGE_EVERY = 2;
const SETTLE_MS = 60_000;
const ORPHAN_MS = 200;
/** How often the way forward from a site that came without a release is gone to its end. */
const FORWARD_EVERY = 3;

/** A backup, and what was in the site when it was made. */
interface MadeBackup {
  readonly file: string;
  readonly rows: number;
  readonly version: string;
}

export class KillCampaign {
  readonly #site: RunningSite;
  readonly #directory: string;
  readonly #port: number;
  #rows = 0;
  #uninstalls = 0;
  #rotations = 0;
  #forward = 0;
  #backup: MadeBackup | undefined;

  constructor(site: RunningSite, directory: string, port: number) {
    this.#site = site;
    this.#directory = directory;
    this.#port = port;
  }

  /** Where clients reach the site now. */
  async clientPort(): Promise<number> {
    const { stdout } = await this.#site.run("config", "show", "--json");
    return (JSON.parse(stdout) as { clientPort: number }).clientPort;
  }

  deployments(): Deployments {
    const path = join(this.#site.site.state, "site/deployment.json");
    if (!existsSync(path)) {
      return NOTHING_DEPLOYED;
    }
    return JSON.parse(readFileSync(path, "utf8")) as Deployments;
  }

  /** What can be done to the site as it is. */
  possible(): KilledOperation[] {
    if (!this.#isSite()) return ["new-host"];
    const { current, previous } = this.deployments();
    if (!current) return ["install"];
    const always = ["config", "uninstall", "rotate", "restore", "new-host"] as const;
    if (current.version === "1.0.0") return ["upgrade", ...always];
    return [...(previous?.version === "1.0.0" ? ["rollback" as const] : []), ...always];
  }

  #isSite(): boolean {
    return existsSync(join(this.#site.site.state, "site/site.json"));
  }

  /** Goes to its end, not killed. */
  async complete(operation: KilledOperation): Promise<void> {
    await this.#prepare(operation);
    await this.#site.change(...(await this.#arguments(operation)));
    await this.#becameNew(operation);
    await this.assertWhole();
    if (operation === "install") await this.writeRow();
  }

  /** What an operation needs that is not there: a backup, with something behind it; a host without a site. */
  async #prepare(operation: KilledOperation): Promise<void> {
    if (operation !== "restore" && operation !== "new-host") return;
    if (this.#isSite()) {
      // One of another release, or from before a rotation, is restored as well.
      this.#backup ??= await this.#makeBackup();
      if (operation === "restore") await this.writeRow();
    }
    if (operation === "new-host" && this.#isSite()) {
      await this.#site.change("uninstall", "--purge-data");
      await rm(this.#site.site.state, { recursive: true });
    }
  }

  async #makeBackup(): Promise<MadeBackup> {
    const directory = join(this.#directory, "backups");
    const key = join(this.#directory, "backup-key");
    await mkdir(directory, { recursive: true });
    if (!existsSync(`${key}.pub`)) await ended(["key", "generate", "--backup", "--out", key]);
    const { stdout } = await this.#site.run("operator", "list");
    if (!stdout.includes("age1")) await this.#site.change("operator", "recipients", `${key}.pub`);
    const made = await ended(["backup", "--out", directory, "--json", "--state", this.#site.site.state]);
    const { backup: file, version } = JSON.parse(made) as { backup: string; version: string };
    return { file, version, rows: this.#rows };
  }

  /** What the site holds now, that it did not. */
  async #becameNew(operation: KilledOperation, isPurged = false): Promise<void> {
    if (operation === "restore" || operation === "new-host") this.#rows = this.#backup?.rows ?? 0;
    if (!isPurged) return;
    this.#rows = 0;
    // The log that a new install begins does not continue that of the backup.
    this.#backup = undefined;
  }

  /** @throws AssertionError if anything is between old and new */
  async kill({ operation, point, recoverPoint }: Kill): Promise<KillOutcome> {
    await this.#prepare(operation);
    const started = performance.now();
    const before = this.deployments();
    const entries = await this.#ledgerLength();
    const args = await this.#arguments(operation);
    const isPurged = args.includes("--purge-data");
    const killed = await runKilledAt(this.#site.signed(...args), point);
    if (!killed.wasKilled) assert.equal(killed.exit, 0, said(operation, killed));
    const at = this.#lastRecord();
    await sleep(ORPHAN_MS);
    assert.deepEqual(composeProcesses(), [], "nobody works on without Sealift");
    let wasRecoverKilled = false;
    if (recoverPoint && killed.wasKilled) {
      wasRecoverKilled = (await runKilledAt(["recover", "--state", this.#site.site.state], recoverPoint)).wasKilled;
    }
    if (operation === "new-host") await this.#recoverHost(at);
    else await this.recover(`${operation} killed at ${at}`);
    const after = this.deployments();
    const isOther =
      operation === "restore" ? await this.#isRestored(entries) : after.current?.id !== before.current?.id;
    const result = isOther ? "new" : "old";
    if (result === "old" && operation !== "new-host") assert.deepEqual(after, before, "the old state to the letter");
    if (!killed.wasKilled) assert.equal(result, "new");
    if (result === "new") await this.#becameNew(operation, isPurged);
    if (operation === "new-host" && result === "old") await this.#assertNothingRuns();
    else await this.assertWhole();
    if (operation === "install" && result === "new") await this.writeRow();
    return { wasKilled: killed.wasKilled, wasRecoverKilled, at, result, seconds: (performance.now() - started) / 1000 };
  }

  async #ledgerLength(): Promise<number> {
    if (!this.#isSite()) return 0;
    const { stdout } = await this.#site.run("ledger", "show", "--json");
    return (JSON.parse(stdout) as { entries: readonly unknown[] }).entries.length;
  }

  /** By the ledger, which is the only record of what a database was before. */
  async #isRestored(entriesBefore: number): Promise<boolean> {
    const { stdout } = await this.#site.run("ledger", "show", "--json");
    const { entries } = JSON.parse(stdout) as { entries: { type: string; data: Record<string, unknown> }[] };
    const own = entries.slice(entriesBefore).filter(({ type }) => type === "operation");
    return own.some(({ data }) => data["operation"] === "restore" && data["result"] === "committed");
  }

  /** Where a restore to a new host was killed there may be no site yet. Nothing of the backup lies in clear then. */
  async #recoverHost(at: string): Promise<void> {
    const { state } = this.#site.site;
    const beside = `.${basename(state)}.restore`;
    const isBeside = readdirSync(dirname(state)).includes(beside);
    if (this.#isSite() || isBeside) await this.recover(`new-host killed at ${at}`);
    assert.ok(!readdirSync(dirname(state)).includes(beside), "nothing of the backup beside the state");
    if (existsSync(state))
      assert.deepEqual(
        readdirSync(state).filter((name) => name.startsWith(".")),
        [],
      );
  }

  /** No site at all, or one with nothing of a release; from there a person can go on. */
  async #assertNothingRuns(): Promise<void> {
    this.#rows = 0;
    if (!this.#isSite()) {
      assert.ok(!existsSync(this.#site.site.state), "no site, or a whole one");
      assert.deepEqual(await this.#labelled("ps", "--all"), []);
      assert.deepEqual(await this.#labelled("volume", "ls"), []);
      return;
    }
    await this.assertWhole();
    this.#forward += 1;
    if (this.#forward % FORWARD_EVERY === 0) {
      await this.#site.change(...(await this.#arguments("restore")), "--bundle", await this.#bundleOfBackup());
      await this.#becameNew("restore");
      await this.assertWhole();
    } else await rm(this.#site.site.state, { recursive: true });
  }

  async #bundleOfBackup(): Promise<string> {
    return (await realRelease(this.#backup?.version === "1.0.0" ? "first" : "next")).bundle;
  }

  /** @throws AssertionError if it does not end the operation */
  async recover(after = "a cut"): Promise<void> {
    const recovered = await sealift(["recover", "--state", this.#site.site.state]);
    assert.equal(recovered.exit, 0, said(`recover after ${after}`, recovered));
  }

  async #arguments(operation: KilledOperation): Promise<string[]> {
    const file = join(this.#directory, "campaign-config.json");
    switch (operation) {
      case "install":
        await writeFile(file, JSON.stringify({ clientPort: this.#port }));
        return ["install", (await realRelease("first")).bundle, "--config", file];
      case "upgrade":
        return ["upgrade", (await realRelease("next")).bundle];
      case "rollback":
        return ["rollback"];
      case "config":
        // Another port is another base, so that the front is replaced as well.
        await writeFile(file, JSON.stringify({ clientPort: 2 * this.#port + 1 - (await this.clientPort()) }));
        return ["config", "apply", file];
      case "uninstall":
        this.#uninstalls += 1;
        return ["uninstall", ...(this.#uninstalls % PURGE_EVERY === 0 ? ["--purge-data"] : [])];
      case "rotate":
        this.#rotations += 1;
        return ["rotate", this.#rotations % 2 === 1 ? "secrets" : "certificates"];
      case "restore":
        return ["restore", this.#backup?.file ?? "", "--identity", join(this.#directory, "backup-key.key")];
      case "new-host":
        return [...(await this.#arguments("restore")), "--new-host", "--bundle", await this.#bundleOfBackup()];
    }
  }

  /** Old or new, and nothing of anything else: in the engine, on the disk, in the database, at the front. */
  async assertWhole(): Promise<void> {
    const { state } = this.#site.site;
    const { current, previous } = this.deployments();
    assert.ok(!existsSync(join(state, "journal/open")), "no open journal");
    const ledger = await this.#site.run("ledger", "verify");
    assert.equal(ledger.exit, 0, said("ledger verify", ledger));
    const { problems, state: siteState, siteId } = await this.#settled();
    assert.deepEqual(problems, []);
    const kept = [current, previous].flatMap((one) => (one ? [one] : []));
    const listed = (name: string): string[] => readdirSync(join(state, name)).sort();
    const releases = [...new Set(kept.map(({ release }) => release.slice("sha256:".length)))].sort();
    assert.deepEqual(listed("store"), releases, "store");
    assert.deepEqual(listed("deployments"), kept.map(({ id }) => id).sort(), "deployments");
    const projects = current ? [projectName(siteId, "base"), projectName(siteId, current.colour)] : [];
    assert.deepEqual(await this.#labelled("ps", "--all"), projects.sort(), "projects with containers");
    const networks = await this.#labelled("network", "ls");
    assert.ok(
      networks.every((project) => projects.includes(project)),
      `networks of ${networks}`,
    );
    const volumes = await this.#labelled("volume", "ls");
    assert.deepEqual(volumes, this.#rows > 0 || current ? [projectName(siteId, "base")] : [], "projects with volumes");
    if (!current) {
      assert.equal(siteState, "not-installed");
      assert.deepEqual(listed("switch"), []);
      if (this.#rows === 0) assert.deepEqual(filesBelow(join(state, "secrets")), [], "secrets");
      return;
    }
    assert.equal(siteState, "healthy");
    assert.equal(readFileSync(join(state, "switch/active.map"), "utf8"), `active ${current.colour}\n`);
    if (this.#rows > 0) assert.equal(await this.#sql(`SELECT count(*) FROM ${TABLE}`), String(this.#rows));
  }

  /** After a power cut the engine starts the containers again by itself, which takes its time. */
  async #settled(): Promise<SiteStatus> {
    for (const end = performance.now() + SETTLE_MS; ; ) {
      const status = await this.#site.status();
      if (status.problems.length === 0 || performance.now() > end) return status;
      await sleep(500);
    }
  }

  /** One more row of data that must be there from now on. */
  async writeRow(): Promise<void> {
    const create = `CREATE TABLE IF NOT EXISTS ${TABLE} (n integer PRIMARY KEY)`;
    await this.#sql(`${create}; INSERT INTO ${TABLE} VALUES (${this.#rows + 1})`);
    this.#rows += 1;
  }

  async #sql(text: string): Promise<string> {
    const service = "label=com.docker.compose.service=postgres";
    const id = await this.docker("ps", "--quiet", "--filter", service, "--filter", "label=sealift.site");
    return this.docker("exec", id, "psql", "-qtA", "-U", "postgres", "-d", "gateway", "-c", text);
  }

  /** The Compose projects of what the engine lists with the site's label. */
  async #labelled(...list: readonly string[]): Promise<string[]> {
    const format = '{{.Label "com.docker.compose.project"}}';
    const lines = await this.docker(...list, "--filter", "label=sealift.site", "--format", format);
    return [...new Set(lines.split("\n").filter((line) => line !== ""))].sort();
  }

  async docker(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await runCall(dockerCall(this.#site.engine.engine, args), {
      timeoutMs: 60_000,
    });
    assert.equal(status, 0, `docker ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  #lastRecord(): string {
    const path = join(this.#site.site.state, "journal/open");
    if (!existsSync(path)) return "nothing";
    const line = readFileSync(path, "utf8").trimEnd().split("\n").at(-1) ?? "";
    if (line === "") return "nothing";
    const { type, step = "", outcome = "" } = JSON.parse(line.slice(65)) as Record<string, string>;
    return [outcome || type, step].filter((word) => word !== "").join(" ");
  }
}

/** What the verb prints, which must succeed. */
async function ended(args: readonly string[]): Promise<string> {
  const result = await sealift(args);
  assert.equal(result.exit, 0, said(args.join(" "), result));
  return result.stdout;
}

function said(what: string, { exit, stdout, stderr }: Pick<KilledResult, "exit" | "stdout" | "stderr">): string {
  return `${what}: exit ${exit}\n${stdout}${stderr}`;
}

/** On the test's own machine there are none but those that Sealift started. */
function composeProcesses(): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const commands = pids.map((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
    } catch {
      return "";
    }
  });
  return commands.filter((command) => /docker-compose |compose --project-name /.test(command));
}

function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
}
