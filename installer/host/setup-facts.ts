/** Gathers what planSetup needs to know. Reads only; runs dpkg-query, dpkg-deb and apt-get indextargets. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { askEngine, DEFAULT_SOCKET, type ToolCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { composeVersion, firstExecutable, openEngine } from "./engine.ts";
import { hostError } from "./error.ts";
import { namesIn, readHostFile } from "./host-files.ts";
import { type AptTarget, DEBIAN_KEYRING, type DebFile, PIN_FILE, type SetupFacts, SOURCE_FILE } from "./setup-plan.ts";

/** The environment in which the package manager runs: ours may hold anything. */
export const SYSTEM_ENV = {
  PATH: "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  LC_ALL: "C",
  DEBIAN_FRONTEND: "noninteractive",
};
const DEBS_MAX = 64;
const TARGETS_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(RELEASE)|$(COMPONENT)";

/** A command of the host's own, by the fixed search path of SYSTEM_ENV. */
export function systemCall(name: string, args: readonly string[]): ToolCall {
  const file = SYSTEM_ENV.PATH.split(":")
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
  return { file: file ?? join("/usr/bin", name), args, env: SYSTEM_ENV };
}

export function parseOsRelease(text: string): SetupFacts["os"] {
  const value = (name: string): string => {
    const found = new RegExp(`^${name}=(.*)$`, "m").exec(text)?.[1] ?? "";
    return found.trim().replace(/^(["'])(.*)\1$/, "$2");
  };
  return { id: value("ID"), version: value("VERSION_ID"), codename: value("VERSION_CODENAME") };
}

/** Lines of `apt-get indextargets --format` with TARGETS_FORMAT. What apt does not know it leaves as it stands there. */
export function parseAptTargets(text: string): AptTarget[] {
  return text.split("\n").flatMap((line) => {
    const [origin = "", label = "", uri = "", codename = "", suite = "", component = ""] = line
      .split("|")
      .map((value) => (value.startsWith("$(") ? "" : value));
    return uri === "" ? [] : [{ origin, label, uri, codename, suite, component }];
  });
}

/** Lines of `dpkg-query -W -f '${Package}\t${Version}\t${db:Status-Status}\n'`. */
export function parseInstalled(text: string): Map<string, string> {
  const installed = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [name, version, status] = line.split("\t");
    if (name && version && status === "installed") installed.set(name, version);
  }
  return installed;
}

export interface SetupFactsOptions {
  readonly configDirectory: string;
  /** A directory of .deb files, from --engine-debs. */
  readonly debs?: string;
  /** Directories of .deb files by host, as a kit has them: `debian12`. Used if no other was given and it has this host's. */
  readonly kitEngines: string;
}

/** @throws HOST_DEBS_UNUSABLE */
export async function gatherSetupFacts(options: SetupFactsOptions): Promise<SetupFacts> {
  const os = parseOsRelease(readHostFile("/etc/os-release") ?? readHostFile("/usr/lib/os-release") ?? "");
  const engine = await engineState(options.configDirectory);
  const carried = join(options.kitEngines, `${os.id}${os.version}`);
  const fromKit = options.debs === undefined && engine.state !== "good" && existsSync(carried);
  const debs = fromKit ? carried : options.debs;
  const query = await output("dpkg-query", ["-W", "-f", "${Package}\\t${Version}\\t${db:Status-Status}\\n"]);
  const targets = async (...more: string[]): Promise<string> =>
    output("apt-get", ["indextargets", ...more, "--format", TARGETS_FORMAT, "Created-By: Packages"]);
  const files = [SOURCE_FILE, PIN_FILE].flatMap((path): [string, string][] => {
    const content = readHostFile(path);
    return content === undefined ? [] : [[path, content]];
  });
  return {
    root: process.getuid?.() === 0,
    os,
    architecture: (await output("dpkg", ["--print-architecture"])).trim(),
    engine,
    installed: parseInstalled(query),
    dpkgInterrupted: (await output("dpkg", ["--audit"])).trim() !== "" || namesIn("/var/lib/dpkg/updates").length > 0,
    dockerd: firstExecutable(["/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd"]),
    systemd: existsSync("/run/systemd/system"),
    servicesDenied: existsSync("/usr/sbin/policy-rc.d"),
    // Before the first apt-get update nothing is known but the sources themselves.
    aptTargets: parseAptTargets((await targets()) || (await targets("--no-release-info"))),
    archiveKeyring: existsSync(DEBIAN_KEYRING),
    files: new Map(files),
    debs: debs === undefined ? undefined : { from: fromKit ? "kit" : "option", files: await readDebs(debs) },
  };
}

async function engineState(configDirectory: string): Promise<SetupFacts["engine"]> {
  try {
    const engine = await openEngine({ configDirectory });
    return { state: "good", version: engine.facts.version, compose: (await composeVersion(engine)).trim() };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    if (cause.code === "ENGINE_UNREACHABLE") return { state: "silent" };
    if (cause.code === "ENGINE_CLI_MISSING" || cause.code === "ENGINE_COMPOSE_MISSING") return withoutClient(cause);
    return { state: "refused", code: cause.code, message: cause.message };
  }
}

/** Without a client the engine may run all the same. */
async function withoutClient(missing: SealiftError): Promise<SetupFacts["engine"]> {
  try {
    await askEngine(DEFAULT_SOCKET);
    return { state: "refused", code: missing.code, message: missing.message };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    if (cause.code === "ENGINE_UNREACHABLE") return { state: "silent" };
    return { state: "refused", code: cause.code, message: cause.message };
  }
}

async function readDebs(directory: string): Promise<DebFile[]> {
  const refuse = (problem: string, cause?: unknown): Error =>
    hostError("HOST_DEBS_UNUSABLE", `packages in ${JSON.stringify(directory)}: ${problem}`, { cause });
  let found: string[];
  try {
    found = readdirSync(directory).filter((name) => name.endsWith(".deb"));
  } catch (cause) {
    throw refuse(reasonOf(cause), cause);
  }
  if (found.length === 0 || found.length > DEBS_MAX)
    throw refuse(`got ${found.length} .deb files, want 1 to ${DEBS_MAX}`);
  const debs: DebFile[] = [];
  for (const name of found.sort()) {
    const path = resolve(directory, name);
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) throw refuse(`${JSON.stringify(name)} is not a file`);
    const args = ["--show", "--showformat", "${Package}\\t${Version}\\t${Architecture}\\n", path];
    const { status, stdout } = await runCall(systemCall("dpkg-deb", args), { timeoutMs: 30_000 });
    const [pack = "", version = "", architecture = ""] = stdout.trim().split("\t");
    if (status !== 0 || architecture === "") throw refuse(`${JSON.stringify(name)} is not a Debian package`);
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
    debs.push({ path, package: pack, version, architecture, sha256: hash.digest("hex") });
  }
  return debs;
}

/** Of a tool that may not be on this host, and then says nothing. */
async function output(name: string, args: readonly string[]): Promise<string> {
  try {
    return (await runCall(systemCall(name, args), { timeoutMs: 60_000 })).stdout;
  } catch (cause) {
    if (cause instanceof SealiftError && cause.code === "ENGINE_CALL_FAILED") return "";
    throw cause;
  }
}
