/**
 * A throwaway Docker engine in the network namespace of the test itself, so that engine and test share a
 * loopback, as engine and Sealift do on a site. The whole test file runs in that namespace
 * (`runInOwnNetwork`): a second engine in the host's namespace would delete the first one's bridge.
 * test/support/dockerd.ts has the simpler engine, in a namespace that the test does not share.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { askEngine, type Engine, type ImageStore } from "../../compose/engine/engine.ts";
import { COMPOSE_PATHS, DOCKER_PATHS, firstExecutable } from "../../installer/host/engine.ts";
import { requirePeer } from "./peers.ts";

const IN_NETWORK = "SEALIFT_TEST_OWN_NETWORK";

/** Whether this process was started by `runInOwnNetwork`. */
export function inOwnNetwork(): boolean {
  return process.env[IN_NETWORK] !== undefined;
}

/** Runs the test file at `url` again, in a network namespace that has nothing but loopback. */
export async function runInOwnNetwork(url: string): Promise<{ status: number | null; output: string }> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const script = 'ip link set lo up && exec "$0" "$@"';
  const child = spawn("unshare", ["--net", "sh", "-c", script, process.execPath, fileURLToPath(url)], {
    env: { ...env, [IN_NETWORK]: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { status, output };
}

export interface OwnEngine {
  readonly engine: Engine;
  /** SIGKILL, as a power cut would; data stays. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Ends it and unmounts what it mounted. */
  stop(): Promise<void>;
}

/**
 * `foreign` puts it into yet another network namespace, where our loopback is not its loopback; `diskBytes`
 * is the size of the file system for its data.
 */
export async function startOwnEngine(
  directory: string,
  options: { readonly store: ImageStore; readonly foreign?: boolean; readonly diskBytes?: number },
): Promise<OwnEngine> {
  await mkdir(join(directory, "config"), { recursive: true });
  if (options.diskBytes !== undefined) {
    const data = join(directory, "data");
    await mkdir(data);
    const made = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${options.diskBytes}`, "tmpfs", data]);
    if (made.status !== 0) throw new Error(`no tmpfs: ${made.stderr.toString()}`);
  }
  const socketPath = join(directory, "d.sock");
  const configFile = join(directory, "daemon.json");
  const features = { "containerd-snapshotter": options.store === "containerd" };
  await writeFile(configFile, JSON.stringify({ features }));
  // A containerd that the host runs as a service is used by every dockerd; its own names keep them apart.
  const kind = `${options.foreign === true}-${options.diskBytes ?? "all"}`;
  const name = `sealift-test-${process.pid}-${options.store}-${kind}`;
  const args = [
    ...["--host", `unix://${socketPath}`, "--config-file", configFile, "--data-root", join(directory, "data")],
    ...["--exec-root", join(directory, "exec"), "--pidfile", join(directory, "pid"), "--bridge", "none"],
    ...["--iptables=false", "--ip6tables=false", "--containerd-namespace", name],
    ...["--containerd-plugins-namespace", `${name}-plugins`],
  ];
  const logFile = join(directory, "log");
  let child: ReturnType<typeof spawn> | undefined;
  const start = async (): Promise<void> => {
    const log = openSync(logFile, "a");
    const command = options.foreign ? ["unshare", "--net", requirePeer("dockerd")] : [requirePeer("dockerd")];
    const running = spawn(command[0] as string, [...command.slice(1), ...args], { stdio: ["ignore", log, log] });
    closeSync(log);
    child = running;
    for (let i = 0; i < 240 && running.exitCode === null; i += 1) {
      const facts = await askEngine(socketPath).catch(() => undefined);
      if (facts) return;
      await sleep(250);
    }
    throw new Error(`dockerd did not start: ${readFileSync(logFile, "utf8").slice(-2000)}`);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("close", resolve));
    running.kill(signal);
    await ended;
  };
  const stop = async (): Promise<void> => {
    await end("SIGTERM");
    // A containerd whose dockerd was killed lives on in the same directory.
    const pid = readText(join(directory, "exec/containerd/containerd.pid"));
    if (/^\d+$/.test(pid)) spawnSync("kill", ["-KILL", pid]);
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
      configDirectory: join(directory, "config"),
      facts: await askEngine(socketPath),
    };
    return { engine, start, stop, kill: () => end("SIGKILL") };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
