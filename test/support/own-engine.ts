/**
 * A throwaway Docker engine that a test shares nothing of with the host: the whole test file runs in
 * namespaces of its own, as on a machine that has just this engine.
 *
 *   network   nothing but loopback, which engine, containers' published ports and Sealift share
 *   mounts    an empty /run, so that the engine listens where every site's engine does and a containerd or
 *             an engine of the host is out of reach; and the docker client and Compose at a place where
 *             Sealift looks for them, if the host has none
 *   processes all of them end with the test, however it ends: shims, docker-proxies, containers
 *
 * Containers start, reach each other by name, are kept apart and publish ports as on any site.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { askEngine, connect, DEFAULT_SOCKET, type Engine, type ImageStore } from "../../compose/engine/engine.ts";
import { COMPOSE_PATHS, DOCKER_PATHS, firstExecutable } from "../../installer/host/engine.ts";
import { skipWithoutNamespace } from "./offline-namespace.ts";
import { type PeerName, requirePeer, skipWithout } from "./peers.ts";

const INSIDE = "SEALIFT_TEST_OWN_MACHINE";

/** For the `skip` option of a test. */
export function skipWithoutEngine(): string | false {
  if (process.getuid?.() !== 0) return "a Docker engine needs root";
  return skipWithout("ip", "dockerd", "docker", "docker-compose") || skipWithoutNamespace();
}

/**
 * Runs the tests that `define` defines in namespaces of their own: the file at `url` (import.meta.url) is
 * started there again, and is one test out here. There is no network in there: `prepare` runs out here first,
 * and what it returns is added to the environment in there (`prepareReleases` of real-release.ts). What the
 * tests in there say is shown if one fails, and always written to the file SEALIFT_TEST_OUTPUT, if that is set.
 */
export function inOwnMachine(
  url: string,
  title: string,
  define: () => void,
  prepare?: () => Promise<Readonly<Record<string, string>>>,
  timeoutMs = 1_200_000,
): void {
  if (process.env[INSIDE] !== undefined) {
    define();
    return;
  }
  it(title, { skip: skipWithoutEngine(), timeout: timeoutMs }, async ({ signal }) => {
    const { status, output } = await runInside(url, signal, await prepare?.());
    const { SEALIFT_TEST_OUTPUT: path } = process.env;
    if (path !== undefined) writeFileSync(path, output);
    assert.equal(status, 0, output);
    // A file whose tests were all filtered away would end with 0 too.
    assert.match(output, /^ℹ pass [1-9]\d*$/m);
  });
}

// Not exec'd: the shell is process 1 there and reaps what the engine leaves behind.
const SCRIPT = `set -eu
mount -t tmpfs -o mode=0755 tmpfs /run
"$SEALIFT_TEST_IP" link set lo up
while [ "$1" != -- ]; do
  mkdir -p "$(dirname "/run/placed$1")"
  ln -s "$2" "/run/placed$1"
  shift 2
done
shift
if [ -d /run/placed ]; then
  mount -t overlay -o lowerdir=/run/placed/usr/local:/usr/local overlay /usr/local
fi
"$@"`;

async function runInside(
  url: string,
  signal: AbortSignal,
  prepared: Readonly<Record<string, string>> = {},
): Promise<{ status: number | null; output: string }> {
  const { NODE_TEST_CONTEXT: _, DOCKER_HOST: __, DOCKER_CONTEXT: ___, ...env } = process.env;
  const name = `sealift-test-${process.pid}`;
  const places = [...placeOf("docker", DOCKER_PATHS), ...placeOf("docker-compose", COMPOSE_PATHS)];
  // What is out here may be killed: then the kernel ends unshare, and that the shell and all with it.
  const child = spawn(
    "setpriv",
    [
      ...[
        "--pdeathsig",
        "KILL",
        "unshare",
        "--net",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
      ],
      ...["sh", "-c", SCRIPT, "sh", ...places, "--", process.execPath, fileURLToPath(url)],
    ],
    {
      env: { ...env, ...prepared, [INSIDE]: name, SEALIFT_TEST_IP: requirePeer("ip") },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let output = "";
  // Too late: a test of it that failed may have left something running. What it said would be lost with it.
  signal.addEventListener("abort", () => {
    console.error(output);
    child.kill("SIGKILL");
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  removeControlGroups(name);
  return { status, output };
}

/** The last path, which is below /usr/local, and the peer's program for it, if none of the paths has a program. */
function placeOf(name: PeerName, paths: readonly string[]): string[] {
  return firstExecutable(paths) === undefined ? [paths.at(-1) as string, requirePeer(name)] : [];
}

/** The kernel's directories of the containers' limits stay when a container is not removed in order. */
function removeControlGroups(name: string): void {
  const root = "/sys/fs/cgroup";
  const hierarchies = [root, ...readdirSync(root).map((entry) => join(root, entry))];
  for (const directory of hierarchies.map((path) => join(path, name)).filter((path) => existsSync(path))) {
    const inner = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) => one.isDirectory());
    const paths = inner.map((one) => join(one.parentPath, one.name)).sort((a, b) => b.length - a.length);
    for (const path of [...paths, directory]) {
      try {
        rmdirSync(path);
      } catch {
        // A process of it may still be ending. It costs nothing.
      }
    }
  }
}

export interface OwnEngine {
  readonly engine: Engine;
  /** Runs `docker load` over the API. @throws if the engine reports an error, also in the middle of its answer. */
  load(archive: Buffer): Promise<void>;
  /** SIGKILL of engine and containerd: data stays, containers run on, their published ports do not. */
  kill(): Promise<void>;
  /** SIGKILL of all of it at once, containers too; what the kernel was told to write is there afterwards. */
  cutPower(): Promise<void>;
  start(): Promise<void>;
  /** Ends it and its containers, and unmounts what it mounted. */
  stop(): Promise<void>;
}

export interface OwnEngineOptions {
  readonly store: ImageStore;
  /** Where it listens; where every site's engine does if absent. */
  readonly socketPath?: string;
  /** In yet another network namespace, where our loopback is not its loopback. */
  readonly isForeign?: boolean;
  /** The size of the file system for its data; the directory's own if absent. */
  readonly diskBytes?: number;
}

const END_MAX_MS = 60_000;

let engines = 0;

/** Only within `inOwnMachine`. `directory` is an empty one of the test's, on a disk that can hold the images. */
export async function startOwnEngine(directory: string, options: OwnEngineOptions): Promise<OwnEngine> {
  const machine = process.env[INSIDE];
  if (machine === undefined) throw new Error("startOwnEngine outside of inOwnMachine");
  const { socketPath = DEFAULT_SOCKET } = options;
  const at = (name: string): string => join(directory, name);
  await mkdir(at("config"), { recursive: true });
  if (options.diskBytes !== undefined) {
    await mkdir(at("data"));
    const made = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${options.diskBytes}`, "tmpfs", at("data")]);
    if (made.status !== 0) throw new Error(`no tmpfs: ${made.stderr.toString()}`);
  }
  // One below the machine's for each engine, so that one can be told from another.
  engines += 1;
  const group = `${machine}/${engines}`;
  const features = { "containerd-snapshotter": options.store === "containerd" };
  await writeFile(at("daemon.json"), JSON.stringify({ features }));
  const args = [
    ...["--host", `unix://${socketPath}`, "--config-file", at("daemon.json"), "--data-root", at("data")],
    ...["--exec-root", at("exec"), "--pidfile", at("pid"), "--bridge", "none", "--cgroup-parent", `/${group}`],
    // A second engine would flush the first one's rules.
    ...[`--iptables=${socketPath === DEFAULT_SOCKET}`, "--ip6tables=false"],
  ];
  let child: ReturnType<typeof spawn> | undefined;
  const start = async (): Promise<void> => {
    const log = openSync(at("log"), "a");
    const command = options.isForeign ? ["unshare", "--net", requirePeer("dockerd")] : [requirePeer("dockerd")];
    const running = spawn(command[0] as string, [...command.slice(1), ...args], { stdio: ["ignore", log, log] });
    closeSync(log);
    // A test that forgets to stop it must end all the same.
    running.unref();
    child = running;
    for (let i = 0; i < 240 && running.exitCode === null; i += 1) {
      const facts = await askEngine(socketPath).catch(() => undefined);
      if (facts) return;
      await sleep(250);
    }
    throw new Error(`dockerd did not start: ${readFileSync(at("log"), "utf8").slice(-2000)}`);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    running.ref();
    running.kill(signal);
    await until(() => running.exitCode !== null || running.signalCode !== null, `dockerd to end by ${signal}`);
  };
  const kill = async (): Promise<void> => {
    const containerd = readPid(at("exec/containerd/containerd.pid"));
    await end("SIGKILL");
    if (containerd === undefined) return;
    signalProcess(containerd, "SIGKILL");
    await until(() => !existsSync(`/proc/${containerd}`), "containerd to end");
  };
  const cutPower = async (): Promise<void> => {
    const killed = end("SIGKILL");
    // Shims name their containerd's socket, which lies in the directory; containers have their control group.
    const isOurs = (pid: number): boolean =>
      readProcess(pid, "cmdline").includes(`${directory}/`) || readProcess(pid, "cgroup").includes(`/${group}/`);
    await until(() => {
      const pids = processes().filter(isOurs);
      for (const pid of pids) signalProcess(pid, "SIGKILL");
      return pids.length === 0;
    }, "all processes of the engine to end");
    await killed;
  };
  const stop = async (): Promise<void> => {
    // An engine that was harmed may never end by itself.
    await end("SIGTERM").catch(() => undefined);
    await cutPower();
    const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
    const ours = mounts.map((line) => line.split(" ")[1] ?? "").filter((path) => path.startsWith(`${directory}/`));
    for (const path of ours.reverse()) spawnSync("umount", ["--lazy", path]);
  };
  try {
    await start();
    const engine: Engine = {
      socketPath,
      dockerPath: firstExecutable(DOCKER_PATHS) ?? "/nonexistent/docker",
      composePath: firstExecutable(COMPOSE_PATHS) ?? "/nonexistent/docker-compose",
      configDirectory: at("config"),
      facts: await askEngine(socketPath),
    };
    return { engine, start, stop, kill, cutPower, load: (archive) => load(engine, archive) };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

async function load(engine: Engine, archive: Buffer): Promise<void> {
  const docker = await connect(engine);
  const answer: NodeJS.ReadableStream = await docker.loadImage(Readable.from([archive]), { quiet: true });
  let text = "";
  for await (const chunk of answer) text += String(chunk);
  if (text.includes('"error')) throw new Error(`docker load: ${text}`);
}

/** What waits for a process must not wait with it for ever. */
async function until(condition: () => boolean, what: string): Promise<void> {
  for (const started = performance.now(); !condition(); await sleep(20)) {
    if (performance.now() - started < END_MAX_MS) continue;
    const left = processes().map((pid) => `${pid} ${readProcess(pid, "stat")} ${readProcess(pid, "cmdline")}`);
    throw new Error(`waited ${END_MAX_MS / 1000} s for ${what}\n${left.join("\n")}`);
  }
}

function readPid(path: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(path, "utf8"), 10) || undefined;
  } catch {
    return undefined;
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself meanwhile.
  }
}

function processes(): number[] {
  const names = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return names.map(Number).filter((pid) => pid !== process.pid && !readProcess(pid, "stat").includes(") Z "));
}

/** Empty if it has ended meanwhile. */
function readProcess(pid: number, file: "cmdline" | "cgroup" | "stat"): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
