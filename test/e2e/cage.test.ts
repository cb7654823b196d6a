import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import test, { type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { Cage, type CageOptions, verifyInCage } from "../../verify/cage/run-cage.ts";
import { verifyError } from "../../verify/error.ts";
import { DEFAULT_POLICY_BYTES } from "../../verify/policy.ts";
import { goodExhibit } from "../support/bad-bundles.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const PROBE = "../../test/support/cage-probe.js";
const PROBE_FILE = new URL("../support/cage-probe.js", import.meta.url);
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
  const at = (name: string): string => join(directory, name);
  await chmod(at("bundle"), 0o644);
  await writeFile(at("secret"), "", { mode: 0o600 });
  await writeFile(at("module.cjs"), "module.exports = 'loaded';", { mode: 0o644 });
  await writeFile(at("native.node"), "", { mode: 0o644 });
  await writeFile(at("spare"), "", { mode: 0o666 });
  await listening(t, { path: at("socket") });
  await chmod(at("socket"), 0o777);
  const abstract = `\0sealift-cage-test-${process.pid}`;
  await listening(t, { path: abstract });
  const server = await listening(t, { port: 0, host: "127.0.0.1" });
  const { port } = server.address() as AddressInfo;
  const files = { bundle: at("bundle"), secret: at("secret"), spare: at("spare"), socket: at("socket") };
  const code = fileURLToPath(new URL("../support", import.meta.url));
  return { ...files, module: at("module.cjs"), native: at("native.node"), abstract, port, code };
}

/** What fails outside the cage too, and how: nobody there speaks HTTP, and none of the files is a library. */
const FAILS_ANYWHERE: Readonly<Record<string, string>> = {
  fetch: "TypeError: fetch failed",
  "open a web socket": "error",
  "load native code": "ERR_DLOPEN_FAILED",
  "load native code by require": "ERR_DLOPEN_FAILED",
  "write through the bundle's descriptor": "EBADF",
  "cut the bundle through its descriptor": "EINVAL",
};
/** Changes how the caged process itself computes, and nothing around it. */
const ALLOWED_INSIDE = ["turn on flags of V8"];

test("the probe gets everything outside the cage, so what is denied inside is the cage's doing", async (t) => {
  const { directory, options } = await goodBundle(t);
  const child = spawn(process.execPath, [fileURLToPath(PROBE_FILE)], {
    cwd: directory,
    stdio: ["pipe", "pipe", "ignore", ...options.store.files.map(({ fd }) => fd)],
  });
  t.after(() => child.kill());
  child.stdin?.write(`${JSON.stringify({ ...(await targets(t, directory)), code: directory })}\n`);
  const [line] = (await once(createInterface({ input: child.stdout as Readable }), "line")) as [string];
  const { got } = JSON.parse(line) as ProbeReport;
  const denied = Object.entries(got).flatMap(([name, { denied: how }]) => (how === undefined ? [] : [[name, how]]));
  const rooted = ["become root", "take another group"];
  const needed = process.getuid?.() === 0 ? denied : denied.filter(([name]) => !rooted.includes(name ?? ""));
  assert.deepEqual(Object.fromEntries(needed), FAILS_ANYWHERE);
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
  const report = JSON.parse(await probe.next(60_000)) as ProbeReport;

  const names = Object.keys(report.got);
  assert.ok(names.length > 60, `${names.length} attempts`);
  const allowed = names.filter((name) => report.got[name]?.got !== undefined && !ALLOWED_INSIDE.includes(name));
  const dropped = process.getuid?.() === 0 && cage.walls.user;
  // Without another user only Node's permission model stands before SQLite; the verdict then says so.
  assert.deepEqual(allowed, dropped ? [] : allowed.filter((name) => /SQLite|signal|become root|group/.test(name)));
  // None was stopped only by our patience.
  assert.deepEqual(
    names.filter((name) => report.got[name]?.denied === "NO_ANSWER"),
    [],
  );
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

test("the walls around the cage hold without Node's permission model too", async (t) => {
  const { directory, options } = await goodBundle(t);
  const cage = new Cage(options.store);
  t.after(() => cage.close());
  if (!(cage.walls.network && cage.walls.user && process.getuid?.() === 0)) return t.skip("this host allows no walls");
  const target = await targets(t, directory);
  // As the cage starts it, but for --permission: a judge that has broken out of Node.
  const child = spawn(
    "unshare",
    ["--net", "--setgid", "65534", "--setuid", "65534", "--", process.execPath, fileURLToPath(PROBE_FILE)],
    { cwd: "/", env: {}, stdio: ["pipe", "pipe", "ignore", ...options.store.files.map(({ fd }) => fd)] },
  );
  t.after(() => child.kill());
  // Node waits for ever for a trace that it cannot write.
  child.stdin?.write(`${JSON.stringify({ ...target, without: ["write a trace"] })}\n`);
  const [line] = (await once(createInterface({ input: child.stdout as Readable }), "line")) as [string];
  const { got } = JSON.parse(line) as ProbeReport;
  for (const name of [
    ...["read a secret of the parent's user", "read the secret with SQLite", "read the parent's environment"],
    ...["write into the working directory", "write into the code", "open the bundle again, to write", "remove a file"],
    ...["change the bundle's mode through its descriptor", "change the bundle's times through its descriptor"],
    ...["connect over TCP", "connect to an abstract socket", "send over UDP", "open a web socket"],
    ...["become root", "take another group", "signal the parent", "read through the parent's root"],
  ]) {
    assert.notEqual(got[name]?.denied, undefined, `${name}: ${JSON.stringify(got[name])}`);
  }
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

test("a verdict that is larger than what a pipe holds comes back whole", async (t) => {
  const { directory, options } = await goodBundle(t);
  const images = Array.from({ length: 200 }, (_, i) => ({ name: `image${i}` }));
  const bundle = signedBundle({ small: smallRelease({ images }) });
  const path = join(directory, "many");
  await writeSignedBundle(path, bundle);
  const store = openStore(path);
  t.after(() => closeStore(store));
  const judged = await verifyInCage({ ...options, store, trustFiles: bundle.trustFiles });
  assert.equal(judged.decision, "allow");
  assert.ok(JSON.stringify(judged).length > 300_000);
});

test("a policy that is none is refused, whatever the judge says", async (t) => {
  const { options } = await goodBundle(t);
  await assert.rejects(verifyInCage({ ...options, policyBytes: Buffer.from("{}") }), {
    code: "POLICY_MALFORMED",
    exit: 2,
  });
  assert.equal(verifyError.codes.POLICY_MALFORMED, 2);
});
