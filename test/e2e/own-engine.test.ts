/** The harness of the tests that install a site (test/support/own-engine.ts), and the proof of running containers. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { composeCall, DEFAULT_SOCKET, dockerCall, type ImageStore } from "../../compose/engine/engine.ts";
import { type LoadedImage, loadImages } from "../../compose/engine/load-images.ts";
import { type ComposeProject, proveContainers } from "../../compose/engine/prove-containers.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { openEngine } from "../../installer/host/engine.ts";
import { directory as entry, file, layer } from "../support/layer-tar.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { peerFile } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, smallRelease, writeDirectory } from "../support/small-bundle.ts";

const PORT = 18080;

inOwnMachine(import.meta.url, "containers really run on a test's own engine, in both stores", () => {
  for (const store of ["classic", "containerd"] as const) suite(store);
});

function suite(store: ImageStore): void {
  describe(`the ${store} store`, { timeout: 240_000 }, () => {
    const cleanups: (() => Promise<void>)[] = [];
    const context = { after: (work: () => Promise<void>) => void cleanups.unshift(work) };
    let dockerd: OwnEngine;
    let project: ComposeProject;
    let images: ReadonlyMap<string, LoadedImage>;

    const docker = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await runCall(dockerCall(dockerd.engine, args), { timeoutMs: 60_000 });
      assert.equal(status, 0, stderr);
      return stdout.trim();
    };
    const compose = async (...args: string[]): Promise<void> => {
      const call = composeCall(dockerd.engine, project, args);
      const { status, stderr } = await runCall(call, { timeoutMs: 120_000 });
      assert.equal(status, 0, stderr);
    };
    const answer = async (): Promise<string> => (await fetch(`http://127.0.0.1:${PORT}/release`)).text();
    const untilRunning = async (...names: string[]): Promise<void> => {
      const states = (): Promise<string> => docker("inspect", "--format", "{{.State.Status}}", ...names);
      const deadline = Date.now() + 30_000;
      while (/^(?!running$)/m.test(await states()) && Date.now() < deadline) await sleep(200);
      assert.doesNotMatch(await states(), /^(?!running$)/m);
    };
    const prove = (): Promise<void> => proveContainers(dockerd.engine, project, images);
    const differs = (pattern: RegExp) => (error: unknown) => {
      assert.ok(error instanceof SealiftError, String(error));
      assert.equal(error.code, "ENGINE_CONTAINER_DIFFERS");
      assert.match(error.message, pattern);
      return true;
    };

    before(async () => {
      const directory = await scratch(context);
      dockerd = await startOwnEngine(directory, { store });
      context.after(() => dockerd.stop());
      images = await loadSmallSet(dockerd, context);
      const rendered = join(directory, "compose.json");
      writeFileSync(rendered, JSON.stringify(projectOf(images)));
      project = { name: "own", file: rendered, directory };
      await compose("up", "--detach", "--wait", "--wait-timeout", "60", "--no-build", "--pull", "never");
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    it("is the engine that Sealift finds by itself", async () => {
      const found = await openEngine({ configDirectory: dockerd.engine.configDirectory });
      assert.equal(found.socketPath, DEFAULT_SOCKET);
      assert.equal(found.facts.engineId, dockerd.engine.facts.engineId);
      assert.equal(found.facts.store, store);
    });

    it("lets containers reach each other by name, and us a published port on loopback", async () => {
      // `up --wait` waited for the health check of `client`, which asks `web` by its name.
      assert.equal(await answer(), "1.0.0\n");
      await assert.rejects(fetch("http://127.0.0.1:18081/"), "nothing else is published");
    });

    it("keeps containers within their limits", async () => {
      const pid = await docker("inspect", "--format", "{{.State.Pid}}", "own-web-1");
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      assert.match(status, /^CapEff:\t0+$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.match(status, /^Uid:\t10001\t/m);
      assert.match(await readFile(`/proc/${pid}/cgroup`, "utf8"), /sealift-test-\d+/);
    });

    it("proves the running containers, and finds what was changed or added by hand", async () => {
      await prove();
      await docker("update", "--memory", "128m", "--memory-swap", "128m", "own-web-1");
      await assert.rejects(prove(), differs(/service "web": mem_limit: got 134217728, want 67108864/));
      await compose("up", "--detach", "--wait", "--force-recreate", "--pull", "never", "web");
      await prove();
      const [reference = ""] = images.keys();
      const labels = ["com.docker.compose.project=own", "com.docker.compose.service=web"];
      await docker("create", "--name", "stray", ...labels.flatMap((label) => ["--label", label]), reference);
      await assert.rejects(prove(), differs(/service "web": containers: got 2, want 1/));
      await docker("rm", "stray");
      await prove();
    });

    it("has every container back after a power cut, whether its policy is `always` or `unless-stopped`", async () => {
      await dockerd.cutPower();
      await dockerd.start();
      await untilRunning("own-web-1", "own-client-1");
      assert.equal(await answer(), "1.0.0\n");
      await prove();
    });

    // Docker 26 stops what ran on, and takes that for a stop by hand. Only `always` survives it.
    it("loses the containers of policy `unless-stopped`, and only them, when the engine alone is killed", async () => {
      await dockerd.kill();
      await assert.rejects(answer(), "docker-proxy dies with the engine");
      await dockerd.start();
      await untilRunning("own-web-1");
      assert.equal(await answer(), "1.0.0\n");
      assert.match(await docker("inspect", "--format", "{{.State.Status}}", "own-client-1"), /^exited$/);
      await compose("up", "--detach", "--wait", "--wait-timeout", "60", "--pull", "never");
      await prove();
    });
  });
}

async function loadSmallSet(
  dockerd: OwnEngine,
  context: { after(work: () => Promise<void>): void },
): Promise<ReadonlyMap<string, LoadedImage>> {
  const busybox = await readFile(peerFile("busybox"));
  const tar = layer(
    entry("bin"),
    file("bin/busybox", busybox, 0o755),
    entry("etc"),
    file("etc/os-release", "ID=debian\n"),
    entry("www"),
    file("www/release", "1.0.0\n"),
  );
  const image = (name: string, command: readonly string[]) => ({
    name,
    layers: [tar],
    config: (plain: Readonly<Record<string, unknown>>) => ({
      ...plain,
      config: { User: "10001:10001", Env: ["PATH=/bin"], Entrypoint: ["/bin/busybox", ...command] },
    }),
  });
  const small = smallRelease({
    images: [image("web", ["httpd", "-f", "-p", "8080", "-h", "/www"]), image("client", ["sleep", "100000"])],
  });
  const path = await scratch(context);
  await writeDirectory(path, bundleFiles(small));
  const { layout, store } = openLayout(path);
  try {
    const loaded = await loadImages(dockerd.engine, layout, readRelease(layout, readLayoutIndex(layout).release));
    return new Map(loaded.map((one) => [one.reference, one]));
  } finally {
    closeStore(store);
  }
}

function projectOf(images: ReadonlyMap<string, LoadedImage>): unknown {
  const reference = (name: string): string => [...images.values()].find((one) => one.name === name)?.reference ?? "";
  const hardened = {
    read_only: true,
    cap_drop: ["ALL"],
    security_opt: ["no-new-privileges:true"],
    mem_limit: "64m",
    pids_limit: 50,
    restart: "unless-stopped",
    logging: { driver: "local" },
    init: true,
    stop_grace_period: "1s",
  };
  return {
    services: {
      web: {
        ...hardened,
        image: reference("web"),
        restart: "always",
        networks: ["core", "edge"],
        ports: [`127.0.0.1:${PORT}:8080`],
      },
      client: {
        ...hardened,
        image: reference("client"),
        networks: ["core"],
        healthcheck: {
          test: ["CMD", "/bin/busybox", "wget", "-q", "-O", "-", "http://web:8080/release"],
          interval: "1s",
          timeout: "5s",
          retries: 20,
        },
      },
    },
    networks: { core: { internal: true }, edge: {} },
  };
}
