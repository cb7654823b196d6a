/**
 * The Docker engine as one value: which socket, which client programs, which image store. Everything
 * that talks to Docker takes an `Engine`, so that no DOCKER_HOST, context, config.json or PATH of the
 * caller decides which engine is meant (facts: each of them redirects Compose in silence).
 *
 * Commands are data (`ToolCall`); compose/engine/run-call.ts executes them. What an engine says of itself
 * is judged by pure functions over the bodies of `GET /version` and `GET /info`.
 */
import type Docker from "dockerode";
import { reasonOf, type SealiftError } from "../../bundles/model/sealift-error.ts";
import { engineError } from "./error.ts";

export const DEFAULT_SOCKET = "/var/run/docker.sock";
/** zstd layers need Docker 23; 24 is the oldest that Sealift was designed for. */
export const LEAST_ENGINE = "24.0.0";
export const LEAST_COMPOSE = "2.26.0";
/** An engine that works answers the first questions at once; after so long it stands still. */
const FIRST_ANSWER_MAX_MS = 30_000;
/** More than a pull may be silent, which has its own limit. */
const SILENCE_MAX_MS = 240_000;

/**
 * `classic`: the engine's own store, an image's Id is the digest of its configuration. `containerd`: the
 * Id is the digest of its manifest.
 */
export type ImageStore = "classic" | "containerd";

export interface Engine {
  /** Absolute path of the engine's unix socket. */
  readonly socketPath: string;
  /** Absolute path of the docker client. */
  readonly dockerPath: string;
  /** Absolute path of the Compose plugin, which is run by itself. */
  readonly composePath: string;
  /** An empty directory: there is no config.json, no context, no credential and no plugin in it. */
  readonly configDirectory: string;
  readonly facts: EngineFacts;
}

/** What an engine that may be used said of itself. */
export interface EngineFacts {
  /** As the engine writes it, e.g. `26.1.5+dfsg1`. */
  readonly version: string;
  readonly apiVersion: string;
  readonly store: ImageStore;
  readonly storageDriver: string;
  readonly architecture: string;
  readonly cgroupVersion: string;
  /** Where the engine keeps images, on the engine's machine. */
  readonly rootDirectory: string;
  readonly engineId: string;
}

/** A command as data. `env` is the whole environment of the child. */
export interface ToolCall {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export type EngineTools = Pick<Engine, "socketPath" | "dockerPath" | "composePath" | "configDirectory">;

/** `docker ARGS` against this engine. */
export function dockerCall(engine: EngineTools, args: readonly string[]): ToolCall {
  return {
    file: engine.dockerPath,
    args: ["--host", `unix://${engine.socketPath}`, ...args],
    env: environment(engine),
  };
}

/**
 * `docker compose ARGS` against this engine, for the files and the project given. Variables of the
 * template are not taken from anywhere: what is rendered holds none.
 */
export function composeCall(
  engine: EngineTools,
  project: { readonly name: string; readonly file: string; readonly directory: string },
  args: readonly string[],
): ToolCall {
  return {
    file: engine.composePath,
    args: [
      ...["--project-name", project.name, "--file", project.file, "--project-directory", project.directory],
      ...["--env-file", "/dev/null", ...args],
    ],
    env: { ...environment(engine), DOCKER_HOST: `unix://${engine.socketPath}`, COMPOSE_DISABLE_ENV_FILE: "1" },
  };
}

function environment(engine: EngineTools): Record<string, string> {
  return { DOCKER_CONFIG: engine.configDirectory, HOME: engine.configDirectory, PATH: "/nonexistent", LC_ALL: "C" };
}

/**
 * dockerode at this engine's socket. It brings an SSH client with it, so it is loaded when first needed.
 *
 * A question to which the engine says nothing for `silenceMaxMs` is given up, as if the connection were lost:
 * an engine that stands still takes connections and never answers.
 *
 * docker-modem prefers a DOCKER_HOST in the environment to the socket it is told, without a word
 * (docker-modem 5, `this.host` before `this.socketPath`), so it is made while there is none.
 */
export async function connect(
  engine: Pick<Engine, "socketPath">,
  silenceMaxMs: number = SILENCE_MAX_MS,
): Promise<Docker> {
  const { default: Client } = await import("dockerode");
  const { DOCKER_HOST } = process.env;
  delete process.env["DOCKER_HOST"];
  try {
    return new Client({ socketPath: engine.socketPath, timeout: silenceMaxMs });
  } finally {
    if (DOCKER_HOST !== undefined) process.env["DOCKER_HOST"] = DOCKER_HOST;
  }
}

/**
 * The socket's path from what a person or a variable named: an absolute path, or `unix://` and one.
 * @throws ENGINE_REMOTE for tcp, ssh and everything else that is not a local socket
 */
export function localSocket(address: string): string {
  const path = address.startsWith("unix://") ? address.slice("unix://".length) : address;
  if (/^\/[^\0]{0,106}$/.test(path)) return path;
  throw engineError("ENGINE_REMOTE", `engine ${JSON.stringify(address)}: want the absolute path of a local socket`, {
    hints: ["run Sealift on the machine that runs the engine; it serves images to it on loopback"],
  });
}

/** Everything that speaks against using the engine that answered with these bodies; none is a good engine. */
export function engineRefusals(version: unknown, info: unknown): SealiftError[] {
  const [v, i] = [record(version), record(info)];
  if (!v || !i || text(v["Version"]) === "") {
    return [engineError("ENGINE_RESPONSE_UNUSABLE", "what answers at the socket does not answer like a Docker engine")];
  }
  const found: SealiftError[] = [];
  const refuse = (code: Parameters<typeof engineError>[0], message: string, hint: string): void => {
    found.push(engineError(code, message, { hints: [hint] }));
  };
  const install = "sealift host setup installs Docker Engine on Debian 12 and 13 and Ubuntu 24.04";
  const components = array(v["Components"]).map((item) => text(record(item)?.["Name"]));
  if (components.some((name) => /podman/i.test(name))) {
    // Nothing else that podman says can be read as if Docker had said it.
    refuse("ENGINE_PODMAN", "the engine is podman, want Docker Engine", install);
    return found;
  }
  const options = array(i["SecurityOptions"]).map((item) => text(item).split(",")[0]);
  if (options.includes("name=rootless")) {
    refuse("ENGINE_ROOTLESS", "the engine runs rootless: it cannot reach the endpoint on loopback", install);
  }
  if (options.includes("name=userns")) {
    const hint = 'remove "userns-remap" from /etc/docker/daemon.json and restart Docker';
    refuse("ENGINE_USERNS_REMAP", "the engine remaps user ids (userns-remap): files would have other owners", hint);
  }
  if (text(i["OperatingSystem"]).includes("Docker Desktop") || text(i["Name"]) === "docker-desktop") {
    refuse("ENGINE_DESKTOP", "the engine is Docker Desktop, which runs in a machine of its own", install);
  }
  if (text(i["DockerRootDir"]).startsWith("/var/snap/")) {
    refuse("ENGINE_SNAP", "the engine is a Snap, which cannot see the site's files", `snap remove docker; ${install}`);
  }
  const engineVersion = text(v["Version"]);
  if (!atLeast(engineVersion, LEAST_ENGINE)) {
    refuse(
      "ENGINE_TOO_OLD",
      `engine: got version ${JSON.stringify(engineVersion)}, want ${LEAST_ENGINE} or newer`,
      install,
    );
  }
  const driver = text(i["CgroupDriver"]);
  const missing = [
    ["MemoryLimit", "memory"],
    ["PidsLimit", "pids"],
    ["CpuCfsQuota", "cpu"],
  ].filter(([member]) => i[member as string] !== true);
  if ((driver !== "systemd" && driver !== "cgroupfs") || missing.length > 0) {
    const lacks = missing.map(([, name]) => name).join(", ");
    const message = `the engine cannot limit containers: cgroup driver ${JSON.stringify(driver)}, missing ${lacks || "nothing"}`;
    refuse("ENGINE_CGROUP", message, "enable the cgroup controllers memory, pids and cpu in the kernel's command line");
  }
  if (text(i["Driver"]) === "" || text(i["Driver"]) === "devicemapper" || text(i["OSType"]) !== "linux") {
    const message = `image store: got driver ${JSON.stringify(text(i["Driver"]))} on ${JSON.stringify(text(i["OSType"]))}`;
    refuse("ENGINE_STORE_UNSUPPORTED", message, "use the driver overlay2 or the containerd image store");
  }
  return found;
}

/** Reads the facts of an engine that has no refusals. @throws the first of `engineRefusals` */
export function readEngineFacts(version: unknown, info: unknown): EngineFacts {
  const [refusal] = engineRefusals(version, info);
  if (refusal) throw refusal;
  const [v, i] = [record(version) ?? {}, record(info) ?? {}];
  return {
    version: text(v["Version"]),
    apiVersion: text(v["ApiVersion"]),
    store: imageStore(i["DriverStatus"]),
    storageDriver: text(i["Driver"]),
    architecture: { x86_64: "amd64", aarch64: "arm64" }[text(i["Architecture"])] ?? text(i["Architecture"]),
    cgroupVersion: text(i["CgroupVersion"]),
    rootDirectory: text(i["DockerRootDir"]),
    engineId: text(i["ID"]),
  };
}

function imageStore(driverStatus: unknown): ImageStore {
  const pairs = array(driverStatus).map(array);
  const snapshotter = pairs.some(([key, value]) => key === "driver-type" && text(value).startsWith("io.containerd."));
  return snapshotter ? "containerd" : "classic";
}

/** Refuses what `docker-compose version --short` printed. */
export function composeRefusal(output: string): SealiftError | undefined {
  const version = output.trim();
  if (atLeast(version, LEAST_COMPOSE)) return undefined;
  const message = `Compose: got version ${JSON.stringify(version.slice(0, 100))}, want ${LEAST_COMPOSE} or newer`;
  return engineError("ENGINE_COMPOSE_TOO_OLD", message, { hints: ["sealift host setup"] });
}

/** Compares the first three numbers; what a distribution adds after them does not count. */
function atLeast(version: string, least: string): boolean {
  const numbers = (value: string): number[] | undefined =>
    /^v?(\d+)\.(\d+)(?:\.(\d+))?/
      .exec(value)
      ?.slice(1)
      .map((n) => Number(n ?? 0));
  const [got, want] = [numbers(version), numbers(least)];
  if (!got || !want) return false;
  for (const [i, part] of want.entries()) {
    if ((got[i] ?? 0) !== part) return (got[i] ?? 0) > part;
  }
  return true;
}

/** Asks the engine at `socketPath`. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION and `readEngineFacts`'s */
export async function askEngine(socketPath: string, answerMaxMs: number = FIRST_ANSWER_MAX_MS): Promise<EngineFacts> {
  const docker = await connect({ socketPath }, answerMaxMs);
  const asked = performance.now();
  try {
    const [version, info] = await Promise.all([docker.version(), docker.info()]);
    return readEngineFacts(version, info);
  } catch (cause) {
    if (performance.now() - asked >= answerMaxMs) throw standsStill(socketPath, answerMaxMs, cause);
    throw connectionError(socketPath, cause);
  }
}

function standsStill(socketPath: string, answerMaxMs: number, cause: unknown): Error {
  const message = `engine at ${JSON.stringify(socketPath)}: no answer within ${answerMaxMs / 1000} s`;
  return engineError("ENGINE_UNREACHABLE", message, {
    cause,
    hints: ["journalctl --unit docker shows what it does; systemctl restart docker starts it anew", "sealift doctor"],
  });
}

const NOBODY_THERE: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket",
  ECONNREFUSED: "nobody listens at this socket",
};

/** What a failed question to the engine means. An error that is Sealift's own stays as it is. */
export function connectionError(socketPath: string, cause: unknown): Error {
  if (cause instanceof Error && cause.name === "SealiftError") return cause;
  const where = `engine at ${JSON.stringify(socketPath)}`;
  const { code, statusCode } = cause as { readonly code?: string; readonly statusCode?: number };
  if (code === "EACCES" || code === "EPERM") {
    return engineError("ENGINE_PERMISSION", `${where}: no permission`, {
      cause,
      hints: ["run as root"],
    });
  }
  if (statusCode === undefined) {
    return engineError("ENGINE_UNREACHABLE", `${where}: ${NOBODY_THERE[code ?? ""] ?? code ?? reasonOf(cause)}`, {
      cause,
      hints: ["systemctl start docker starts it; sealift host setup installs it", "sealift doctor"],
    });
  }
  return engineError("ENGINE_CALL_FAILED", `${where}: ${reasonOf(cause)}`, { cause });
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

function array(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
