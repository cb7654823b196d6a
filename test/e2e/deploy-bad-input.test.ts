/**
 * What an operator, a medium, a disk or another program can do wrong around a site: each is refused or taken
 * back with its code and a next step, and the site is what it was before.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { mkdir, open, readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { sealift } from "../support/command-line.ts";
import { KillCampaign } from "../support/kill-campaign.ts";
import { inOwnMachine, startOwnEngine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningOperation } from "../support/running-operation.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, writeSmallBundle } from "../support/small-bundle.ts";

const PORT = 18_843;
const ENGINE_BYTES = 3_000_000_000;
const SITE_BYTES = 600_000_000;
const SECRET = "hunter2 typed into the wrong place";

inOwnMachine(import.meta.url, "a site refuses bad input and stays what it was", defineTests, () =>
  prepareReleases("first", "next"),
);

function defineTests(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let directory: string;
  let site: RunningSite;
  let whole: KillCampaign;
  let [first, next] = ["", ""];

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    const siteDirectory = join(directory, "site");
    await mkdir(siteDirectory);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SITE_BYTES}`, "tmpfs", siteDirectory]);
    cleanups.unshift(async () => void spawnSync("umount", ["--lazy", siteDirectory]));
    site = await RunningSite.start(directory, "classic", ENGINE_BYTES);
    cleanups.unshift(() => site.engine.stop());
    whole = new KillCampaign(site, directory, PORT);
    [first, next] = [(await realRelease("first")).bundle, (await realRelease("next")).bundle];
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const config = async (value: unknown): Promise<string> => {
    const file = join(directory, "config.yaml");
    await writeFile(file, JSON.stringify(value));
    return file;
  };
  const ledger = (): Buffer => readFileSync(join(site.site.state, "ledger"));
  const installing = async (bundle = first): Promise<string[]> => [
    ...["install", bundle, "--config", await config({ clientPort: PORT })],
  ];

  /** The operation pauses when `step` begins, `harm` is done, and it ends like this, with the old state in place. */
  async function harmed(
    args: readonly string[],
    step: string,
    harm: () => Promise<void> | void,
    expected: { readonly exit: number; readonly says: RegExp },
  ): Promise<void> {
    const operation = new RunningOperation(site, args, step);
    await operation.paused();
    try {
      await harm();
    } finally {
      operation.resume();
    }
    const { exit, stderr } = await operation.ended;
    assert.equal(exit, expected.exit, stderr);
    assert.match(stderr, expected.says);
  }

  it("a configuration that the schema refuses: the member is named, its value is not repeated", async () => {
    for (const [bad, says] of [
      [{ clientPort: SECRET }, /\/clientPort: must be integer/],
      [{ passwrod: SECRET }, /"passwrod"/],
    ] as const) {
      const { stderr } = await site.refused(2, "CONFIG_MALFORMED", "install", first, "--config", await config(bad));
      assert.match(stderr, says);
      assert.ok(!stderr.includes(SECRET));
    }
    await whole.assertWhole();
  });

  it("a release that nobody signed for this site", async () => {
    const bundle = join(directory, "unsigned.tar");
    await writeSmallBundle(bundle, smallRelease());
    const { exit, stderr } = await sealift(site.signed("install", bundle));
    assert.equal(exit, 3, stderr);
    assert.match(stderr, /SIGNATURE_/);
    await whole.assertWhole();
  });

  it("clients' port is taken", async () => {
    const server = await listen("127.0.0.1", PORT);
    const { stderr } = await site.refused(4, "SITE_PORT_BUSY", ...(await installing()));
    assert.match(stderr, /hint: ss /);
    await close(server);
    await whole.assertWhole();
  });

  it("the endpoint's port is taken", async () => {
    const server = await listen("127.83.76.1", 5000);
    const before = ledger();
    const { stderr } = await site.refused(4, "ENGINE_PORT_BUSY", ...(await installing()));
    assert.match(stderr, /hint: ss /);
    assert.deepEqual(ledger(), before, "no authorization was spent");
    await close(server);
    let late: Server | undefined;
    const take = async (): Promise<void> => {
      late = await listen("127.83.76.1", 5000);
    };
    await harmed(await installing(), "load-first", take, { exit: 5, says: /"load-first": ENGINE_PORT_BUSY: / });
    if (late) await close(late);
    await whole.assertWhole();
  });

  it("the bundle changes after it was verified", async () => {
    const bundle = join(directory, "changed.tar");
    copyFileSync(first, bundle);
    await harmed(await installing(bundle), "stage", () => flipByte(bundle, 60_000_000), {
      exit: 5,
      says: /"stage": LAYOUT_[A-Z_]+: /,
    });
    await whole.assertWhole();
  });

  it("the medium is pulled out while it is copied", async () => {
    const bundle = join(directory, "changed.tar");
    copyFileSync(first, bundle);
    await harmed(await installing(bundle), "stage", () => truncateSync(bundle, 30_000_000), {
      exit: 5,
      says: /"stage": LAYOUT_[A-Z_]+: /,
    });
    rmSync(bundle);
    await whole.assertWhole();
  });

  it("the state's disk is full: before anything begins, and before the release is copied", async () => {
    const disk = new Filler(join(directory, "site"));
    const before = ledger();
    for (const bytes of [0, 20_000_000]) {
      disk.leave(bytes);
      await site.refused(5, "STATE_DISK_FULL", ...(await installing()));
      disk.free();
      assert.deepEqual(ledger(), before, "no authorization was spent");
    }
    await whole.assertWhole();
    await harmed(await installing(), "stage", () => disk.leave(20_000_000), {
      exit: 5,
      says: /"stage": STATE_DISK_FULL: /,
    });
    disk.free();
    await whole.assertWhole();
  });

  it("the engine's disk is full: before anybody signs, and while it pulls", async () => {
    const disk = new Filler(join(directory, "engine/data"));
    disk.leave(50_000_000);
    const { stderr } = await site.refused(4, "SITE_DISK_SHORT", ...(await installing()));
    assert.match(stderr, /hint: sealift prune/);
    disk.free();
    await harmed(await installing(), "load-first", () => disk.leave(50_000_000), {
      exit: 5,
      says: /"load-first": ENGINE_DISK_FULL: /,
    });
    disk.free();
    await whole.assertWhole();
  });

  it("the engine dies while it pulls: nothing is left of the install, at once or after recover", async () => {
    // What it pulled before its disk was full.
    await whole.docker("image", "prune", "--all", "--force");
    const operation = new RunningOperation(site, await installing());
    await operation.reached("load-first", 150);
    await site.engine.kill();
    const { exit, stderr } = await operation.ended;
    assert.ok(exit === 5 || exit === 6, `${exit}: ${stderr}`);
    assert.match(stderr, /^load the images of what starts first: failed: /m);
    await site.engine.start();
    await whole.recover("an engine that died while it pulled");
    await whole.assertWhole();
  });

  it("every variable that could lead to another engine or file is a trap, and nobody steps into it", async () => {
    const trap = await Trap.set(join(directory, "trap"));
    const { exit, stdout, stderr } = await sealift(site.signed(...(await installing())), trap.environment);
    assert.equal(exit, 0, stdout + stderr);
    assert.equal((await sealift(["status", "--state", site.site.state], trap.environment)).exit, 0);
    assert.deepEqual(await trap.sprung(), []);
    await whole.writeRow();
    await whole.assertWhole();
  });

  it("an authorization for another plan", async () => {
    const request = join(directory, "upgrade.request");
    const asked = await site.run("authorize", "upgrade", next, "--out", request, "--key", site.site.operatorKey);
    assert.equal(asked.exit, 0, asked.stderr);
    const signed = ["--request", request, "--authorization", `${request}.sig`];
    const other = await site.run("config", "apply", await config({ clientPort: PORT + 1 }), ...signed);
    assert.equal(other.exit, 3, other.stderr);
    assert.match(other.stderr, /\[AUTHORIZATION_OTHER_PLAN\]/);
    await whole.assertWhole();
  });

  it("a rendered file is edited: seen by status, no upgrade goes over it, start writes it anew", async () => {
    const id = whole.deployments().current?.id ?? "";
    const files = await readdir(join(site.site.state, "deployments", id));
    const file = join(site.site.state, "deployments", id, files.find((name) => /^base/.test(name)) ?? "");
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.toString("utf8").replace("no-new-privileges:true", "no-new-privileges:false"));
    const status = await site.run("status");
    assert.equal(status.exit, 4, status.stdout);
    assert.match(status.stdout, /PROBLEM .* is not the file that was rendered/);
    const { stderr } = await site.refused(3, "DEPLOYMENT_DAMAGED", "upgrade", next);
    assert.match(stderr, /hint: sealift start/);
    await started();
    assert.deepEqual(readFileSync(file), bytes);
    await whole.assertWhole();
  });

  it("the switch is deleted, and a container removed by hand: start puts both right", async () => {
    rmSync(join(site.site.state, "switch/active.map"));
    const gateway = await whole.docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=gateway");
    await whole.docker("rm", "--force", gateway);
    const { exit, stdout } = await site.run("status");
    assert.equal(exit, 4, stdout);
    assert.match(stdout, /PROBLEM gateway has no container/);
    assert.match(stdout, /PROBLEM the front's switch says nothing/);
    await started();
    await whole.assertWhole();
  });

  it("the database does not run: the upgrade is refused before it spends anything, or taken back", async () => {
    const postgres = await whole.docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=postgres");
    await harmed(["upgrade", next], "backup", async () => void (await whole.docker("stop", postgres)), {
      exit: 5,
      says: /"backup": BACKUP_FAILED: /,
    });
    const before = ledger();
    const { stderr } = await site.refused(4, "SITE_DATABASE_DOWN", "upgrade", next);
    assert.match(stderr, /hint: sealift start/);
    assert.deepEqual(ledger(), before, "no authorization was spent");
    await started();
    await whole.assertWhole();
  });

  /** The upgrade pauses when `step` begins, and goes on with a full disk. Where that left it unclear, `recover` ends it. */
  async function filled(place: string, step: string): Promise<void> {
    const disk = new Filler(join(directory, place));
    const operation = new RunningOperation(site, ["upgrade", next], step);
    await operation.paused();
    try {
      disk.leave(0);
    } finally {
      operation.resume();
    }
    const { exit, stderr } = await operation.ended;
    disk.free();
    assert.ok(exit === 5 || exit === 6, stderr);
    assert.match(stderr, exit === 6 ? /\[OPERATION_UNKNOWN\]/ : /\[OPERATION_FAILED\]/);
    await whole.recover(`a full disk in ${step}`);
    await whole.assertWhole();
    await site.assertAt("1.0.0");
  }

  for (const step of ["backup", "switch"]) {
    it(`the state's disk is full when an upgrade comes to its step ${step}`, () => filled("site", step));
  }

  for (const step of ["rehearse", "migrate", "start"]) {
    it(`the engine's disk is full when an upgrade comes to its step ${step}`, () => filled("engine/data", step));
  }

  it("the engine dies while the new release starts; recover ends what needs it", async () => {
    const operation = new RunningOperation(site, ["upgrade", next], "start");
    await operation.paused();
    await site.engine.kill();
    operation.resume();
    const { exit, stderr } = await operation.ended;
    assert.equal(exit, 6, stderr);
    assert.match(stderr, /ENGINE_UNREACHABLE/);
    const status = await site.run("status");
    assert.equal(status.exit, 6, status.stdout);
    assert.match(status.stdout, /run sealift recover/);
    await site.refused(6, "JOURNAL_INCOMPLETE", "upgrade", next);
    const tooEarly = await site.run("recover");
    assert.equal(tooEarly.exit, 6, tooEarly.stderr);
    await site.engine.start();
    await whole.recover("a dead engine");
    await whole.assertWhole();
  });

  it("no engine, and another engine", async () => {
    await site.engine.cutPower();
    await site.refused(4, "ENGINE_UNREACHABLE", "upgrade", next);
    const dead = await site.run("status");
    assert.equal(dead.exit, 6, dead.stdout);
    assert.match(dead.stdout, /ENGINE_UNREACHABLE/);
    const otherDirectory = join(directory, "other-engine");
    await mkdir(otherDirectory);
    const other = await startOwnEngine(otherDirectory, { store: "classic" });
    try {
      const { stderr } = await site.refused(4, "SITE_ENGINE_CHANGED", "upgrade", next);
      assert.match(stderr, /hint: /);
      assert.equal((await site.run("status")).exit, 6);
    } finally {
      await other.stop();
    }
    await site.engine.start();
    await whole.assertWhole();
  });

  it("documents of the state that are cut, edited, or another site's", async () => {
    const { state } = site.site;
    const harm = async (
      name: string,
      change: (text: string) => string,
      exit: number,
      code: RegExp,
      verb: readonly string[] = ["upgrade", next, "--key", site.site.operatorKey],
    ): Promise<void> => {
      const path = join(state, name);
      const saved = readFileSync(path);
      writeFileSync(path, change(saved.toString("utf8")));
      const { exit: got, stdout, stderr } = await site.run(...verb);
      writeFileSync(path, saved);
      assert.equal(got, exit, `${name}: ${stdout}${stderr}`);
      assert.match(stderr, code);
    };
    await harm("site/deployment.json", (text) => text.slice(0, 100), 6, /\[STATE_DAMAGED\].*\n {2}hint: /);
    const otherDigest = (text: string): string => text.replace(/"base":"sha256:.{8}/, '"base":"sha256:00000000');
    for (const verb of ["upgrade", "start"] as const) {
      const args = verb === "start" ? ["start"] : undefined;
      await harm(
        "site/deployment.json",
        otherDigest,
        3,
        /\[DEPLOYMENT_CHANGED\].*\n.*\n {2}hint: sealift recover /,
        args,
      );
    }
    const siteFile = (await readdir(join(state, "site"))).find((name) =>
      readFileSync(join(state, "site", name), "utf8").includes('"siteId"'),
    );
    await harm(
      `site/${siteFile}`,
      (text) => text.replace(/"siteId":"[0-9a-f]{8}/, '"siteId":"00000000'),
      3,
      /\[LEDGER_OTHER_SITE\]/,
    );
    const ended = (await readdir(join(state, "journal"))).find((name) => name.endsWith(".journal")) ?? "";
    const journal = readFileSync(join(state, "journal", ended), "utf8");
    writeFileSync(join(state, "journal/open"), journal.replace('"step":', '"stop":'));
    await site.refused(6, "JOURNAL_DAMAGED", "upgrade", next);
    const recovered = await site.run("recover");
    assert.equal(recovered.exit, 6, recovered.stderr);
    assert.match(recovered.stderr, /\[JOURNAL_DAMAGED\]/);
    rmSync(join(state, "journal/open"));
    chmodSync(state, 0o755);
    await site.refused(4, "STATE_UNSAFE", "upgrade", next);
    chmodSync(state, 0o700);
    await whole.assertWhole();
  });

  it("a copy of the state directory steers nothing", async () => {
    const copy = join(directory, "copy");
    cpSync(site.site.state, copy, { recursive: true, filter: (path) => !path.includes("/store/") });
    chmodSync(copy, 0o700);
    for (const args of [["status"], ["uninstall", "--key", site.site.operatorKey]]) {
      const { exit, stderr } = await sealift([...args, "--state", copy]);
      assert.equal(exit, 4, stderr);
      assert.match(stderr, /\[DEPLOYMENT_ELSEWHERE\]/);
      assert.ok(stderr.includes(`hint: name the site's own directory: --state ${site.site.state}`), stderr);
    }
    rmSync(copy, { recursive: true });
    await whole.assertWhole();
  });

  it("after all of that an upgrade works", async () => {
    await whole.complete("upgrade");
    await site.assertAt("1.1.0");
  });

  async function started(): Promise<void> {
    const { exit, stdout, stderr } = await site.run("start");
    assert.equal(exit, 0, stdout + stderr);
  }
}

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  return server;
}

async function close(server: Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve));
}

async function flipByte(path: string, position: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, position);
    await file.write(Buffer.of((buffer[0] as number) ^ 1), 0, 1, position);
  } finally {
    await file.close();
  }
}

/** Takes a file system's room away. */
class Filler {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  leave(bytes: number): void {
    const path = join(this.#directory, "filler");
    for (let tries = 1; ; tries += 1) {
      const { bavail, bsize } = statfsSync(this.#directory);
      const taken = (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
      const length = Math.max(taken + bavail * bsize - bytes, bsize);
      try {
        execFileSync("fallocate", ["--length", String(length), path], { stdio: "pipe" });
        return;
      } catch (cause) {
        // Somebody wrote between the look and the taking.
        if (tries === 10) throw cause;
      }
    }
  }

  free(): void {
    rmSync(join(this.#directory, "filler"));
  }
}

/** Everything by which a docker client can be led astray, and who was led. */
class Trap {
  readonly environment: NodeJS.ProcessEnv;
  readonly #marker: string;
  readonly #server: Server;

  private constructor(environment: NodeJS.ProcessEnv, marker: string, server: Server) {
    this.environment = environment;
    this.#marker = marker;
    this.#server = server;
  }

  static async set(directory: string): Promise<Trap> {
    await mkdir(join(directory, "bin"), { recursive: true });
    await mkdir(join(directory, "cli-plugins"), { recursive: true });
    const [marker, socket] = [join(directory, "marker"), join(directory, "socket")];
    const server = createServer((connection) => {
      writeFileSync(marker, "somebody called the socket\n", { flag: "a" });
      connection.destroy();
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    for (const name of ["bin/docker", "bin/docker-compose", "bin/flock", "bin/setpriv", "cli-plugins/docker-compose"]) {
      await writeFile(join(directory, name), `#!/bin/sh\necho "somebody ran ${name}" >> ${marker}\nexit 1\n`, {
        mode: 0o755,
      });
    }
    const compose = join(directory, "compose.yaml");
    await writeFile(compose, "services: { trap: { image: trap } }\n");
    await writeFile(join(directory, ".env"), "COMPOSE_PROJECT_NAME=trap\n");
    const context = { currentContext: "trap", auths: {}, credsStore: "trap", cliPluginsExtraDirs: [directory] };
    await writeFile(join(directory, "config.json"), JSON.stringify(context));
    const environment = {
      DOCKER_HOST: `unix://${socket}`,
      DOCKER_CONFIG: directory,
      DOCKER_CONTEXT: "trap",
      DOCKER_CERT_PATH: directory,
      DOCKER_TLS_VERIFY: "1",
      DOCKER_API_VERSION: "1.12",
      COMPOSE_FILE: compose,
      COMPOSE_PROJECT_NAME: "trap",
      COMPOSE_PROFILES: "task",
      COMPOSE_ENV_FILES: join(directory, ".env"),
      HTTP_PROXY: "http://127.0.0.1:9",
      http_proxy: "http://127.0.0.1:9",
      PATH: `${join(directory, "bin")}:${process.env["PATH"]}`,
    };
    return new Trap(environment, marker, server);
  }

  async sprung(): Promise<string[]> {
    await close(this.#server);
    return existsSync(this.#marker) ? readFileSync(this.#marker, "utf8").trim().split("\n") : [];
  }
}
