import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  askEngine,
  composeCall,
  composeRefusal,
  connect,
  connectionError,
  dockerCall,
  engineRefusals,
  localSocket,
  readEngineFacts,
} from "../../../compose/engine/engine.ts";
import { scratch } from "../../support/scratch.ts";

/** Recorded from Docker 26.1.5 on Debian 12; each test changes one thing in a copy. */
const recorded = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`recorded/${name}.json`, import.meta.url), "utf8")) as Record<string, unknown>;

function codes(info: Record<string, unknown>, version: Record<string, unknown> = {}): string[] {
  const found = engineRefusals({ ...recorded("version"), ...version }, { ...recorded("info"), ...info });
  assert.ok(found.every((error) => error.exit === 4 && error.hints.length > 0));
  return found.map((error) => error.code);
}

describe("an engine", () => {
  it("is accepted as recorded, with the classic store", () => {
    assert.deepEqual(codes({}), []);
    const facts = readEngineFacts(recorded("version"), recorded("info"));
    assert.equal(facts.store, "classic");
    assert.equal(facts.architecture, "amd64");
    assert.equal(facts.version, "26.1.5+dfsg1");
  });

  it("is recognised with the containerd store", () => {
    const info = {
      ...recorded("info"),
      Driver: "overlayfs",
      DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]],
    };
    assert.equal(readEngineFacts(recorded("version"), info).store, "containerd");
  });

  const refused: readonly (readonly [string, string, Record<string, unknown>, Record<string, unknown>?])[] = [
    ["podman", "ENGINE_PODMAN", {}, { Components: [{ Name: "Podman Engine", Version: "5.4.2" }] }],
    ["a rootless engine", "ENGINE_ROOTLESS", { SecurityOptions: ["name=seccomp,profile=builtin", "name=rootless"] }],
    ["remapped users", "ENGINE_USERNS_REMAP", { SecurityOptions: ["name=userns"] }],
    ["Docker Desktop", "ENGINE_DESKTOP", { OperatingSystem: "Docker Desktop" }],
    ["a Snap", "ENGINE_SNAP", { DockerRootDir: "/var/snap/docker/common/var-lib-docker" }],
    ["an old engine", "ENGINE_TOO_OLD", {}, { Version: "23.0.6" }],
    ["a version that is none", "ENGINE_TOO_OLD", {}, { Version: "latest" }],
    ["no limit on memory", "ENGINE_CGROUP", { MemoryLimit: false }],
    ["no limit on processes", "ENGINE_CGROUP", { PidsLimit: false }],
    ["no limit on CPU", "ENGINE_CGROUP", { CpuCfsQuota: false }],
    ["no cgroup driver", "ENGINE_CGROUP", { CgroupDriver: "none" }],
    ["the devicemapper driver", "ENGINE_STORE_UNSUPPORTED", { Driver: "devicemapper" }],
    ["Windows containers", "ENGINE_STORE_UNSUPPORTED", { OSType: "windows" }],
  ];
  for (const [name, code, info, version] of refused) {
    it(`is refused with ${name}`, () => assert.deepEqual(codes(info, version), [code]));
  }

  it("is refused when it does not answer like one", () => {
    for (const body of [null, "hello", [], {}, { Version: 26 }]) {
      assert.deepEqual(
        engineRefusals(body, {}).map((error) => error.code),
        ["ENGINE_RESPONSE_UNUSABLE"],
      );
    }
  });

  it("is found at a local socket only", () => {
    assert.equal(localSocket("unix:///run/docker.sock"), "/run/docker.sock");
    for (const address of ["tcp://10.0.0.1:2375", "ssh://root@host", "docker.sock", "", "npipe:////./pipe/docker"]) {
      assert.throws(() => localSocket(address), { code: "ENGINE_REMOTE" });
    }
  });

  it("is not reached where there is no socket", async () => {
    await assert.rejects(askEngine("/nonexistent/docker.sock"), { code: "ENGINE_UNREACHABLE" });
    const denied = connectionError("/s", Object.assign(new Error("x"), { code: "EACCES" }));
    assert.equal((denied as { code?: string }).code, "ENGINE_PERMISSION");
    const failed = connectionError("/s", Object.assign(new Error("x"), { statusCode: 500 }));
    assert.equal((failed as { code?: string }).code, "ENGINE_CALL_FAILED");
  });

  it("that takes connections and never answers is given up, with a way to start it anew", async (context) => {
    const path = join(await scratch(context), "d.sock");
    const server = createServer(() => {}).listen(path);
    await new Promise((resolve) => server.once("listening", resolve));
    try {
      await assert.rejects(askEngine(path, 50), (error: Error & { code?: string; hints?: readonly string[] }) => {
        assert.equal(error.code, "ENGINE_UNREACHABLE");
        assert.match(error.message, /no answer within 0\.05 s$/);
        assert.match(error.hints?.[0] ?? "", /systemctl restart docker/);
        return true;
      });
      const docker = await connect({ socketPath: path }, 50);
      await assert.rejects(docker.listContainers(), { code: "ECONNRESET" });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("is asked at its socket also when DOCKER_HOST names another", async (context) => {
    const path = join(await scratch(context), "d.sock");
    const server = createServer((request, response) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(recorded(request.url?.includes("version") ? "version" : "info")));
    }).listen(path);
    await new Promise((resolve) => server.once("listening", resolve));
    const { DOCKER_HOST } = process.env;
    try {
      for (const trap of ["tcp://127.0.0.1:1", "ssh://root@host.invalid", "not an address", "unix:///nonexistent"]) {
        process.env["DOCKER_HOST"] = trap;
        assert.equal((await askEngine(path)).version, "26.1.5+dfsg1");
        assert.equal(process.env["DOCKER_HOST"], trap);
      }
    } finally {
      if (DOCKER_HOST === undefined) delete process.env["DOCKER_HOST"];
      else process.env["DOCKER_HOST"] = DOCKER_HOST;
      server.close();
      server.closeAllConnections();
    }
  });

  it("needs a Compose of 2.26 or newer", () => {
    for (const good of ["2.26.0", "2.26.1-4\n", "v2.40.3", "5.0.0"]) assert.equal(composeRefusal(good), undefined);
    for (const bad of ["1.29.2", "2.25.9", "", "dev"])
      assert.equal(composeRefusal(bad)?.code, "ENGINE_COMPOSE_TOO_OLD");
  });
});

describe("a call of its client", () => {
  const tools = { socketPath: "/s.sock", dockerPath: "/d", composePath: "/c", configDirectory: "/e" };

  it("names the socket and takes nothing from the caller's environment", () => {
    const call = dockerCall(tools, ["ps"]);
    assert.deepEqual(call.args, ["--host", "unix:///s.sock", "ps"]);
    assert.deepEqual(call.env, { DOCKER_CONFIG: "/e", HOME: "/e", PATH: "/nonexistent", LC_ALL: "C" });
    const compose = composeCall(tools, { name: "p", file: "/f.json", directory: "/p" }, ["up"]);
    assert.equal(compose.file, "/c");
    assert.equal(compose.env["DOCKER_HOST"], "unix:///s.sock");
    assert.deepEqual(compose.args.slice(-3), ["--env-file", "/dev/null", "up"]);
  });
});
