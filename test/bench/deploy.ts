/**
 * From a bundle to a healthy site, against `docker load` of a gzip archive of the same images and
 * `docker compose up` of the same files, in both image stores, in interleaved rounds; how well the disk use
 * of the images is predicted; and how long a rollback takes until the older release answers.
 * Prints tables and writes test/evidence/bench-deploy.json. Run it by itself: `npm run bench -- deploy`.
 *
 * Sealift's side verifies every byte, keeps a copy of the release, makes secrets, proves each container and
 * asks the canary; the peer's side does none of that. Healthy is for Sealift its commit: all containers are
 * healthy and proven, and the front answers. What the command does after it, above all the first API key, is in
 * the time of the whole install only.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { diskNeed, keptBytes } from "../../compose/engine/disk-need.ts";
import { composeCall, dockerCall, type ImageStore } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { readDeployments } from "../../installer/site/deployment.ts";
import { statePaths } from "../../installer/site/state.ts";
import { engineDiskBytes } from "../support/engine-disk.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const ROUNDS = Number(process.env["SEALIFT_BENCH_ROUNDS"] ?? 3);
const EVIDENCE = fileURLToPath(new URL("../evidence/bench-deploy.json", import.meta.url));

interface Figures {
  readonly store: ImageStore;
  readonly healthySeconds: number[];
  readonly installSeconds: number[];
  readonly peerSeconds: number[];
  readonly ratio: number;
  readonly wholeRatio: number;
  readonly rollbackToHealthySeconds: number[];
  readonly predictedBytes: number;
  readonly usedBytes: number;
}

/** A reference by digest; an archive keeps only tags. */
const IMAGE = /127\.83\.76\.1:5000\/([a-z-]+)\/([a-z-]+)@sha256:([0-9a-f]{16})[0-9a-f]{48}/g;

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

inOwnMachine(
  import.meta.url,
  "deploying, measured",
  () => {
    describe("both stores", () => {
      const all: Figures[] = [];
      for (const store of ["classic", "containerd"] as const) {
        it(store, { timeout: 1_800_000 }, async (t) => {
          // In the order opposite to that in which it was made: the engine's mounts lie in the directory.
          const cleanups: (() => Promise<void>)[] = [];
          t.after(async () => {
            for (const work of cleanups) await work();
          });
          const after = (work: () => Promise<void>): void => void cleanups.unshift(work);
          const figures = await measure(store, await scratch({ after }), after);
          all.push(figures);
          const { healthySeconds, installSeconds, peerSeconds, ratio, wholeRatio } = figures;
          const { rollbackToHealthySeconds, predictedBytes, usedBytes } = figures;
          process.stdout.write(
            `${store}: healthy after ${median(healthySeconds).toFixed(1)} s, load and up ${median(peerSeconds).toFixed(1)} s, ` +
              `ratio ${ratio.toFixed(2)}; whole install ${median(installSeconds).toFixed(1)} s, ratio ${wholeRatio.toFixed(2)}; ` +
              `rollback ${median(rollbackToHealthySeconds).toFixed(1)} s; ` +
              `disk ${predictedBytes} predicted, ${usedBytes} used (${(predictedBytes / usedBytes).toFixed(3)})\n`,
          );
        });
      }
      it("is written down", () => {
        const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: join(EVIDENCE, "../../..") })
          .toString()
          .trim();
        const machine = { cpus: availableParallelism(), model: cpus()[0]?.model ?? "" };
        const document = {
          schemaVersion: 1,
          commit,
          time: new Date().toISOString(),
          machine,
          rounds: ROUNDS,
          results: all,
        };
        writeFileSync(EVIDENCE, `${JSON.stringify(document, null, 2)}\n`);
      });
    });
  },
  () => prepareReleases("first", "next"),
);

async function measure(
  store: ImageStore,
  directory: string,
  after: (work: () => Promise<void>) => void,
): Promise<Figures> {
  const site = await RunningSite.start(directory, store);
  after(() => site.engine.stop());
  const { engine } = site.engine;
  const docker = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await runCall(dockerCall(engine, args), { timeoutMs: 600_000 });
    if (status !== 0) throw new Error(`docker ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  };
  const first = (await realRelease("first")).bundle;
  const next = (await realRelease("next")).bundle;
  const installs: Install[] = [];
  const [peerSeconds, rollbackToHealthySeconds]: [number[], number[]] = [[], []];
  let usedBytes = 0;
  let peer: { readonly archive: string; readonly base: string; readonly colour: string } | undefined;
  for (let i = 0; i <= ROUNDS; i += 1) {
    const before = i === 0 ? engineDiskBytes(engine) : 0;
    const done = await install(site, first);
    if (i === 0) {
      usedBytes = engineDiskBytes(engine) - before;
      await site.change("upgrade", next);
      peer = await makePeer(site, directory, docker);
      await site.change("rollback");
      await site.change("upgrade", next);
      for (let n = 0; n < ROUNDS; n += 1) {
        rollbackToHealthySeconds.push(await rollback(site));
        await site.change("upgrade", next);
      }
    } else {
      installs.push(done);
    }
    await site.change("uninstall", "--purge-data");
    if (peer && i > 0) {
      const { archive, base, colour } = peer;
      peerSeconds.push(await seconds(() => loadAndUp(site, archive, base, colour, docker)));
      await compose(site, colour, "down", "--volumes", "--remove-orphans");
      await compose(site, base, "down", "--volumes", "--remove-orphans");
      await docker("image", "prune", "--all", "--force");
    }
  }
  const healthySeconds = installs.map(({ healthy }) => healthy);
  const installSeconds = installs.map(({ whole }) => whole);
  const ratioOf = (values: readonly number[]): number =>
    median(values.map((value, i) => value / (peerSeconds[i] ?? 0)));
  return {
    store,
    healthySeconds,
    installSeconds,
    peerSeconds,
    ratio: ratioOf(healthySeconds),
    wholeRatio: ratioOf(installSeconds),
    rollbackToHealthySeconds,
    predictedBytes: predicted(first, store),
    usedBytes,
  };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

interface Install {
  readonly healthy: number;
  readonly whole: number;
}

async function install(site: RunningSite, bundle: string): Promise<Install> {
  const started = performance.now();
  const since = (): number => (performance.now() - started) / 1000;
  const paths = statePaths(site.site.state);
  let healthy = 0;
  const timer = setInterval(() => {
    if (healthy === 0 && readDeployments(paths).current) healthy = since();
  }, 20);
  try {
    await site.change("install", bundle);
  } finally {
    clearInterval(timer);
  }
  if (healthy === 0) throw new Error("the site was never seen to be committed");
  return { healthy, whole: since() };
}

/** Until the older release answers clients; the command goes on to watch it and to drain the other. */
async function rollback(site: RunningSite): Promise<number> {
  const started = performance.now();
  const ended = site.change("rollback");
  let healthy = 0;
  const poll = async (): Promise<void> => {
    while (healthy === 0) {
      if ((await answeringRelease()) === "1.0.0") healthy = (performance.now() - started) / 1000;
      else await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await Promise.all([ended, poll()]);
  return healthy;
}

function answeringRelease(): Promise<string> {
  return new Promise((resolve) => {
    const target = { host: "127.0.0.1", port: 8443, path: "/healthz", rejectUnauthorized: false, agent: false };
    const asking = request(target, (response) => {
      response.resume();
      resolve(String(response.headers["sealift-release"]));
    });
    asking.once("error", () => resolve(""));
    asking.end();
  });
}

/** What a site without Sealift would carry: the images as one gzip archive, and the Compose files. */
async function makePeer(
  site: RunningSite,
  directory: string,
  docker: (...args: string[]) => Promise<string>,
): Promise<{ readonly archive: string; readonly base: string; readonly colour: string }> {
  const place = join(directory, "peer");
  mkdirSync(place);
  const names = (await docker("images", "--format", "{{.Repository}}:{{.Tag}}"))
    .split("\n")
    .filter((name) => name.startsWith("sealift.invalid/"));
  const archive = join(place, "images.tar.gz");
  const save = dockerCall(site.engine.engine, ["save", ...names]);
  execFileSync("sh", ["-c", '"$@" | gzip -6 >"$0"', archive, save.file, ...save.args], {
    env: { ...save.env, PATH: "/usr/bin:/bin" },
  });
  const id = (await site.status()).current?.id ?? "";
  const { state } = site.site;
  execFileSync("cp", ["-a", join(state, "secrets"), join(state, "switch"), place]);
  const files = ["base", "containers"].map((name) => {
    const text = readFileSync(join(state, "deployments", id, `${name}.json`), "utf8");
    const carried = new RegExp(`${state}/store/[0-9a-f]{64}/blobs/sha256/([0-9a-f]{64})`, "g");
    for (const [blob, hex = ""] of text.matchAll(carried)) copyFileSync(blob, join(place, hex));
    const path = join(place, `${name}.json`);
    writeFileSync(
      path,
      text
        .replaceAll(IMAGE, "sealift.invalid/$1/$2:$3")
        .replaceAll(carried, `${place}/$1`)
        .replaceAll(`${state}/`, `${place}/`),
    );
    return path;
  });
  return { archive, base: files[0] as string, colour: files[1] as string };
}

async function loadAndUp(
  site: RunningSite,
  archive: string,
  base: string,
  colour: string,
  docker: (...args: string[]) => Promise<string>,
): Promise<void> {
  await docker("load", "--quiet", "--input", archive);
  await compose(site, base, "up", "--detach", "--wait", "--pull", "never");
  await compose(site, colour, "run", "--rm", "--no-deps", "-T", "gateway-migrate");
  await compose(site, colour, "up", "--detach", "--wait", "--pull", "never");
}

async function compose(site: RunningSite, file: string, ...args: string[]): Promise<void> {
  const { name } = JSON.parse(readFileSync(file, "utf8")) as { name: string };
  const call = composeCall(site.engine.engine, { name, file, directory: join(file, "..") }, args);
  const { status, stderr } = await runCall(call, { timeoutMs: 300_000 });
  if (status !== 0) throw new Error(`compose ${args.join(" ")}: ${stderr}`);
}

function predicted(bundle: string, store: ImageStore): number {
  const { layout, store: files } = openLayout(bundle);
  try {
    return keptBytes(diskNeed(layout, readRelease(layout, readLayoutIndex(layout).release)), store);
  } finally {
    closeStore(files);
  }
}
