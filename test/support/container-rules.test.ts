import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { brokenRules, CONTAINER_RULES, ELSEWHERE, type Expected, type InspectedContainer } from "./container-rules.ts";

const EXPECTED: Expected = { state: "/srv/site", published: "127.0.0.1:8443" };

const GOOD: InspectedContainer = {
  Name: "/front",
  State: { Pid: 1 },
  Config: {
    User: "10090:10090",
    Env: ["PATH=/usr/bin", "TLS_KEY_FILE=/run/secrets/server.pem", "TOKENS_MAX=4096"],
    Image: `127.83.76.1:5000/x/front@sha256:${"a".repeat(64)}`,
    Healthcheck: { Test: ["CMD", "/probe"] },
    Labels: {},
  },
  HostConfig: {
    Privileged: false,
    CapAdd: null,
    CapDrop: ["ALL"],
    SecurityOpt: ["no-new-privileges:true"],
    ReadonlyRootfs: true,
    Memory: 1,
    NanoCpus: 1,
    PidsLimit: 64,
    NetworkMode: "site_edge",
    PidMode: "",
    IpcMode: "private",
    UTSMode: "",
    UsernsMode: "",
    CgroupParent: "",
    RestartPolicy: { Name: "always" },
    Devices: null,
    DeviceRequests: null,
    DeviceCgroupRules: null,
    Ulimits: null,
    Tmpfs: { "/tmp": "size=16m,noexec,nosuid,nodev" },
    MaskedPaths: ["/proc/kcore"],
    ReadonlyPaths: ["/proc/sys"],
    PortBindings: { "8080/tcp": [{ HostIp: "127.0.0.1", HostPort: "8443" }] },
    PublishAllPorts: false,
  },
  Mounts: [
    { Type: "bind", Source: "/srv/site/switch", RW: false, Propagation: "rprivate" },
    { Type: "volume", Source: "/docker/volumes/x", RW: true, Propagation: "" },
  ],
  NetworkSettings: { Networks: { site_edge: { IPAddress: "172.18.0.2" } } },
};

type Change = Partial<InspectedContainer["HostConfig"]>;
const host = (change: Change): InspectedContainer => ({ ...GOOD, HostConfig: { ...GOOD.HostConfig, ...change } });
const config = (change: Partial<InspectedContainer["Config"]>): InspectedContainer => ({
  ...GOOD,
  Config: { ...GOOD.Config, ...change },
});
const mount = (change: Partial<InspectedContainer["Mounts"][number]>): InspectedContainer => ({
  ...GOOD,
  Mounts: [{ Type: "bind", Source: "/srv/site/x", RW: false, Propagation: "rprivate", ...change }],
});
const port = (HostIp: string, HostPort: string): InspectedContainer =>
  host({ PortBindings: { "8080/tcp": [{ HostIp, HostPort }] } });

/** Containers that break a rule, and perhaps others with it. */
const BAD: Readonly<Record<string, readonly InspectedContainer[]>> = {
  "4.1": [config({ User: "" }), config({ User: "root" }), config({ User: "0:10" }), config({ User: "10:0" })],
  "4.10": [
    config({ Env: ["DATABASE_PASSWORD=hunter2"] }),
    config({ Env: ["api_key=x"] }),
    config({ Env: ["OTHER=slk_abcdefghij23_x"] }),
    config({ Env: ["OTHER=-----BEGIN PRIVATE KEY-----"] }),
  ],
  "5.4": [host({ CapAdd: ["NET_ADMIN"] }), host({ CapDrop: null }), host({ CapDrop: ["CHOWN"] })],
  "5.5": [host({ Privileged: true })],
  "5.6": [mount({ Source: "/etc" }), mount({ Source: "/srv/site-two/x" }), mount({ RW: true })],
  "5.8": [port("127.0.0.1", "443")],
  "5.9": [port("127.0.0.1", "9999"), host({ PortBindings: null }), host({ PublishAllPorts: true })],
  "5.10": [host({ NetworkMode: "host" }), host({ NetworkMode: "container:abc" })],
  "5.11": [host({ Memory: 0 })],
  "5.12": [host({ NanoCpus: 0 })],
  "5.13": [host({ ReadonlyRootfs: false })],
  "5.14": [port("0.0.0.0", "8443"), port("", "8443"), port("192.0.2.9", "8443")],
  "5.15": [host({ RestartPolicy: { Name: "no" } })],
  "5.16": [host({ PidMode: "host" })],
  "5.17": [host({ IpcMode: "host" }), host({ IpcMode: "shareable" })],
  "5.18": [host({ Devices: [{}] }), host({ DeviceRequests: [{}] }), host({ DeviceCgroupRules: ["c 1:3 rw"] })],
  "5.19": [host({ Ulimits: [{}] })],
  "5.20": [mount({ Propagation: "rshared" })],
  "5.21": [host({ UTSMode: "host" })],
  "5.22": [
    host({ SecurityOpt: ["no-new-privileges:true", "seccomp=unconfined"] }),
    host({ MaskedPaths: [] }),
    host({ ReadonlyPaths: null }),
  ],
  "5.25": [host({ CgroupParent: "/elsewhere" })],
  "5.26": [host({ SecurityOpt: null })],
  "5.27": [config({ Healthcheck: {} }), config({ Healthcheck: { Test: ["NONE"] } })],
  "5.28": [config({ Image: "front:latest" })],
  "5.29": [host({ PidsLimit: null }), host({ PidsLimit: -1 })],
  "5.30": [
    host({ NetworkMode: "default" }),
    { ...GOOD, NetworkSettings: { Networks: { bridge: { IPAddress: "172.17.0.2" } } } },
  ],
  "5.31": [host({ UsernsMode: "host" })],
  "5.32": [mount({ Source: "/var/run/docker.sock" }), mount({ Source: "/run" })],
  tmpfs: [host({ Tmpfs: { "/tmp": "size=1m,nosuid,nodev" } }), host({ Tmpfs: { "/tmp": "" } })],
};

test("a container as the site makes it breaks no rule", () => {
  assert.deepEqual(brokenRules(GOOD, EXPECTED), []);
});

test("each rule finds each container that breaks it", () => {
  assert.deepEqual(
    Object.keys(BAD),
    CONTAINER_RULES.map(({ id }) => id),
  );
  for (const { id, title } of CONTAINER_RULES) {
    for (const container of BAD[id] ?? []) {
      assert.ok(brokenRules(container, EXPECTED).includes(`${id} ${title}`), id);
    }
  }
});

test("a service without a health check passes only with a reason", () => {
  const without = config({ Healthcheck: {} });
  assert.equal(brokenRules(without, EXPECTED).length, 1);
  assert.deepEqual(brokenRules(without, { ...EXPECTED, withoutHealthCheck: "no program in the image" }), []);
});

test("a service that should publish nothing may not", () => {
  const { published: _, ...inside } = EXPECTED;
  assert.deepEqual(
    brokenRules(GOOD, inside).map((rule) => rule.split(" ")[0]),
    ["5.9", "5.14"],
  );
});

test("runbooks/hardening.md says of every check of both sections what asserts it, or why it does not apply", () => {
  const rows = [
    ...CONTAINER_RULES.map(({ id, title }) => ({ id, title, how: "`docker inspect` of each container" })),
    ...Object.entries(ELSEWHERE).map(([id, rest]) => ({ id, ...rest })),
  ].filter(({ id }) => /^[45]\./.test(id));
  const number = ({ id }: { readonly id: string }): number => Number(id[0]) * 100 + Number(id.slice(2));
  rows.sort((a, b) => number(a) - number(b));
  const all = [
    ...Array.from({ length: 12 }, (_, i) => `4.${i + 1}`),
    ...Array.from({ length: 32 }, (_, i) => `5.${i + 1}`),
  ];
  assert.deepEqual(
    rows.map(({ id }) => id),
    all,
  );
  const page = readFileSync(new URL("../../runbooks/hardening.md", import.meta.url), "utf8");
  const shown = page.split("\n").filter((line) => /^\| [45]\./.test(line));
  assert.deepEqual(
    shown,
    rows.map(({ id, title, how }) => `| ${id} | ${title} | ${how} |`),
  );
});
