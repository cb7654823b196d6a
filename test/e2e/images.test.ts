/**
 * The images of compose/appliance.yaml: made from the real Debian and npm packages, twice under different
 * circumstances, and started without an engine. Needs a mirror and, for starting, root.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import test, { after, before, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createZstdDecompress } from "node:zlib";
import pg from "pg";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { refreshLock } from "../../bundles/assemble/lock.ts";
import { isElfProgram, parseElf, type ReadBytes } from "../../bundles/source/recipe/elf.ts";
import { readContent } from "../../bundles/source/recipe/file-tree.ts";
import { listTar, type TarMember } from "../../bundles/source/recipe/tar-reader.ts";
import type { BuiltImage } from "../support/build-images.ts";

const PROJECT = join(import.meta.dirname, "../..");
const CACHE =
  process.env["SEALIFT_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealift");
const PLATFORM = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
const OTHER = PLATFORM === "linux/arm64" ? "linux/amd64" : "linux/arm64";
const SIZE_GOAL_BYTES = 150_000_000;
const NOBODY = 65534;

type Images = Readonly<Record<string, BuiltImage>>;

let work = "";
let lockFile = "";
let images: Images = {};

/** What this file started, so that a failed test leaves nothing behind. */
const running = new Set<ChildProcess>();

/** Signals the program that in-image.sh started, which is process 1 in there. */
async function signalInside(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const inside = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").catch(() => "");
  if (inside.trim() !== "") process.kill(Number(inside), signal);
}

function build(cache: string, platform: string, anew: boolean, options: Circumstances = {}): Images {
  const { umask = "022", env = {}, cwd = PROJECT, uid, node = [] } = options;
  const script = join(PROJECT, "test/support/build-images.ts");
  const args = [process.execPath, ...node, script, lockFile, cache, platform, ...(anew ? ["anew"] : [])];
  const output = execFileSync("sh", ["-c", `umask ${umask}; exec "$@"`, "sh", ...args], {
    cwd,
    env: { ...process.env, ...env },
    maxBuffer: 1024 * 1024,
    ...(uid !== undefined && { uid, gid: uid }),
  });
  return JSON.parse(output.toString());
}

interface Circumstances {
  readonly umask?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly node?: readonly string[];
}

before(async () => {
  work = await mkdtemp(join(tmpdir(), "sealift-images-"));
  await chmod(work, 0o755);
  lockFile = join(PROJECT, "compose/appliance.lock.json");
  try {
    images = build(CACHE, PLATFORM, false);
  } catch (cause) {
    // The mirror keeps only the newest versions: months after the lock was written it has others.
    if (!String(cause).includes("SOURCE_PACKAGE_GONE")) throw cause;
    const copy = join(work, "compose-lock");
    await mkdir(copy);
    const directory = await readApplianceDirectory(join(PROJECT, "compose/appliance.yaml"));
    const platforms = [PLATFORM, OTHER];
    const onProgress = () => {};
    const { lock } = await refreshLock({
      directory: { ...directory, path: join(copy, "appliance.yaml") },
      platforms,
      cacheDir: CACHE,
      now: new Date(),
      onProgress,
    });
    lockFile = join(copy, "lock.json");
    await writeFile(lockFile, JSON.stringify(lock));
    images = build(CACHE, PLATFORM, false);
  }
});

after(async () => {
  for (const child of running) await signalInside(child, "SIGKILL");
  await rm(work, { recursive: true, force: true });
});

function digests(built: Images): Record<string, string> {
  return Object.fromEntries(Object.entries(built).map(([name, { manifest }]) => [name, manifest]));
}

test("the set is below 150 MB, and unchanged images come from the cache in under a second", (t) => {
  const unique = new Map(
    Object.values(images).flatMap(({ layers }) => layers.map((layer) => [layer.digest, layer.size])),
  );
  for (const [name, { layers }] of Object.entries(images)) {
    t.diagnostic(`${name}: ${layers.map(({ size }) => `${(size / 1e6).toFixed(1)} MB`).join(" + ")}`);
  }
  const total = [...unique.values()].reduce((sum, size) => sum + size, 0);
  t.diagnostic(`whole set, each layer once: ${(total / 1e6).toFixed(1)} MB`);
  assert.ok(total < SIZE_GOAL_BYTES);
  for (const [name, { milliseconds }] of Object.entries(build(CACHE, PLATFORM, false))) {
    t.diagnostic(`${name} again: ${milliseconds} ms`);
    assert.ok(milliseconds < 1_000);
  }
});

test("another clock, user, umask, locale, time zone, directory and cache give the same digests", async (t) => {
  const cache = join(work, "another-cache");
  await mkdir(cache);
  await cp(join(CACHE, "downloads"), join(cache, "downloads"), { recursive: true });
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, cache]);
  } else {
    t.diagnostic("not root: the user is the same");
  }
  const started = performance.now();
  const again = build(cache, PLATFORM, true, {
    umask: "077",
    cwd: "/",
    env: { TZ: "Pacific/Kiritimati", LC_ALL: "tr_TR.UTF-8", LANG: "tr_TR.UTF-8", HOME: "/nonexistent", TMPDIR: cache },
    // 2001: the builder must not look at the clock.
    node: ["--import", "data:text/javascript,const n=Date;globalThis.Date=class extends n{static now(){return 1e12}}"],
    ...(isRoot && { uid: NOBODY }),
  });
  t.diagnostic(`built anew from downloads in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.deepEqual(digests(again), digests(images));
});

test(`${OTHER} is built too`, (t) => {
  const built = build(CACHE, OTHER, false);
  assert.deepEqual(Object.keys(built), Object.keys(images));
  assert.notEqual(built["gateway"]?.manifest, images["gateway"]?.manifest);
  t.diagnostic("its libraries were checked; nothing of it was run, without such a machine");
});

/** Unpacks an image as root and returns its root directory and what its layers hold. */
async function unpack(name: string): Promise<{ rootfs: string; members: Map<string, TarMember & { tar: string }> }> {
  const rootfs = join(work, `rootfs-${name}`);
  await mkdir(rootfs, { recursive: true });
  const members = new Map<string, TarMember & { tar: string }>();
  for (const { digest } of images[name]?.layers ?? []) {
    const hex = digest.slice("sha256:".length);
    const tar = join(work, `${hex}.tar`);
    await pipeline(createReadStream(join(CACHE, "layers", hex)), createZstdDecompress(), createWriteStream(tar));
    for (const member of listTar(tar, name)) members.set(member.path, { ...member, tar });
    execFileSync("tar", ["--extract", "--same-owner", "--same-permissions", "--file", tar, "--directory", rootfs]);
  }
  return { rootfs, members };
}

/** The paths that can be started: programs with a loader and scripts, without libraries. */
async function programs(members: ReadonlyMap<string, TarMember & { tar: string }>): Promise<string[]> {
  const found: string[] = [];
  for (const [path, { tar, type, mode, position, size }] of members) {
    if (type !== "file" || (mode & 0o111) === 0 || /\.so(?:\.|$)/.test(path)) continue;
    const read: ReadBytes = (offset, length) => readContent({ file: tar, position, size }, offset, length);
    const start = read(0, 20);
    if (start.toString("latin1", 0, 2) === "#!") found.push(path);
    else if (isElfProgram(start) && parseElf(read).interpreter !== undefined) found.push(path);
  }
  return found.sort();
}

const mounts = spawnSync("unshare", ["--mount", "--pid", "--fork", "true"]).status === 0;
const skip = process.getuid?.() === 0 && mounts ? false : "needs root and mount namespaces";

test("node and front have no program but the one that they are for, postgres a shell besides its own", {
  skip,
}, async () => {
  assert.deepEqual(await programs((await unpack("gateway")).members), ["usr/bin/node"]);
  assert.deepEqual(await programs((await unpack("front")).members), ["usr/sbin/haproxy"]);
  const { members } = await unpack("postgres");
  const others = (await programs(members)).filter((path) => !path.startsWith("usr/lib/postgresql/17/bin/"));
  assert.deepEqual(others, ["usr/bin/dash", "usr/lib/sealift/postgres-start"]);
  for (const [path, { mode }] of members) assert.equal(mode & 0o6000, 0, `${path} is set-uid`);
});

test("dpkg finds the packages, and their files as Debian made them", { skip }, async () => {
  for (const name of Object.keys(images)) {
    const { rootfs } = await unpack(name);
    const admin = `--admindir=${join(rootfs, "var/lib/dpkg")}`;
    const listed = execFileSync("dpkg-query", [admin, "-W", "-f", "$" + "{Package}=$" + "{Version}\n"]).toString();
    const lock = JSON.parse(await readFile(lockFile, "utf8"));
    const wanted: { package: string; version: string }[] = lock.platforms[PLATFORM][name].debian;
    const lines = wanted.map((item) => `${item.package}=${item.version}`);
    assert.deepEqual(listed.trim().split("\n").sort(), lines.sort());
    // --verify: no file of a package is missing or changed.
    assert.equal(execFileSync("dpkg", [`--root=${rootfs}`, "--verify"]).toString(), "");
  }
});

interface Started {
  readonly output: () => string;
  readonly ended: Promise<number | null>;
  readonly hasEnded: () => boolean;
  /** Signals the program itself, which is process 1 in there; resolves to its exit code. */
  stop(signal: NodeJS.Signals): Promise<number | null>;
}

interface Container {
  readonly rootfs: string;
  readonly writable?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Instead of the image's entrypoint. */
  readonly command?: readonly string[];
}

/** Starts an image as its configuration says. */
function start(name: string, { rootfs, writable = "-", env = {}, args = [], command }: Container): Started {
  const config = images[name]?.config.config ?? {};
  const own = Object.fromEntries(
    (config.Env ?? []).map((line) => [line.split("=", 1)[0], line.slice(line.indexOf("=") + 1)]),
  );
  const uid = config.User?.split(":")[0] ?? "0";
  const all = [rootfs, uid, writable, ...(command ?? config.Entrypoint ?? []), ...args];
  const child = spawn(join(PROJECT, "test/support/in-image.sh"), all, {
    env: { ...own, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  let output = "";
  const collect = (chunk: Buffer): void => {
    output += chunk;
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const ended = once(child, "close").then(([status]) => {
    running.delete(child);
    return status as number | null;
  });
  return {
    output: () => output,
    ended,
    hasEnded: () => !running.has(child),
    async stop(signal) {
      await signalInside(child, signal);
      return ended;
    },
  };
}

async function eventually<Result>(what: string, started: Started, work: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      return await work();
    } catch (cause) {
      const late = performance.now() > deadline;
      if (late || started.hasEnded()) {
        throw new Error(`${what} ${late ? "takes more than 60 s" : "ended"}: ${started.output().slice(-4_000)}`, {
          cause,
        });
      }
      await sleep(100);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A secret in the image's file system, as Compose mounts one: readable for its uid alone. */
async function secret(rootfs: string, name: string, uid: number, content: string): Promise<void> {
  const path = join(rootfs, "run/secrets", name);
  await mkdir(join(rootfs, "run/secrets"), { recursive: true });
  await writeFile(path, content, { mode: 0o400 });
  await chown(path, uid, uid);
}

test("node and haproxy start in their images", { skip }, async () => {
  const gateway = (await unpack("gateway")).rootfs;
  const node = start("gateway", { rootfs: gateway, command: ["/usr/bin/node", "--version"] });
  assert.equal(await node.ended, 0, node.output());
  assert.equal(node.output().trim(), "v26.10.0");
  const front = (await unpack("front")).rootfs;
  const check = start("front", { rootfs: front, args: ["-c"] });
  assert.equal(await check.ended, 0, check.output());
  await writeFile(join(front, "bad.cfg"), "nonsense\n");
  const bad = start("front", { rootfs: front, command: ["/usr/sbin/haproxy", "-c", "-f", "/bad.cfg"] });
  assert.equal(await bad.ended, 1, bad.output());
});

interface Database {
  readonly rootfs: string;
  readonly data: string;
  readonly port: number;
  start(): Started;
}

async function database(t: TestContext): Promise<Database> {
  const { rootfs } = await unpack("postgres");
  const data = await mkdtemp(join(work, "data-"));
  await chmod(data, 0o700);
  await chown(data, 10070, 10070);
  await secret(rootfs, "postgres-gateway", 10070, "right-password");
  const port = await freePort();
  const container = {
    rootfs,
    writable: `run/postgresql,tmp,var/lib/postgresql=${data}`,
    env: { SEALIFT_DATABASE_ROLES: "gateway" },
    args: ["-c", `port=${port}`, "-c", "listen_addresses=127.0.0.1"],
  };
  const made: Started[] = [];
  t.after(async () => {
    for (const started of made) if (!started.hasEnded()) await started.stop("SIGINT");
  });
  return {
    rootfs,
    data,
    port,
    start: () => {
      const started = start("postgres", container);
      made.push(started);
      return started;
    },
  };
}

async function ask(port: number, user: string, password: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ host: "127.0.0.1", port, user, password, database: "gateway" });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

test("postgres makes its database once, keeps it over a restart, and lets in nobody else", { skip }, async (t) => {
  const place = await database(t);
  const first = place.start();
  const query = (sql: string) => ask(place.port, "gateway", "right-password", sql);
  assert.deepEqual(await eventually("postgres", first, () => query("SELECT 1 AS one")), [{ one: 1 }]);
  const facts = `SELECT current_setting('data_checksums') AS checksums, rolsuper, datlocprovider, datlocale,
    pg_encoding_to_char(encoding) AS encoding FROM pg_database, pg_roles WHERE datname = 'gateway' AND rolname = current_user`;
  assert.deepEqual(await query(facts), [
    { checksums: "on", rolsuper: false, datlocprovider: "b", datlocale: "C.UTF-8", encoding: "UTF8" },
  ]);
  await assert.rejects(ask(place.port, "gateway", "wrong-password", "SELECT 1"), { code: "28P01" });
  await assert.rejects(ask(place.port, "postgres", "right-password", "SELECT 1"), { code: "28000" });
  await query("CREATE TABLE kept AS SELECT 42 AS value");
  assert.equal(await first.stop("SIGINT"), 0, first.output());
  const second = place.start();
  assert.deepEqual(await eventually("postgres", second, () => query("SELECT value FROM kept")), [{ value: 42 }]);
  assert.doesNotMatch(first.output() + second.output(), /right-password|SCRAM-SHA-256\$/);
});

test("postgres refuses what an interrupted first start left, and a password that could be SQL", { skip }, async (t) => {
  const place = await database(t);
  await mkdir(join(place.data, "17"));
  await writeFile(join(place.data, "17/PG_VERSION"), "17\n");
  execFileSync("chown", ["-R", "10070:10070", place.data]);
  const left = place.start();
  assert.equal(await left.ended, 78, left.output());
  assert.match(left.output(), /first start did not end/);
  await rm(join(place.data, "17"), { recursive: true });
  for (const password of ["x'; DROP TABLE y; --", "two words", "", "\n"]) {
    await secret(place.rootfs, "postgres-gateway", 10070, password);
    const refused = place.start();
    assert.equal(await refused.ended, 78, refused.output());
  }
});

test("the gateway is ready with postgres, not without it, and ends with 0 after SIGTERM", { skip }, async (t) => {
  const place = await database(t);
  const postgres = place.start();
  const { rootfs } = await unpack("gateway");
  await secret(rootfs, "database-password", 10001, "right-password\n");
  const port = await freePort();
  const env = {
    RELEASE: "1.2.3",
    LISTEN_HOST: "127.0.0.1",
    LISTEN_PORT: String(port),
    DATABASE_HOST: "127.0.0.1",
    DATABASE_PORT: String(place.port),
    DATABASE_NAME: "gateway",
    DATABASE_USER: "gateway",
    DATABASE_PASSWORD_FILE: "/run/secrets/database-password",
  };
  const gateway = start("gateway", { rootfs, writable: "tmp", env });
  const get = async (path: string): Promise<[number | undefined, unknown]> => {
    // Not fetch: it keeps its connection, and the gateway would wait for that one when it stops.
    const sent = request({ host: "127.0.0.1", port, path, agent: false });
    sent.end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    return [response.statusCode, JSON.parse(Buffer.concat(await response.toArray()).toString())];
  };
  assert.deepEqual(await eventually("the gateway", gateway, () => get("/healthz")), [
    200,
    { status: "ok", release: "1.2.3" },
  ]);
  await eventually("readiness", gateway, async () => assert.equal((await get("/readyz"))[0], 200));
  const probe = ["/usr/bin/node", "/opt/sealift/compose/services/service-kit/src/probe.ts"];
  const ready = start("gateway", { rootfs, command: probe, args: [`http://127.0.0.1:${port}/readyz`] });
  assert.equal(await ready.ended, 0, ready.output());
  assert.equal(await postgres.stop("SIGINT"), 0, "fast shutdown ends it under a pooled client");
  await eventually("unreadiness", gateway, async () => assert.equal((await get("/readyz"))[0], 503));
  const unready = start("gateway", { rootfs, command: probe, args: [`http://127.0.0.1:${port}/readyz`] });
  assert.equal(await unready.ended, 1, unready.output());
  assert.equal(await gateway.stop("SIGTERM"), 0, gateway.output());
  assert.doesNotMatch(gateway.output(), /right-password/);
});
