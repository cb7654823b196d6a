import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { DOCKER_PATHS, firstExecutable } from "../../installer/host/engine.ts";
import { parseOsRelease } from "../../installer/host/setup-facts.ts";

const main = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
const apt = existsSync("/usr/bin/apt-get") && existsSync("/etc/os-release");
const os = apt ? parseOsRelease(readFileSync("/etc/os-release", "utf8")) : undefined;
const supported = os !== undefined && ["debian 12", "debian 13", "ubuntu 24.04"].includes(`${os.id} ${os.version}`);
const root = process.getuid?.() === 0;

const PID_FILE = "/var/run/docker.pid";

/** With traps in the environment that must change nothing. */
function sealift(...args: string[]) {
  const env = { ...process.env, DOCKER_HOST: "tcp://127.0.0.1:1", DOCKER_CONTEXT: "elsewhere" };
  return spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env, timeout: 900_000 });
}

it("says what it would do, and changes nothing", {
  skip: !(supported && root) && "needs root on a supported host",
}, () => {
  const source = "/etc/apt/sources.list.d/sealift-engine.sources";
  const before = existsSync(source);
  const { status, stdout, stderr } = sealift("host", "setup", "--plan", "--json");
  assert.equal(status, 0, stderr);
  const plan = JSON.parse(stdout) as { changed: boolean; steps: { kind: string }[]; notes: string[] };
  assert.equal(plan.changed, false);
  assert.ok(
    plan.steps.length === 0 ? /nothing is changed/.test(plan.notes.join()) : plan.steps.at(-1)?.kind === "check",
  );
  assert.equal(existsSync(source), before);
});

const install =
  !supported || !root
    ? "needs root on a supported host"
    : process.env["SEALIFT_TEST_HOST_SETUP"] === undefined && firstExecutable(["/usr/sbin/dockerd"]) === undefined
      ? "this machine has no engine; SEALIFT_TEST_HOST_SETUP=1 allows the test to install one"
      : false;

it("makes an engine that answers, and then has nothing to do", { skip: install, timeout: 900_000 }, (t) => {
  // Engines of other tests run here too, each in namespaces of its own: the host's is the one of this file.
  const running = (): number | undefined => {
    const pid = existsSync(PID_FILE) ? Number(readFileSync(PID_FILE, "utf8")) : 0;
    return pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined;
  };
  const ranBefore = running() !== undefined;
  t.after(() => {
    const pid = running();
    if (!ranBefore && pid !== undefined) process.kill(pid, "SIGTERM");
  });
  const first = sealift("host", "setup", "--yes");
  assert.equal(first.status, 0, first.stderr);
  const docker = firstExecutable(DOCKER_PATHS);
  assert.ok(docker);
  const info = spawnSync(docker, ["--host", "unix:///var/run/docker.sock", "info"], { encoding: "utf8" });
  assert.equal(info.status, 0, info.stderr);
  const again = sealift("host", "setup");
  assert.equal(again.status, 0, again.stderr);
  assert.match(again.stdout, /is there and good; nothing is changed/);
});

it("doctor agrees with what is there", { skip: !root && "needs root" }, () => {
  const { status, stdout } = sealift("doctor", "--json");
  const { ok, findings } = JSON.parse(stdout) as {
    ok: boolean;
    findings: { check: string; status: string; fix?: string }[];
  };
  assert.equal(status, ok ? 0 : 4);
  for (const one of findings) assert.ok(one.status !== "fail" || one.fix, one.check);
  assert.ok(findings.length >= 18);
});
