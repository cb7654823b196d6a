import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { parseImageConfig } from "../../../bundles/model/oci.ts";
import { containerDifferences, differenceText, type RunnableImage } from "../../../compose/engine/container-proof.ts";

/** Recorded from Docker 26.1.5 and Compose 2.26.1; each test changes one thing in a copy. */
type Json = { [member: string]: Json } & { [index: number]: Json };
const recorded = (name: string): Json =>
  JSON.parse(readFileSync(new URL(`recorded/${name}.json`, import.meta.url), "utf8")) as Json;

const config = parseImageConfig(
  Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: { User: "10001:10001", Env: ["A=1"], Entrypoint: ["/x"] },
      rootfs: { type: "layers", diff_ids: [] },
    }),
  ),
);

function differences(change: (container: Json, model: Json) => void, extra: Json[] = []): string[] {
  const container = recorded("container");
  const model = recorded("compose-config");
  const images = new Map<string, RunnableImage>([["rec.invalid/x:1", { id: String(container["Image"]), config }]]);
  change(container, model);
  return containerDifferences(model, [container, ...extra], images).map((one) => one.what);
}

const value = (json: unknown): Json => json as Json;

describe("the proof of a container", () => {
  it("finds nothing wrong with the container that Compose made", () => {
    assert.deepEqual(
      differences(() => undefined),
      [],
    );
  });

  const changes: readonly (readonly [string, string, (host: Json, config: Json, container: Json) => void])[] = [
    ["another image", "image", (_, config) => (config["Image"] = value("rec.invalid/y:1"))],
    ["an image whose tag moved", "image id", (_, __, container) => (container["Image"] = value("sha256:00"))],
    ["root", "user", (_, config) => (config["User"] = value("0"))],
    ["one more variable", "environment", (_, config) => (config["Env"] = value(["A=1", "B=2", "LD_PRELOAD=/x"]))],
    ["a lost variable", "environment", (_, config) => (config["Env"] = value(["A=1"]))],
    ["another entry point", "entrypoint", (_, config) => (config["Entrypoint"] = value(["/bin/sh"]))],
    ["another command", "command", (_, config) => (config["Cmd"] = value(["go"]))],
    ["another directory", "working_dir", (_, config) => (config["WorkingDir"] = value("/etc"))],
    ["another stop signal", "stop_signal", (_, config) => (config["StopSignal"] = value("SIGTERM"))],
    ["no health check", "healthcheck", (_, config) => (config["Healthcheck"] = value({}))],
    ["a writable root", "read_only", (host) => (host["ReadonlyRootfs"] = value(false))],
    ["privileges", "privileged", (host) => (host["Privileged"] = value(true))],
    ["a capability", "cap_add", (host) => (host["CapAdd"] = value(["CAP_SYS_ADMIN"]))],
    ["capabilities kept", "cap_drop", (host) => (host["CapDrop"] = value(null))],
    ["new privileges allowed", "security_opt", (host) => (host["SecurityOpt"] = value(null))],
    [
      "no seccomp",
      "security_opt",
      (host) => (host["SecurityOpt"] = value(["no-new-privileges", "seccomp=unconfined"])),
    ],
    ["a device", "Devices", (host) => (host["Devices"] = value([{ PathOnHost: "/dev/sda" }]))],
    ["a device rule", "DeviceCgroupRules", (host) => (host["DeviceCgroupRules"] = value(["c 1:3 mr"]))],
    ["a device request", "DeviceRequests", (host) => (host["DeviceRequests"] = value([{ Count: -1 }]))],
    ["a group", "GroupAdd", (host) => (host["GroupAdd"] = value(["docker"]))],
    ["another's volumes", "VolumesFrom", (host) => (host["VolumesFrom"] = value(["other"]))],
    ["a link", "Links", (host) => (host["Links"] = value(["other:db"]))],
    ["a host entry", "ExtraHosts", (host) => (host["ExtraHosts"] = value(["db:10.0.0.1"]))],
    ["a name server", "Dns", (host) => (host["Dns"] = value(["10.0.0.1"]))],
    ["the host's processes", "PidMode", (host) => (host["PidMode"] = value("host"))],
    ["the host's names", "UTSMode", (host) => (host["UTSMode"] = value("host"))],
    ["the host's users", "UsernsMode", (host) => (host["UsernsMode"] = value("host"))],
    ["shared memory of the host", "IpcMode", (host) => (host["IpcMode"] = value("host"))],
    ["another cgroup", "CgroupParent", (host) => (host["CgroupParent"] = value("/free"))],
    ["no init", "init", (host) => (host["Init"] = value(false))],
    ["removal at its end", "AutoRemove", (host) => (host["AutoRemove"] = value(true))],
    ["more memory", "mem_limit", (host) => (host["Memory"] = value(0))],
    ["a reservation", "mem_reservation", (host) => (host["MemoryReservation"] = value(1))],
    ["more processes", "pids_limit", (host) => (host["PidsLimit"] = value(null))],
    ["more CPU", "cpus", (host) => (host["NanoCpus"] = value(0))],
    ["more shared memory", "shm_size", (host) => (host["ShmSize"] = value(1))],
    ["other limits", "ulimits", (host) => (host["Ulimits"] = value([]))],
    ["no tmpfs", "mounts", (host) => (host["Tmpfs"] = value({}))],
    ["executable tmpfs", "mounts", (host) => (host["Tmpfs"] = value({ "/tmp": "size=16m,uid=10002,exec" }))],
    ["no port", "ports", (host) => (host["PortBindings"] = value({}))],
    [
      "a port on every address",
      "ports",
      (host) => (host["PortBindings"] = value({ "8080/tcp": [{ HostIp: "", HostPort: "18080" }] })),
    ],
    ["every port", "PublishAllPorts", (host) => (host["PublishAllPorts"] = value(true))],
    ["another restart policy", "restart", (host) => (host["RestartPolicy"] = value({ Name: "always" }))],
    ["another log", "logging", (host) => (host["LogConfig"] = value({ Type: "json-file", Config: {} }))],
  ];
  for (const [name, what, change] of changes) {
    it(`finds ${name}`, () => {
      const found = differences((container) => {
        change(container["HostConfig"] as Json, container["Config"] as Json, container);
      });
      assert.deepEqual(found, [what]);
    });
  }

  it("finds the Docker socket mounted, a secret made writable and a volume of another name", () => {
    const mount = (at: number, change: (mounts: Json[]) => void) =>
      differences((container) => {
        change(container["Mounts"] as unknown as Json[]);
        assert.ok(at >= 0);
      });
    const socket = { Type: "bind", Source: "/var/run/docker.sock", Destination: "/d", RW: true };
    assert.deepEqual(
      mount(0, (mounts) => mounts.push(value(socket))),
      ["mounts"],
    );
    const set = (at: number, member: string, to: unknown) =>
      mount(at, (mounts) => {
        (mounts[at] as Json)[member] = value(to);
      });
    assert.deepEqual(set(1, "RW", true), ["mounts"]);
    assert.deepEqual(set(0, "Name", "other_data"), ["mounts"]);
    assert.deepEqual(set(1, "Source", "/etc/shadow"), ["mounts"]);
  });

  it("finds a lost name server, and nothing where it is the file's", () => {
    const asks = (server: readonly string[]): string[] =>
      differences((container, model) => {
        const services = model["services"] as Json;
        (services["gw"] as Json)["dns"] = value(["127.83.76.2"]);
        (container["HostConfig"] as Json)["Dns"] = value(server);
      });
    assert.deepEqual(asks(["127.83.76.2"]), []);
    assert.deepEqual(asks([]), ["Dns"]);
    assert.deepEqual(asks(["127.83.76.2", "10.0.0.1"]), ["Dns"]);
  });

  it("finds a network too many, one too few and a lost alias", () => {
    const networks = (change: (networks: Json) => void) =>
      differences((container) => change((container["NetworkSettings"] as Json)["Networks"] as Json));
    assert.deepEqual(
      networks((all) => (all["bridge"] = value({}))),
      ["networks"],
    );
    assert.deepEqual(
      networks((all) => delete all["rec_core"]),
      ["networks"],
    );
    assert.deepEqual(
      networks((all) => ((all["rec_edge"] as Json)["Aliases"] = value([]))),
      ["aliases in rec_edge"],
    );
  });

  it("finds a service without a container, with two, and a container that no service has", () => {
    const twin = recorded("container");
    assert.deepEqual(
      differences(() => undefined, [twin]),
      ["containers"],
    );
    assert.deepEqual(
      differences((_, model) => (((model["services"] as Json)["other"] as unknown) = { image: "rec.invalid/x:1" })),
      ["containers"],
    );
    const stranger = recorded("container");
    ((stranger["Config"] as Json)["Labels"] as Json)["com.docker.compose.service"] = value("stranger");
    assert.deepEqual(
      differences(() => undefined, [stranger]),
      ["containers"],
    );
  });

  it("finds an image that nobody proved", () => {
    const found = containerDifferences(recorded("compose-config"), [recorded("container")], new Map());
    assert.deepEqual(
      found.map((one) => one.what),
      ["image"],
    );
  });

  it("says the names of variables and never their values", () => {
    const text = differenceText({ service: "gw", what: "environment", got: ["A=secret"], want: ["B=secret"] });
    assert.equal(text, 'service "gw": environment: got ["A"], want ["B"]');
  });
});
