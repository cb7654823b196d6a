/**
 * The images of compose/appliance.yaml: made from the real Debian and npm packages, twice under different
 * circumstances, and started without an engine. Needs a mirror and, for starting, root.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { isElfProgram, parseElf, type ReadBytes } from "../../bundles/source/recipe/elf.ts";
import { readContent } from "../../bundles/source/recipe/file-tree.ts";
import { PASSWORDS, prepareDatabase } from "../support/database-process.ts";
import {
  buildImages,
  CACHE,
  eventually,
  freePort,
  type Images,
  killStarted,
  lockedImages,
  OTHER_PLATFORM,
  PLATFORM,
  putSecret,
  cannotStart as skip,
  startImage,
  type UnpackedImage,
  unpackImage,
} from "../support/image-process.ts";

const SIZE_GOAL_BYTES = 150_000_000;
const NOBODY = 65534;

let work = "";
let lockFile = "";
let images: Images = {};

before(async () => {
  work = await mkdtemp(join(tmpdir(), "sealift-images-"));
  await chmod(work, 0o755);
  ({ lockFile, images } = await lockedImages(work));
});

after(async () => {
  await killStarted();
  await rm(work, { recursive: true, force: true });
});

function digests(built: Images): Record<string, string> {
  return Object.fromEntries(Object.entries(built).map(([name, { manifest }]) => [name, manifest]));
}

function unpack(name: string): Promise<UnpackedImage> {
  return unpackImage(images[name] ?? assert.fail(name), name, work);
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
  for (const [name, { milliseconds }] of Object.entries(buildImages({ lockFile }))) {
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
  const circumstances = {
    umask: "077",
    cwd: "/",
    env: { TZ: "Pacific/Kiritimati", LC_ALL: "tr_TR.UTF-8", LANG: "tr_TR.UTF-8", HOME: "/nonexistent", TMPDIR: cache },
    // 2001: the builder must not look at the clock.
    node: ["--import", "data:text/javascript,const n=Date;globalThis.Date=class extends n{static now(){return 1e12}}"],
    ...(isRoot && { uid: NOBODY }),
  };
  const again = buildImages({ lockFile, cache, anew: true, circumstances });
  t.diagnostic(`built anew from downloads in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.deepEqual(digests(again), digests(images));
});

test(`${OTHER_PLATFORM} is built too`, (t) => {
  const built = buildImages({ lockFile, platform: OTHER_PLATFORM });
  assert.deepEqual(Object.keys(built), Object.keys(images));
  assert.notEqual(built["gateway"]?.manifest, images["gateway"]?.manifest);
  t.diagnostic("its libraries were checked; nothing of it was run, without such a machine");
});

/** The paths that can be started: programs with a loader and scripts, without libraries. */
async function programs(members: UnpackedImage["members"]): Promise<string[]> {
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

test("node and haproxy start in their images", { skip }, async () => {
  const node = startImage(await unpack("gateway"), { command: ["/usr/bin/node", "--version"] });
  assert.equal(await node.ended, 0, node.output());
  assert.equal(node.output().trim(), "v26.10.0");
  const front = await unpack("front");
  await mkdir(join(front.rootfs, "etc/haproxy/switch"), { recursive: true });
  await writeFile(join(front.rootfs, "etc/haproxy/switch/active.map"), "active blue\n");
  const check = startImage(front, { args: ["-c"] });
  assert.equal(await check.ended, 0, check.output());
  await writeFile(join(front.rootfs, "bad.cfg"), "nonsense\n");
  const bad = startImage(front, { command: ["/usr/sbin/haproxy", "-c", "-f", "/bad.cfg"] });
  assert.equal(await bad.ended, 1, bad.output());
});

test("the gateway's image has its tasks, and the service is ready with postgres, not without it", {
  skip,
}, async (t) => {
  const place = await prepareDatabase(t, await unpack("postgres"), work);
  const postgres = place.start();
  const image = await unpack("gateway");
  await putSecret(image.rootfs, "database-password", 10001, `${PASSWORDS.gateway}\n`);
  await putSecret(image.rootfs, "owner-password", 10001, PASSWORDS.gateway_owner);
  await putSecret(image.rootfs, "api-key-pepper", 10001, "pepper");
  const port = await freePort();
  const database = { DATABASE_HOST: "127.0.0.1", DATABASE_PORT: String(place.port), DATABASE_NAME: "gateway" };
  const env = {
    ...database,
    RELEASE: "1.2.3",
    LISTEN_HOST: "127.0.0.1",
    LISTEN_PORT: "0",
    ADMIN_PORT: String(port),
    DATABASE_USER: "gateway",
    DATABASE_PASSWORD_FILE: "/run/secrets/database-password",
  };
  const task = async (script: string): Promise<string> => {
    const owner = { DATABASE_USER: "gateway_owner", DATABASE_PASSWORD_FILE: "/run/secrets/owner-password" };
    const started = startImage(image, {
      command: ["/usr/bin/node", `/opt/sealift/compose/services/gateway/src/${script}`],
      env: { ...database, ...owner, MODELS: "a", API_KEY_PEPPER_FILE: "/run/secrets/api-key-pepper" },
    });
    assert.equal(await started.ended, 0, started.output());
    return started.stdout();
  };
  assert.match(await task("migrate.ts"), /^{"kind":"migrate","from":0,"to":\d+}\n$/);
  assert.match(
    await task("credentials.ts"),
    /^{"kind":"api-key","tenant":"default","key":"slk_[^"]+","expires":"[^"]+"}\n$/,
  );
  const gateway = startImage(image, { writable: "tmp", env });
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
  const ready = startImage(image, { command: probe, args: [`http://127.0.0.1:${port}/readyz`] });
  assert.equal(await ready.ended, 0, ready.output());
  assert.equal(await postgres.stop("SIGINT"), 0, "fast shutdown ends it under a pooled client");
  await eventually("unreadiness", gateway, async () => assert.equal((await get("/readyz"))[0], 503));
  const unready = startImage(image, { command: probe, args: [`http://127.0.0.1:${port}/readyz`] });
  assert.equal(await unready.ended, 1, unready.output());
  assert.equal(await gateway.stop("SIGTERM"), 0, gateway.output());
  assert.ok(!gateway.output().includes(PASSWORDS.gateway));
});
