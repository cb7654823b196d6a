import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { Cage, type CageOptions, verifyInCage } from "../../verify/cage/run-cage.ts";
import { verifyError } from "../../verify/error.ts";
import { DEFAULT_POLICY_BYTES } from "../../verify/policy.ts";
import { goodExhibit } from "../support/bad-bundles.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW } from "../support/signed-bundle.ts";

const PROBE = "../../test/support/cage-probe.js";
const BAD_JUDGE = "../../test/support/bad-judge.js";

interface ProbeReport {
  readonly got: Readonly<Record<string, { readonly got?: string; readonly denied?: string }>>;
  readonly environment: readonly string[];
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly pid: number;
}

async function goodBundle(t: TestContext): Promise<{ directory: string; options: CageOptions }> {
  const directory = await scratch(t);
  const path = join(directory, "bundle");
  await writeFile(path, goodExhibit.bytes);
  const store = openStore(path);
  t.after(() => closeStore(store));
  const options: CageOptions = {
    store,
    trustFiles: goodExhibit.trustFiles,
    policyBytes: DEFAULT_POLICY_BYTES,
    time: { at: SMALL_NOW, source: "option" },
    scope: "advisory",
    sealiftVersion: "0.1.0",
    onProgress: () => {},
  };
  return { directory, options };
}

async function listening(t: TestContext, where: { path: string } | { port: number; host: string }): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(where, resolve));
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return server;
}

/** Sets variables of this process for the length of a test. */
function withEnvironment(t: TestContext, variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    t.after(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

/** What the probe is set on: all of it open to everyone, so that only the cage is in the way, but for the secret. */
async function targets(t: TestContext, directory: string): Promise<Record<string, string | number>> {
  await chmod(directory, 0o755);
  const [bundle, secret, socket] = ["bundle", "secret", "socket"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await chmod(bundle, 0o644);
  await writeFile(secret, "", { mode: 0o600 });
  await listening(t, { path: socket });
  await chmod(socket, 0o777);
  const server = await listening(t, { port: 0, host: "127.0.0.1" });
  const { port } = server.address() as AddressInfo;
  return { bundle, secret, socket, port, code: fileURLToPath(new URL("../support", import.meta.url)) };
}

test("the probe gets everything outside the cage, so what is denied inside is the cage's doing", async (t) => {
  const { directory } = await goodBundle(t);
  const child = spawn(process.execPath, [fileURLToPath(new URL("../support/cage-probe.js", import.meta.url))], {
    cwd: directory,
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(() => child.kill());
  child.stdin.write(`${JSON.stringify({ ...(await targets(t, directory)), code: directory })}\n`);
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const { got } = JSON.parse(line) as ProbeReport;
  const denied = Object.keys(got).filter((name) => got[name]?.denied !== undefined);
  // Neither peer speaks HTTP, and the secret is no library; both were reached.
  assert.deepEqual(denied, ["fetch", "load native code"]);
  assert.equal(got["load native code"]?.denied, "ERR_DLOPEN_FAILED");
});

test("a process in the cage reads, writes, connects and starts nothing, and knows nothing of its parent", async (t) => {
  withEnvironment(t, {
    SECRET_TOKEN: "hunter2",
    NODE_OPTIONS: "--allow-fs-read=* --allow-fs-write=* --allow-child-process --allow-worker --allow-net",
  });
  const { directory, options } = await goodBundle(t);
  const target = await targets(t, directory);
  const cage = new Cage(options.store);
  t.after(() => cage.close());
  const probe = cage.start(PROBE);
  probe.send(target);
  const report = JSON.parse(await probe.next(30_000)) as ProbeReport;

  const allowed = Object.keys(report.got).filter((name) => report.got[name]?.got !== undefined);
  const dropped = process.getuid?.() === 0 && cage.walls.user;
  // Without another user only Node's permission model stands before SQLite; the verdict then says so.
  assert.deepEqual(allowed, dropped ? [] : allowed.filter((name) => /SQLite|signal/.test(name)));
  assert.equal(report.got["load native code"]?.denied, "ERR_DLOPEN_DISABLED");
  assert.deepEqual(report.environment, []);
  if (dropped) assert.deepEqual([report.uid, report.gid, report.groups], [65534, 65534, [65534]]);
  else t.diagnostic("not root, or a checkout that others cannot read: the user was not dropped");
  if (cage.walls.network) {
    const [own, caged] = ["self", report.pid].map((pid) => readlinkSync(`/proc/${pid}/ns/net`));
    assert.notEqual(own, caged);
  } else t.diagnostic("this host allows no network namespace");
  const open = readdirSync(`/proc/${report.pid}/fd`).map((fd) => readlinkSync(`/proc/${report.pid}/fd/${fd}`));
  assert.deepEqual(
    open.filter((name) => name.startsWith("/") && name !== "/dev/null"),
    [target["bundle"]],
  );
});

test("the cage works on this host as a user without rights too", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root to become another user");
  const { directory } = await goodBundle(t);
  await chmod(directory, 0o755);
  await chmod(join(directory, "bundle"), 0o644);
  const trust = join(directory, "trust");
  await mkdir(trust);
  for (const [name, bytes] of goodExhibit.trustFiles) await writeFile(join(trust, name), bytes);
  const main = new URL("../../installer/main.ts", import.meta.url).pathname;
  const args = [main, "verify", join(directory, "bundle"), "--trust", trust, "--at", SMALL_NOW, "--json"];
  const run = spawnSync("setpriv", ["--reuid=65533", "--regid=65533", "--clear-groups", process.execPath, ...args], {
    encoding: "utf8",
    env: { PATH: "/usr/bin:/bin" },
  });
  if (run.status !== 0 && /EACCES|Cannot find module|permission denied/i.test(run.stderr)) {
    return t.skip("other users cannot read this checkout");
  }
  assert.equal(run.status, 0, run.stderr);
  const { decision, findings } = JSON.parse(run.stdout) as { decision: string; findings: { check: string }[] };
  assert.equal(decision, "allow");
  t.diagnostic(JSON.stringify(findings.find(({ check }) => check === "cage")));
});

test("a judge that answers as it must is believed, so the failures below are the misbehaviour's", async (t) => {
  const { options } = await goodBundle(t);
  assert.equal((await verifyInCage(options)).decision, "allow");
  const liar = { ...options, sealiftVersion: "lies well" };
  assert.equal((await verifyInCage(liar, { judge: BAD_JUDGE, judgeMaxMs: 10_000 })).decision, "allow");
});

for (const how of [
  ...["dies at once", "kills itself", "crashes", "says nothing", "spins", "talks without end", "asks for garbage"],
  ...["asks to hash standard input", "dies before its verdict", "answers garbage", "answers another question"],
  ...["answers without a nonce", "adds a member", "allows what failed", "leaves checks out", "claims the site's scope"],
  ...["judges by another time", "judges by another policy"],
]) {
  test(`a judge that ${how} gives no verdict`, async (t) => {
    const { options } = await goodBundle(t);
    const judging = verifyInCage({ ...options, sealiftVersion: how }, { judge: BAD_JUDGE, judgeMaxMs: 3_000 });
    await assert.rejects(judging, { code: "CAGE_FAILED", exit: 1 });
  });
}

test("a policy that is none is refused, whatever the judge says", async (t) => {
  const { options } = await goodBundle(t);
  await assert.rejects(verifyInCage({ ...options, policyBytes: Buffer.from("{}") }), {
    code: "POLICY_MALFORMED",
    exit: 2,
  });
  assert.equal(verifyError.codes.POLICY_MALFORMED, 2);
});
