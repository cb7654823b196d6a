/** The checks of `sealift doctor`: each a pure function from gathered facts to one finding with its fix. */
import { DEFAULT_SOCKET, type EngineFacts, LEAST_COMPOSE, LEAST_ENGINE } from "../../compose/engine/engine.ts";
import { ENDPOINT_HOST, ENDPOINT_PORT } from "../../compose/image-reference.ts";

export interface DoctorFacts {
  readonly os: { readonly id: string; readonly version: string };
  /** As Node calls it. */
  readonly architecture: string;
  readonly root: boolean;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** File systems that the kernel has; undefined if it did not say. */
  readonly filesystems: readonly string[] | undefined;
  /** Names below /proc/self/ns. */
  readonly namespaces: readonly string[];
  readonly seccomp: boolean | undefined;
  /** Controllers that are enabled, of either cgroup version. */
  readonly cgroupControllers: readonly string[];
  readonly engine:
    | { readonly state: "good"; readonly facts: EngineFacts; readonly compose: string }
    | { readonly state: "refused"; readonly code: string; readonly message: string; readonly fix: string };
  /** Of the file system on which the engine keeps images; undefined if that is not known. */
  readonly engineDisk: { readonly path: string; readonly freeBytes: number } | undefined;
  /** Of the release given with --for. */
  readonly need:
    | { readonly release: string; readonly peakBytes: number; readonly created: string; readonly platform: string }
    | undefined;
  /** Why the endpoint's address cannot be had, or undefined if it can. */
  readonly portProblem: string | undefined;
  readonly now: Date;
  /** When this Sealift was made: the time cannot be before it. */
  readonly madeAt: Date;
  /** Names of the variables DOCKER_* and COMPOSE_* that are set. */
  readonly dockerVariables: readonly string[];
  /** Names of all containers; undefined if the engine did not say. */
  readonly containers: readonly string[] | undefined;
  readonly servicesDenied: boolean;
  readonly systemd: boolean;
  readonly appArmor: "enabled" | "disabled" | "absent";
  readonly sshKeygen: string | undefined;
  readonly iptables: string | undefined;
  /** Of the site on this host, if there is one: what is or will soon be wrong with the certificate that clients see. */
  readonly clientCertificate: SiteFact;
  /** The same with the collateral by which the site judges itself. */
  readonly collateral: SiteFact;
  /** Bits that the kernel's generator says it has; undefined if it did not say. */
  readonly entropyBits: number | undefined;
}

/** What is or will soon be wrong with something of the site on this host. */
export type SiteFact =
  | { readonly state: "none" }
  | { readonly state: "unknown"; readonly reason: string }
  | { readonly state: "known"; readonly problems: readonly string[] };

export interface DoctorFinding {
  readonly check: string;
  readonly status: "pass" | "fail" | "not-checked";
  readonly message: string;
  /** What to do; with a failure always. */
  readonly fix?: string;
  /** Why it was not checked. */
  readonly reason?: string;
}

type Check = (facts: DoctorFacts) => Omit<DoctorFinding, "check">;

const GIB = 1024 ** 3;
const LEAST_MEMORY = 2 * GIB;
const LEAST_FREE = 5 * GIB;
const SUPPORTED = ["debian 12", "debian 13", "ubuntu 24.04"];
const SETUP = "sealift host setup";

const pass = (message: string): Omit<DoctorFinding, "check"> => ({ status: "pass", message });
const fail = (message: string, fix: string): Omit<DoctorFinding, "check"> => ({ status: "fail", message, fix });
const skipped = (message: string, reason: string): Omit<DoctorFinding, "check"> => ({
  status: "not-checked",
  message,
  reason,
});
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

const checks: Readonly<Record<string, Check>> = {
  "operating-system": ({ os }) => {
    const name = `${os.id} ${os.version}`;
    if (SUPPORTED.includes(name) || /^(?:rhel|almalinux|rocky) (?:9|10)(?:\.|$)/.test(name)) return pass(name);
    return fail(`got ${name}`, "use Debian 12 or 13, Ubuntu 24.04, or RHEL 9 or 10 with Docker CE");
  },
  architecture: ({ architecture, need }) => {
    const platform = { x64: "linux/amd64", arm64: "linux/arm64" }[architecture];
    if (platform === undefined) return fail(`got ${architecture}`, "use a machine with x86-64 or arm64");
    if (need && need.platform !== platform) {
      return fail(
        `this machine is ${platform}, the release is for ${need.platform}`,
        `ask for a bundle for ${platform}`,
      );
    }
    return pass(platform);
  },
  rights: ({ root }) =>
    root ? pass("root") : skipped("not root", "some checks see less; install and upgrade need root"),
  processors: ({ cpus }) =>
    cpus >= 2 ? pass(`${cpus}`) : fail(`got ${cpus}, want 2 or more`, "give the machine a second processor"),
  memory: ({ memoryBytes }) =>
    memoryBytes >= LEAST_MEMORY * 0.9
      ? pass(gigabytes(memoryBytes))
      : fail(`got ${gigabytes(memoryBytes)}, want 2 GiB or more`, "give the machine more memory"),
  disk: ({ engineDisk, need }) => {
    if (!engineDisk) return skipped("free space for images", "the engine did not say where it keeps them");
    const { path, freeBytes } = engineDisk;
    const want = need ? need.peakBytes : LEAST_FREE;
    const what = need ? `release ${need.release} needs about ${gigabytes(want)}` : `want at least ${gigabytes(want)}`;
    const message = `${path}: ${gigabytes(freeBytes)} free, ${what}`;
    return freeBytes >= want ? pass(message) : fail(message, "sealift prune, or give that file system more room");
  },
  "kernel-features": ({ filesystems, namespaces, seccomp }) => {
    if (filesystems === undefined) return skipped("overlay file system", "the kernel's list cannot be read");
    const missing = ["mnt", "net", "pid", "ipc", "uts"].filter((name) => !namespaces.includes(name));
    if (!filesystems.includes("overlay")) missing.push("overlay");
    if (seccomp === false) missing.push("seccomp");
    if (missing.length === 0) return pass("overlay, namespaces, seccomp");
    return fail(`missing: ${missing.join(", ")}`, "modprobe overlay, or boot the distribution's own kernel");
  },
  cgroups: ({ cgroupControllers }) => {
    const missing = ["memory", "pids", "cpu"].filter((name) => !cgroupControllers.includes(name));
    if (missing.length === 0) return pass("memory, pids, cpu");
    return fail(`missing: ${missing.join(", ")}`, "remove cgroup_disable from the kernel's command line and reboot");
  },
  engine: ({ engine }) => {
    if (engine.state === "refused") return fail(`${engine.code}: ${engine.message}`, engine.fix);
    const { version, store, storageDriver } = engine.facts;
    return pass(
      `${version} at ${DEFAULT_SOCKET}, ${store} image store on ${storageDriver}; want ${LEAST_ENGINE} or newer`,
    );
  },
  compose: ({ engine }) =>
    engine.state === "good"
      ? pass(`${engine.compose}; want ${LEAST_COMPOSE} or newer`)
      : skipped("version of Compose", "the engine is not usable"),
  "image-port": ({ portProblem }) =>
    portProblem === undefined
      ? pass(`${ENDPOINT_HOST}:${ENDPOINT_PORT} is free`)
      : fail(
          `${ENDPOINT_HOST}:${ENDPOINT_PORT}: ${portProblem}`,
          `ss --listening --tcp --processes 'sport = :${ENDPOINT_PORT}' shows who holds it; stop that program`,
        ),
  certificate: ({ clientCertificate: found }) => {
    if (found.state === "none") return pass("no site here has one");
    if (found.state === "unknown") return skipped("the one that clients see", found.reason);
    const [problem, ...more] = found.problems;
    if (problem === undefined) return pass("the one that clients see holds for 30 days and more");
    return fail([problem, ...more].join("; "), "sealift tls renew; or sealift tls csr, then sealift tls import");
  },
  collateral: ({ collateral: found }) => {
    if (found.state === "none") return pass("no site here has any for attestation");
    if (found.state === "unknown") return skipped("that of attestation", found.reason);
    const [problem, ...more] = found.problems;
    if (problem === undefined) return pass("that of attestation will do for 14 days and more");
    return fail([problem, ...more].join("; "), "sealift attest needs; attest fetch elsewhere; attest import");
  },
  clock: ({ now, madeAt, need }) => {
    const floor = Math.max(madeAt.getTime(), need ? Date.parse(need.created) : 0);
    const message = `${now.toISOString()}`;
    if (now.getTime() < floor)
      return fail(
        `${message} is before ${new Date(floor).toISOString()}, when this was made`,
        "set the clock: date --set",
      );
    if (now.getUTCFullYear() >= madeAt.getUTCFullYear() + 15)
      return fail(`${message} is too far ahead`, "set the clock: date --set");
    return pass(message);
  },
  environment: ({ dockerVariables }) =>
    dockerVariables.length === 0
      ? pass("no Docker variable is set")
      : pass(`${dockerVariables.join(", ")} set; Sealift ignores them, other programs follow them`),
  "leftover-containers": ({ containers }) => {
    if (containers === undefined) return skipped("containers of a cut-off Compose", "the engine is not usable");
    // Compose gives a container this name while it replaces it; after a cut the name blocks the next run. Those of
    // other projects are in nobody's way here.
    const left = containers.filter((name) => /^\/?[0-9a-f]{12}_sealift-/.test(name));
    if (left.length === 0) return pass("none");
    return fail(`${left.join(", ")}`, "sealift recover, if a change was cut off; else sealift start removes them");
  },
  "start-at-boot": ({ systemd, servicesDenied }) => {
    if (systemd) return pass(servicesDenied ? "systemd; policy-rc.d keeps packages from starting services" : "systemd");
    return skipped("whether the engine starts at the next boot", "this host has no systemd");
  },
  apparmor: ({ appArmor }) =>
    appArmor === "enabled"
      ? pass("enabled")
      : skipped("confinement by AppArmor", appArmor === "absent" ? "the kernel has none" : "it is switched off"),
  "ssh-keygen": ({ sshKeygen }) =>
    sshKeygen
      ? pass(sshKeygen)
      : fail(
          "ssh-keygen is not on this host; no operator's signature can be checked",
          "apt-get install openssh-client",
        ),
  firewall: ({ iptables }) =>
    iptables ? pass(iptables) : fail("iptables is not on this host; the engine cannot connect networks", SETUP),
  random: ({ entropyBits }) => {
    if (entropyBits === undefined) return skipped("the kernel's random generator", "it did not say");
    return entropyBits >= 128
      ? pass(`${entropyBits} bits`)
      : fail(`${entropyBits} bits`, "wait a minute, or give the machine a random generator (virtio-rng)");
  },
};

/** Every check, in a fixed order. Failures make the exit code 4. */
export function diagnose(facts: DoctorFacts): DoctorFinding[] {
  return Object.entries(checks).map(([check, run]) => ({ check, ...run(facts) }));
}
