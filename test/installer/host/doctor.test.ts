import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { zstdContentSize } from "../../../compose/engine/disk-need.ts";
import { type DoctorFacts, diagnose } from "../../../installer/host/doctor.ts";
import { appArmor, parseControllers, parseFilesystems } from "../../../installer/host/doctor-facts.ts";

const healthy: DoctorFacts = {
  os: { id: "debian", version: "12" },
  architecture: "x64",
  root: true,
  cpus: 2,
  memoryBytes: 4e9,
  filesystems: ["ext4", "overlay"],
  namespaces: ["mnt", "net", "pid", "ipc", "uts", "user"],
  seccomp: true,
  cgroupControllers: ["memory", "pids", "cpu"],
  engine: {
    state: "good",
    compose: "2.26.1",
    facts: {
      version: "26.1.5",
      apiVersion: "1.45",
      store: "classic",
      storageDriver: "overlay2",
      architecture: "amd64",
      cgroupVersion: "2",
      rootDirectory: "/var/lib/docker",
      engineId: "x",
    },
  },
  engineDisk: { path: "/var/lib/docker", freeBytes: 50e9 },
  need: { release: "1.0.0", peakBytes: 2e9, created: "2026-01-01T00:00:00Z", platform: "linux/amd64" },
  portProblem: undefined,
  now: new Date("2026-06-01T00:00:00Z"),
  madeAt: new Date("2026-02-01T00:00:00Z"),
  dockerVariables: [],
  containers: ["/site-base-postgres-1"],
  servicesDenied: false,
  systemd: true,
  appArmor: "enabled",
  sshKeygen: "/usr/bin/ssh-keygen",
  iptables: "/usr/sbin/iptables",
  entropyBits: 256,
  clientCertificate: { state: "none" },
  collateral: { state: "none" },
};

function finding(check: string, change: Partial<DoctorFacts>) {
  const findings = diagnose({ ...healthy, ...change });
  const found = findings.find((one) => one.check === check);
  assert.ok(found, check);
  const others = findings.filter((one) => one !== found && one.status === "fail");
  assert.deepEqual(others, []);
  return found;
}

describe("doctor", () => {
  it("passes every check on a healthy host", () => {
    for (const { check, status } of diagnose(healthy)) assert.equal(status, "pass", check);
  });

  it("asks for another certificate before the one that clients see ends", () => {
    const ends = ["the certificate for clients ends on 2026-07-01, in 29 days: sealift tls renew"];
    const soon = finding("certificate", { clientCertificate: { state: "known", problems: ends } });
    assert.deepEqual([soon.status, soon.message], ["fail", ends[0]]);
    assert.match(soon.fix ?? "", /^sealift tls renew/);
    const good = finding("certificate", { clientCertificate: { state: "known", problems: [] } });
    assert.equal(good.status, "pass");
    const closed = finding("certificate", { clientCertificate: { state: "unknown", reason: "no permission" } });
    assert.deepEqual([closed.status, closed.reason], ["not-checked", "no permission"]);
  });

  it("asks for other collateral before that of attestation ends", () => {
    const ends = ["attestation collateral: revocation list of ARK-Milan in 9 days ends, on 2026-06-10"];
    const soon = finding("collateral", { collateral: { state: "known", problems: ends } });
    assert.deepEqual([soon.status, soon.message], ["fail", ends[0]]);
    assert.match(soon.fix ?? "", /^sealift attest needs/);
    assert.equal(finding("collateral", { collateral: { state: "known", problems: [] } }).status, "pass");
    const closed = finding("collateral", { collateral: { state: "unknown", reason: "no permission" } });
    assert.deepEqual([closed.status, closed.reason], ["not-checked", "no permission"]);
  });

  const engineProblem = { state: "refused", code: "ENGINE_ROOTLESS", message: "rootless", fix: "do" } as const;
  const failures: readonly (readonly [string, Partial<DoctorFacts>])[] = [
    ["operating-system", { os: { id: "debian", version: "11" } }],
    ["architecture", { architecture: "riscv64", need: undefined }],
    ["architecture", { architecture: "arm64" }],
    ["processors", { cpus: 1 }],
    ["memory", { memoryBytes: 1e9 }],
    ["disk", { engineDisk: { path: "/", freeBytes: 1.9e9 } }],
    ["disk", { engineDisk: { path: "/", freeBytes: 2e9 }, need: undefined }],
    ["kernel-features", { filesystems: ["ext4"] }],
    ["kernel-features", { namespaces: ["mnt", "pid", "ipc", "uts"] }],
    ["kernel-features", { seccomp: false }],
    ["cgroups", { cgroupControllers: ["cpu", "memory"] }],
    ["engine", { engine: engineProblem, containers: undefined }],
    ["image-port", { portProblem: "EADDRINUSE" }],
    ["clock", { now: new Date("2026-01-31T00:00:00Z") }],
    [
      "clock",
      {
        now: new Date("2026-06-01T00:00:00Z"),
        need: { ...healthy.need, created: "2026-07-01T00:00:00Z" } as NonNullable<DoctorFacts["need"]>,
      },
    ],
    ["clock", { now: new Date("2041-06-01T00:00:00Z") }],
    ["leftover-containers", { containers: ["/44b983740d11_sealift-01234567-base-audit-1"] }],
    ["firewall", { iptables: undefined }],
    ["ssh-keygen", { sshKeygen: undefined }],
    ["random", { entropyBits: 12 }],
  ];
  for (const [check, change] of failures) {
    it(`fails ${check} with ${Object.keys(change).join(", ")} wrong, and says the fix`, () => {
      const found = finding(check, change);
      assert.equal(found.status, "fail");
      assert.ok((found.fix ?? "").length > 1);
    });
  }

  const unknowns: readonly (readonly [string, Partial<DoctorFacts>])[] = [
    ["rights", { root: false }],
    ["disk", { engineDisk: undefined }],
    ["kernel-features", { filesystems: undefined }],
    ["leftover-containers", { containers: undefined }],
    ["start-at-boot", { systemd: false }],
    ["apparmor", { appArmor: "absent" }],
    ["random", { entropyBits: undefined }],
  ];
  for (const [check, change] of unknowns) {
    it(`says that ${check} was not checked, and why`, () => {
      const found = finding(check, change);
      assert.equal(found.status, "not-checked");
      assert.ok((found.reason ?? "").length > 1);
    });
  }

  it("leaves what another program's Compose left to that program", () => {
    assert.equal(finding("leftover-containers", { containers: ["/44b983740d11_shop-database-1"] }).status, "pass");
  });

  it("names the variables that would lead other programs elsewhere", () => {
    const found = finding("environment", { dockerVariables: ["DOCKER_CONTEXT", "DOCKER_HOST"] });
    assert.match(found.message, /^DOCKER_CONTEXT, DOCKER_HOST set; Sealift ignores them/);
  });
});

describe("the facts of doctor", () => {
  it("are read from what the kernel says", () => {
    assert.deepEqual(parseFilesystems("nodev\toverlay\n\text4\n"), ["overlay", "ext4"]);
    assert.equal(parseFilesystems(undefined), undefined);
    const legacy = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t16\t1\nnet_cls\t0\t1\t0\n";
    assert.deepEqual(parseControllers("cpu pids\n", legacy), ["cpu", "pids", "memory"]);
    assert.deepEqual([appArmor("Y\n"), appArmor("N\n"), appArmor(undefined)], ["enabled", "disabled", "absent"]);
  });

  it("hold the unpacked size that a layer's zstd frame says", () => {
    for (const size of [1, 200, 300, 70_000, 3_000_000]) {
      assert.equal(zstdContentSize(zstdCompressSync(Buffer.alloc(size, "x"))), size);
    }
    assert.equal(zstdContentSize(Buffer.from("1f8b0800000000000003", "hex")), undefined);
    assert.equal(zstdContentSize(Buffer.alloc(0)), undefined);
    assert.equal(zstdContentSize(Buffer.from("28b52ffd0000", "hex")), undefined);
    assert.equal(zstdContentSize(Buffer.from("28b52ffde0ffffffffffffffff", "hex")), undefined);
  });
});
