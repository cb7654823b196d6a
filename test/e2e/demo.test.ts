/**
 * `sealift demo` on a machine of its own, as a newcomer meets it: killed in the middle, run again to its end
 * and kept, removed with the commands that it prints, and stopped with Ctrl-C. The machine has no network, so
 * that both builds are shown to need only the cache, which is filled out here first.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { VERSIONS, writeAppliances } from "../../installer/demo/appliances.ts";
import { sealift } from "../support/command-line.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { testCache } from "../support/peers.ts";
import { refreshLock } from "../support/real-release.ts";
import { scratch } from "../support/scratch.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const LOCK_FILE = "compose/appliance.lock.json";
/** A lock that is fresher than the checkout's, where that one names packages which are gone. */
const FRESH_LOCK = "SEALIFT_TEST_DEMO_LOCK";
const HOME = "/var/lib/sealift-demo";

inOwnMachine(import.meta.url, "the demo runs on a machine of its own", inside, fillCache, 1_200_000);

/** Builds what the demo builds, so that it finds every package and layer in the cache. */
async function fillCache(): Promise<Record<string, string>> {
  await mkdir(testCache(), { recursive: true });
  const directory = await mkdtemp(join(testCache(), "demo-"));
  try {
    await writeAppliances(directory);
    const fresh = join(testCache(), "demo.lock.json");
    await rm(fresh, { force: true });
    for (const version of Object.values(VERSIONS)) {
      const appliance = ["--appliance", join(directory, version, "compose/appliance.yaml")];
      const lock = join(directory, version, LOCK_FILE);
      if (existsSync(fresh)) await copyFile(fresh, lock);
      const out = ["--version", version, "--out", join(directory, "bundle.tar")];
      let built = await sealift(["bundle", "build", ...appliance, ...out]);
      if (/SOURCE_PACKAGE_GONE|LOCK_STALE/.test(built.stderr)) {
        await refreshLock(appliance);
        await copyFile(lock, fresh);
        built = await sealift(["bundle", "build", ...appliance, ...out]);
      }
      assert.equal(built.exit, 0, built.stderr);
    }
    return existsSync(fresh) ? { [FRESH_LOCK]: fresh } : {};
  } finally {
    await rm(directory, { recursive: true });
  }
}

interface DemoReport {
  readonly ok: boolean;
  readonly steps: readonly { readonly title: string; readonly commands: readonly string[] }[];
  readonly proven: readonly { readonly what: string }[];
  readonly notShown: readonly string[];
  readonly kept: {
    readonly address: string;
    readonly workdir: string;
    readonly apiKey: string;
    readonly commands: readonly string[];
  };
}

interface RunningDemo {
  readonly process: ChildProcess;
  readonly ended: Promise<{ readonly exit: number | null; readonly stdout: string; readonly stderr: string }>;
  /** Until stdout has such a line. */
  saying(line: RegExp): Promise<void>;
}

function startDemo(...options: string[]): RunningDemo {
  const child = spawn(process.execPath, [join(ROOT, "installer/main.ts"), "demo", ...options], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve)).then((exit) => ({
    exit,
    ...output,
  }));
  const saying = async (line: RegExp): Promise<void> => {
    while (!line.test(output.stdout)) {
      assert.equal(child.exitCode, null, `it ended: ${output.stdout}${output.stderr}`);
      await sleep(50);
    }
  };
  return { process: child, ended, saying };
}

function inside(): void {
  describe("demo", { timeout: 900_000 }, () => {
    const cleanups: (() => Promise<void>)[] = [];
    let machine: OwnEngine;
    let report: DemoReport;

    before(async () => {
      const directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      // The demo works in /var/lib, of which this machine thus has one of its own.
      for (const name of ["upper", "work"]) await mkdir(join(directory, name));
      const layers = `lowerdir=/var/lib,upperdir=${join(directory, "upper")},workdir=${join(directory, "work")}`;
      execFileSync("mount", ["-t", "overlay", "-o", layers, "overlay", "/var/lib"]);
      cleanups.unshift(async () => void spawnSync("umount", ["--lazy", "/var/lib"]));
      const fresh = process.env[FRESH_LOCK];
      if (fresh !== undefined) execFileSync("mount", ["--bind", fresh, join(ROOT, LOCK_FILE)]);
      await mkdir(join(directory, "engine"));
      machine = await startOwnEngine(join(directory, "engine"), { store: "classic" });
      cleanups.unshift(() => machine.stop());
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    const docker = (...args: string[]): string[] => {
      const { dockerPath, socketPath } = machine.engine;
      const text = execFileSync(dockerPath, ["--host", `unix://${socketPath}`, ...args], { encoding: "utf8" });
      return text.split("\n").filter((line) => line !== "");
    };
    /** Other people's things stay: a volume that has nothing to do with the demo. */
    const requireNothingLeft = (): void => {
      assert.deepEqual(docker("ps", "--all", "--quiet"), []);
      assert.deepEqual(docker("volume", "ls", "--quiet"), ["somebody-elses"]);
      assert.deepEqual(docker("network", "ls", "--quiet", "--filter", "type=custom"), []);
      assert.deepEqual(docker("images", "--all", "--quiet"), []);
      assert.deepEqual(readdirSync(HOME), ["lock"]);
    };

    it("a demo that is killed in the middle of the install leaves a record of what it made", async () => {
      docker("volume", "create", "somebody-elses");
      const { process: child, ended, saying } = startDemo();
      await saying(/^ {4}\$ sealift install /m);
      while (docker("ps", "--all", "--quiet").length === 0) await sleep(50);
      child.kill("SIGKILL");
      await ended;
      assert.ok(existsSync(join(HOME, "demo.json")));
    });

    it("the next one removes that, and goes the whole way", async () => {
      const { exit, stdout, stderr } = await startDemo("--keep", "--json").ended;
      assert.equal(exit, 0, stdout + stderr);
      report = JSON.parse(stdout) as DemoReport;
      assert.equal(report.ok, true);
      const proven = report.proven.map(({ what }) => what).join("\n");
      assert.match(proven, /a bundle with one bit changed is denied/);
      assert.match(proven, /a chat completion comes back streamed/);
      assert.match(proven, /a payment card's number in it is refused/);
      assert.match(proven, /upgrade lost none of \d{2,} requests/);
      assert.match(proven, /1\.1\.0 can do what 1\.0\.0 could not: GET \/v1\/usage/);
      assert.match(proven, /rollback lost none of \d{2,} requests/);
      const [, signed] = /the audit log is whole: (\d+) entries under its signed checkpoint/.exec(proven) ?? [];
      assert.ok(Number(signed) > 100, proven);
      // What this release could have shown, and the demo did not.
      assert.doesNotMatch(report.notShown.join("\n"), /release that was installed/);
    });

    it("what is kept answers clients who trust the site's authority", async () => {
      const { address, workdir, apiKey } = report.kept;
      const ca = readFileSync(join(workdir, "state/site/client-ca.pem"), "utf8");
      const status = await new Promise<number | undefined>((resolve, reject) => {
        const headers = { authorization: `Bearer ${apiKey}` };
        const asking = request(new URL("/v1/models", address), { ca, headers, agent: false }, (response) => {
          response.resume().once("end", () => resolve(response.statusCode));
        });
        asking.once("error", reject).end();
      });
      assert.equal(status, 200);
    });

    it("the commands that it prints show it and remove it", async () => {
      const script = report.kept.commands
        .filter((line) => !line.startsWith("curl "))
        // An alias is for a shell with a person at it.
        .map((line) => line.replace(/alias sealift=(.*)$/, 'sealift() { "$NODE" "$MAIN" "$@"; }'))
        .join("\n");
      const { status, stdout, stderr } = spawnSync("sh", ["-eu", "-c", script], {
        encoding: "utf8",
        env: { ...process.env, NODE: process.execPath, MAIN: join(ROOT, "installer/main.ts") },
      });
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /^site [0-9a-f]{32}: healthy$/m);
      assert.deepEqual(docker("ps", "--all", "--quiet"), []);
      assert.equal(existsSync(report.kept.workdir), false);
    });

    it("a demo that is stopped with Ctrl-C removes what it made", async () => {
      const { process: child, ended, saying } = startDemo();
      await saying(/^ {4}\$ sealift bundle build /m);
      child.kill("SIGINT");
      const { exit, stdout } = await ended;
      assert.equal(exit, 130);
      assert.match(stdout, /^The demo ended early\./m);
      requireNothingLeft();
    });

    it("a second demo at the same time is refused, and so is a directory with something in it", async () => {
      const first = startDemo();
      await first.saying(/^ {4}\$ sealift doctor/m);
      const second = await startDemo("--json").ended;
      assert.equal(second.exit, 4);
      assert.match(second.stdout, /"code": "DEMO_RUNNING"/);
      first.process.kill("SIGTERM");
      assert.equal((await first.ended).exit, 143);
      const full = await startDemo("--workdir", join(ROOT, "installer")).ended;
      assert.equal(full.exit, 4);
      assert.match(full.stderr, /DEMO_WORKDIR_UNUSABLE/);
      assert.ok(existsSync(join(ROOT, "installer/main.ts")));
      requireNothingLeft();
    });
  });
}
