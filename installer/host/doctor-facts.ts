/** Gathers what `diagnose` judges. Reads only; what cannot be read is undefined, never guessed. */
import { existsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { availableParallelism, totalmem } from "node:os";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { connect, connectionError, type Engine } from "../../compose/engine/engine.ts";
import { ENDPOINT_HOST, ENDPOINT_PORT } from "../../compose/image-reference.ts";
import type { DoctorFacts } from "./doctor.ts";
import { composeVersion, firstExecutable, openEngine } from "./engine.ts";
import { freeSpace } from "./free-space.ts";
import { namesIn, readHostFile } from "./host-files.ts";
import { parseOsRelease } from "./setup-facts.ts";

/** Where engines keep images if nobody says otherwise. */
const ENGINE_ROOT = "/var/lib/docker";

export async function gatherDoctorFacts(
  configDirectory: string,
  need: DoctorFacts["need"],
  ofSite: Pick<DoctorFacts, "clientCertificate" | "collateral">,
): Promise<DoctorFacts> {
  const found = await engineState(configDirectory);
  const { engine } = found;
  const root = engine.state === "good" ? engine.facts.rootDirectory : ENGINE_ROOT;
  const status = readHostFile("/proc/self/status") ?? "";
  const entropy = Number(readHostFile("/proc/sys/kernel/random/entropy_avail") ?? Number.NaN);
  return {
    ...ofSite,
    os: parseOsRelease(readHostFile("/etc/os-release") ?? readHostFile("/usr/lib/os-release") ?? ""),
    architecture: process.arch,
    root: process.getuid?.() === 0,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    filesystems: parseFilesystems(readHostFile("/proc/filesystems")),
    namespaces: namesIn("/proc/self/ns"),
    seccomp: status === "" ? undefined : /^Seccomp:/m.test(status),
    cgroupControllers: parseControllers(
      readHostFile("/sys/fs/cgroup/cgroup.controllers"),
      readHostFile("/proc/cgroups"),
    ),
    engine,
    engineDisk: freeSpace(root),
    need,
    portProblem: await portProblem(),
    now: new Date(),
    madeAt: statSync(new URL("../../package.json", import.meta.url)).mtime,
    dockerVariables: Object.keys(process.env)
      .filter((name) => /^(?:DOCKER|COMPOSE)_/.test(name))
      .sort(),
    containers: found.containers,
    servicesDenied: existsSync("/usr/sbin/policy-rc.d"),
    systemd: existsSync("/run/systemd/system"),
    appArmor: appArmor(readHostFile("/sys/module/apparmor/parameters/enabled")),
    sshKeygen: firstExecutable(["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"]),
    iptables: firstExecutable(["/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"]),
    entropyBits: Number.isFinite(entropy) ? entropy : undefined,
  };
}

/** `/proc/filesystems`: the name is the last word of each line. */
export function parseFilesystems(text: string | undefined): string[] | undefined {
  return text?.split("\n").flatMap((line) => line.trim().split(/\s+/).at(-1) || []);
}

/** Controllers of the unified hierarchy, and those of version 1 that are enabled. */
export function parseControllers(unified: string | undefined, legacy: string | undefined): string[] {
  const first = unified?.trim().split(/\s+/).filter(Boolean) ?? [];
  const second = (legacy ?? "").split("\n").flatMap((line) => {
    const [name = "", , , enabled] = line.split(/\s+/);
    return !name.startsWith("#") && enabled === "1" ? [name] : [];
  });
  return [...new Set([...first, ...second])];
}

export function appArmor(parameter: string | undefined): DoctorFacts["appArmor"] {
  if (parameter === undefined) return "absent";
  return parameter.trim() === "Y" ? "enabled" : "disabled";
}

async function engineState(
  configDirectory: string,
): Promise<{ engine: DoctorFacts["engine"]; containers: readonly string[] | undefined }> {
  try {
    const engine = await openEngine({ configDirectory });
    const compose = (await composeVersion(engine)).trim();
    return { engine: { state: "good", facts: engine.facts, compose }, containers: await containerNames(engine) };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    // Its own hint is to run doctor. An engine that is there and does not run is started.
    const silent = cause.code === "ENGINE_UNREACHABLE";
    const fix = (silent ? undefined : cause.hints.at(-1)) ?? "sealift host setup";
    return { engine: { state: "refused", code: cause.code, message: cause.message, fix }, containers: undefined };
  }
}

async function containerNames(engine: Engine): Promise<string[]> {
  try {
    const docker = await connect(engine);
    return (await docker.listContainers({ all: true })).flatMap((container) => container.Names);
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** Takes the address for a moment. */
function portProblem(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (cause: NodeJS.ErrnoException) => resolve(cause.code ?? cause.message));
    server.listen(ENDPOINT_PORT, ENDPOINT_HOST, () => server.close(() => resolve(undefined)));
  });
}
