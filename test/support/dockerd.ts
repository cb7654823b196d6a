/**
 * A Docker engine of a test's own: its own network namespace, data, socket and containerd, unpacked by
 * peers.sh. It can load, tag, save and pull; it starts no containers (no bridge, no iptables).
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { offlineNamespace, skipWithoutNamespace } from "./offline-namespace.ts";
import { requirePeer, skipWithout } from "./peers.ts";

const START_MS = 60_000;

export interface TestEngine {
  readonly socketPath: string;
  /** Runs `docker load` over the API. @throws if the engine reports an error, also in the middle of its answer. */
  load(archive: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** For the `skip` option of a test. */
export function skipWithoutEngine(): string | false {
  if (process.getuid?.() !== 0) return "a Docker engine needs root";
  return skipWithout("dockerd") || skipWithoutNamespace();
}

/** `store` is where the engine keeps images: Docker's own ("classic") or containerd's. */
export async function startEngine(store: "classic" | "containerd"): Promise<TestEngine> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-dockerd-"));
  const network = await offlineNamespace();
  const socketPath = join(directory, "docker.sock");
  const config = join(directory, "daemon.json");
  await mkdir(join(directory, "docker-config"));
  await writeFile(
    config,
    JSON.stringify({
      "data-root": join(directory, "data"),
      "exec-root": join(directory, "exec"),
      pidfile: join(directory, "docker.pid"),
      hosts: [`unix://${socketPath}`],
      bridge: "none",
      iptables: false,
      ip6tables: false,
      features: { "containerd-snapshotter": store === "containerd" },
    }),
  );
  const child = network.start(requirePeer("dockerd"), ["--config-file", config], {
    env: { PATH: process.env["PATH"], HOME: directory, DOCKER_CONFIG: join(directory, "docker-config") },
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4000);
    });
  }
  const close = async (): Promise<void> => {
    await network.close();
    // What a killed engine left mounted would make the removal fail, or worse, reach into it.
    spawnSync("sh", [
      "-c",
      `grep -F "$1" /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l`,
      "sh",
      directory,
    ]);
    await rm(directory, { recursive: true, force: true });
  };
  const started = Date.now();
  while (!(await pings(socketPath))) {
    if (child.exitCode !== null || Date.now() - started > START_MS) {
      await close();
      throw new Error(`dockerd does not start: ${log}`);
    }
    await sleep(200);
  }
  return { socketPath, close, load: (archive) => load(socketPath, archive) };
}

function pings(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asking = request({ socketPath, path: "/_ping", timeout: 5000 }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode === 200));
    });
    asking.once("error", () => resolve(false));
    asking.end();
  });
}

function load(socketPath: string, archive: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/x-tar", "content-length": archive.length };
    const asking = request({ socketPath, method: "POST", path: "/images/load?quiet=1", headers }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.once("end", () => {
        if (response.statusCode === 200 && !text.includes('"error')) resolve();
        else reject(new Error(`docker load: ${response.statusCode} ${text}`));
      });
    });
    asking.once("error", reject);
    asking.end(archive);
  });
}
