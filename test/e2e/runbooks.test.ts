/**
 * The runbooks that operators follow, as they follow them: each command as it stands there, on a machine that
 * has the paths they name, with real releases on the real engine. What they say one will see is compared.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { copyFile, mkdir, rm, symlink, truncate } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { dockerCall, type ImageStore } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { prepareReleases, type ReleaseName, realRelease, realTrust } from "../support/real-release.ts";
import { driftOf, type RunbookBlock, readRunbook, runRunbook } from "../support/run-runbook.ts";
import { scratch } from "../support/scratch.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const STATE = "/var/lib/sealift";
const STORE = "SEALIFT_TEST_STORE";
const DISC = "/media/disc";
const STICK = "/media/stick";
const PERSONS = ["alice", "bob", "carol", "recovery"];
const NAMES = ["install", "upgrade", "rollback", "recover", "day-two"] as const;
const RUNBOOKS = Object.fromEntries(
  NAMES.map((name) => [name, readRunbook(new URL(`../../runbooks/${name}.md`, import.meta.url))]),
) as Record<(typeof NAMES)[number], ReturnType<typeof readRunbook>>;

for (const store of ["classic", "containerd"] as const) {
  inOwnMachine(
    import.meta.url,
    `the runbooks work as they are written, ${store} store`,
    () => {
      // Each store has a machine of its own, in which this file is run again.
      if (process.env[STORE] === store) suite(store);
    },
    async () => ({ ...(await prepareReleases("first", "next", "unhealthy")), [STORE]: store }),
  );
}

function suite(store: ImageStore): void {
  // What has nothing to do with images is looked at in one store.
  const elsewhere = { skip: store === "classic" ? false : "looked at with the classic store" };
  describe("an operator with the runbooks", { timeout: 580_000 }, () => {
    const cleanups: (() => Promise<void>)[] = [];
    const ran = new Set<RunbookBlock>();
    let own: OwnEngine;
    let directory: string;
    let environment: NodeJS.ProcessEnv;

    before(async () => {
      directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      await makeMachine(directory);
      environment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: join(directory, "home") };
      await mkdir(join(directory, "engine"));
      own = await startOwnEngine(join(directory, "engine"), { store });
      cleanups.unshift(() => own.stop());
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    function run(name: keyof typeof RUNBOOKS, way?: string, typed?: string): void {
      const options = { environment, directory, ...(typed !== undefined && { typed }) };
      for (const block of runRunbook(RUNBOOKS[name], options, way)) ran.add(block);
    }

    const upgradeBoth = (version: string): string[] => {
      const keys = ["sealift", "bob"].flatMap((name) => ["--key", join(directory, "home/.ssh", name)]);
      return ["upgrade", join(DISC, `sealift-gateway-${version}.tar`), ...keys];
    };

    /** Starts an upgrade and cuts the power when `step` has begun: engine, containers and Sealift at once. */
    async function cutPowerDuring(step: string): Promise<void> {
      const journal = join(STATE, "journal/open");
      const child = spawn(join(ROOT, "sealift"), upgradeBoth("1.1.0"), { env: environment, stdio: "ignore" });
      const ended = new Promise((resolve) => child.once("close", resolve));
      while (!existsSync(journal) || !readFileSync(journal, "utf8").includes(`"step":"${step}"`)) {
        assert.equal(child.exitCode, null, "the upgrade ended before the power was cut");
        await sleep(2);
      }
      child.kill("SIGKILL");
      await ended;
      await own.cutPower();
      await own.start();
      // What starts again is asked to end when it can listen: nobody is at a console within that second.
      while ((await docker("ps", "--quiet", "--filter", "health=starting")) !== "") await sleep(200);
    }

    it("installs", async () => {
      run("install", undefined, `${(await realTrust()).fingerprint}\n`);
    });

    it("finds out that a disc is bad", elsewhere, async () => {
      await place("next", "1.1.0");
      await truncate(join(DISC, "sealift-gateway-1.1.0.tar"), 40_000_000);
      run("upgrade", "bad-disc");
    });

    it("sees an upgrade that failed by itself, and collects what the publisher needs", elsewhere, async () => {
      await place("unhealthy", "1.2.0");
      const { status, stdout, stderr } = spawnSync(join(ROOT, "sealift"), upgradeBoth("1.2.0"), {
        env: environment,
        encoding: "utf8",
      });
      const shows = RUNBOOKS.upgrade.examples.get("returned");
      assert.ok(shows);
      assert.equal(driftOf("upgrade.md, returned", shows, `${stdout}${stderr}exit ${status}\n`), undefined);
      run("upgrade", "returned");
    });

    it("upgrades with two signatures", async () => {
      await place("next", "1.1.0");
      run("upgrade");
    });

    it("goes back without the disc, after the engine lost what did not run, and plans the way forward", async () => {
      await rm(join(DISC, "sealift-gateway-1.0.0.tar"));
      const pruned = await docker("system", "prune", "--all", "--force");
      assert.match(pruned, /^deleted: sha256:/m);
      run("rollback");
      assert.equal(await tableCount("next_notes"), 1, "the schema stays extended");
      run("rollback", "forward");
    });

    it("recovers after a power cut in the watch: the old release is back", elsewhere, async () => {
      await cutPowerDuring("watch");
      run("recover");
    });

    it("ends an operation whose journal is damaged: the old release is back", elsewhere, async () => {
      await cutPowerDuring("watch");
      const open = join(STATE, "journal/open");
      const journal = readFileSync(open);
      const second = journal.indexOf("\n") + 80;
      journal[second] = (journal[second] as number) ^ 1;
      writeFileSync(open, journal);
      const refused = spawnSync(join(ROOT, "sealift"), ["recover"], { env: environment, encoding: "utf8" });
      assert.equal(refused.status, 6, refused.stderr);
      assert.match(refused.stderr, /\[JOURNAL_DAMAGED\]/);
      run("recover", "journal");
      const { stdout } = spawnSync(join(ROOT, "sealift"), ["status"], { env: environment, encoding: "utf8" });
      assert.match(stdout, /healthy\n {2}sealift-gateway 1\.0\.0 in /);
    });

    it("recovers after a power cut behind the commit: the new release stays", elsewhere, async () => {
      await cutPowerDuring("drain");
      run("recover", "committed");
      const { stdout } = spawnSync(join(ROOT, "sealift"), ["status"], { env: environment, encoding: "utf8" });
      assert.match(stdout, /healthy\n {2}sealift-gateway 1\.1\.0 in /);
      run("recover", "whole");
    });

    it("brings a release back whose copy in the store is damaged", elsewhere, async () => {
      const release = carriedFile();
      const bytes = readFileSync(release);
      bytes[1_000] = (bytes[1_000] as number) ^ 1;
      writeFileSync(release, bytes);
      const start = spawnSync(join(ROOT, "sealift"), ["start"], { env: environment, encoding: "utf8" });
      assert.equal(start.status, 4, start.stderr);
      assert.match(start.stderr, /\[RELEASE_DAMAGED\]/);
      run("recover", "damaged");
      assert.equal(spawnSync(join(ROOT, "sealift"), ["start"], { env: environment }).status, 0);
    });

    it("looks after tenants, keys, limits and the certificate on a day like any other", elsewhere, () => {
      run("day-two");
      const { stdout } = spawnSync(join(ROOT, "sealift"), ["status"], { env: environment, encoding: "utf8" });
      assert.match(stdout, /healthy\n/);
    });

    it("has run every command of every runbook", elsewhere, () => {
      const missing = NAMES.flatMap((name) => RUNBOOKS[name].blocks.filter((block) => !ran.has(block)));
      assert.deepEqual(
        missing.map(({ commands }) => commands),
        [],
      );
    });

    async function docker(...args: string[]): Promise<string> {
      const { status, stdout, stderr } = await runCall(dockerCall(own.engine, args), { timeoutMs: 60_000 });
      assert.equal(status, 0, stderr);
      return stdout.trim();
    }

    /** The file that the release which runs carries for its containers: the one that others may read. */
    function carriedFile(): string {
      const { current } = JSON.parse(readFileSync(join(STATE, "site/deployment.json"), "utf8")) as {
        readonly current: { readonly release: string };
      };
      const blobs = join(STATE, "store", current.release.slice("sha256:".length), "blobs/sha256");
      const [name = ""] = readdirSync(blobs).filter((blob) => (statSync(join(blobs, blob)).mode & 0o077) !== 0);
      return join(blobs, name);
    }

    async function tableCount(name: string): Promise<number> {
      const [id = ""] = (await docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=postgres")).split(
        "\n",
      );
      const query = `SELECT count(*) FROM pg_tables WHERE tablename = '${name}'`;
      const psql = ["psql", "--username", "postgres", "--dbname", "gateway", "--tuples-only", "--command", query];
      return Number(await docker("exec", id, ...psql));
    }
  });
}

/** The paths that the runbooks name, seen only in this mount namespace. */
async function makeMachine(directory: string): Promise<void> {
  for (const name of ["home/.ssh", "state", "disc", "stick"]) await mkdir(join(directory, name), { recursive: true });
  const at = (name: string): string => join(directory, name);
  const script = `set -eu
mkdir -p /run/lib /run/work
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/lib,workdir=/run/work overlay /var/lib
mkdir -m 0700 "${STATE}"
mount --bind "${at("state")}" "${STATE}"
chmod 0700 "${STATE}"
mount -t tmpfs tmpfs /media
mkdir "${DISC}" "${STICK}"
mount --bind "${at("disc")}" "${DISC}"
mount --bind "${at("stick")}" "${STICK}"
mount -t tmpfs tmpfs /opt
mkdir /opt/sealift
ln -s "${ROOT}" /opt/sealift/current`;
  execFileSync("sh", ["-c", script]);
  for (const person of PERSONS) {
    // Alice is who sits here.
    const key = at(`home/.ssh/${person === "alice" ? "sealift" : person}`);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", person, "-f", key]);
    await copyFile(`${key}.pub`, join(STICK, `${person}.pub`));
  }
  await symlink((await realTrust()).directory, join(DISC, "trust"));
  await place("first", "1.0.0");
}

/** Onto the disc, in place of what has the name. */
async function place(name: ReleaseName, version: string): Promise<void> {
  const { bundle } = await realRelease(name);
  await copyFile(bundle, join(DISC, `sealift-gateway-${version}.tar`));
}
