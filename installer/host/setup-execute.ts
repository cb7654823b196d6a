/** Does what a setup plan says, one step after the other, and stops at the first that fails. */
import { spawn } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { askEngine, DEFAULT_SOCKET, type Engine } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { openEngine } from "./engine.ts";
import { hostError } from "./error.ts";
import { SYSTEM_ENV, systemCall } from "./setup-facts.ts";
import { DAEMON_LOG, type SetupPlan, type SetupStep, stepText } from "./setup-plan.ts";

const PACKAGE_TIMEOUT_MS = 30 * 60_000;
const START_TIMEOUT_MS = 90_000;
/** Nothing is removed, no service asks a question, a changed configuration file of the host stays. */
const APT = [
  ...["--yes", "--quiet", "--no-remove", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"],
  ...["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"],
];

/** Not --no-download: with it apt loses the directory of the files that it was given. */
const NO_SOURCES = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"];

export interface SetupRun {
  readonly configDirectory: string;
  readonly onStep: (text: string) => void;
}

/**
 * Returns the engine that the plan's last step checked.
 * @throws HOST_SETUP_FAILED | HOST_ENGINE_NOT_STARTED, and the engine's refusals. Run setup again to go on.
 */
export async function executeSetup(plan: SetupPlan, run: SetupRun): Promise<Engine> {
  for (const step of plan.steps) {
    run.onStep(stepText(step));
    await execute(step);
  }
  return openEngine({ configDirectory: run.configDirectory });
}

async function execute(step: SetupStep): Promise<void> {
  switch (step.kind) {
    case "repair-packages":
      return tool("dpkg", ["--configure", "-a", "--force-confdef", "--force-confold"]);
    case "write-file":
      return writeDurably(step.path, step.content);
    case "update-lists":
      return tool("apt-get", ["update", "--quiet", "-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any"]);
    case "install":
      return tool("apt-get", ["install", ...APT, "--no-install-recommends", ...step.packages]);
    case "install-debs": {
      const paths = step.debs.map((deb) => deb.path);
      return tool("apt-get", ["install", ...APT, ...NO_SOURCES, "--no-install-recommends", ...paths]);
    }
    case "start-service":
      return tool("systemctl", ["enable", "--now", "docker.service"]);
    case "start-daemon":
      return startDaemon(step.dockerd);
    case "check":
      await waitForEngine(() => undefined);
  }
}

async function tool(name: string, args: readonly string[]): Promise<void> {
  const call = systemCall(name, args);
  const result = await runCall(call, { timeoutMs: PACKAGE_TIMEOUT_MS, maxBytes: 64 * 1024 * 1024 }).catch((cause) => {
    throw hostError("HOST_SETUP_FAILED", `${name}: ${reasonOf(cause)}`, { cause, hints: HINTS });
  });
  if (result.status === 0) return;
  const said = `${result.stderr}\n${result.stdout}`
    .split("\n")
    .filter((line) => /^(?:E:|W:|dpkg: error)|[Ff]ailed/.test(line));
  const words = said.slice(0, 4).join("; ") || result.stderr.trim().split("\n").at(-1) || "no reason given";
  throw hostError("HOST_SETUP_FAILED", `${name} ${args[0]}: exit ${result.status}: ${words}`, { hints: HINTS });
}

const HINTS = ["run sealift host setup again when the cause is gone; it goes on where it stopped"];

function writeDurably(path: string, content: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    // apt ignores names that end like this, so a cut between the two leaves nothing that counts.
    const temporary = `${path}.dpkg-new`;
    const fd = openSync(temporary, "w", 0o644);
    try {
      writeSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw hostError("HOST_SETUP_FAILED", `${path}: ${reasonOf(cause)}`, { cause, hints: HINTS });
  }
}

async function startDaemon(dockerd: string): Promise<void> {
  const log = openSync(DAEMON_LOG, "a", 0o640);
  let ended: string | undefined;
  try {
    // Detached is setsid(2): the daemon outlives us and gets no signal of our terminal.
    const child = spawn(dockerd, [], { cwd: "/", detached: true, stdio: ["ignore", log, log], env: SYSTEM_ENV });
    child.once("error", (cause) => {
      ended = reasonOf(cause);
    });
    child.once("exit", (code, signal) => {
      ended ??= `it ended with ${signal ?? code}`;
    });
    child.unref();
  } finally {
    closeSync(log);
  }
  await waitForEngine(() => ended);
}

async function waitForEngine(ended: () => string | undefined): Promise<void> {
  const limit = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await askEngine(DEFAULT_SOCKET);
      return;
    } catch (cause) {
      if (!(cause instanceof SealiftError) || cause.code !== "ENGINE_UNREACHABLE") throw cause;
      const reason = ended() ?? (Date.now() > limit ? `no answer after ${START_TIMEOUT_MS / 1000} s` : undefined);
      if (reason !== undefined) {
        throw hostError("HOST_ENGINE_NOT_STARTED", `dockerd: ${reason}${lastErrors()}`, {
          cause,
          hints: [`read ${DAEMON_LOG} or journalctl --unit docker`, "sealift doctor"],
        });
      }
    }
    await sleep(250);
  }
}

function lastErrors(): string {
  try {
    const lines = readFileSync(DAEMON_LOG, "utf8").slice(-8192).split("\n");
    const last = lines.filter((line) => /failed|error|level=fatal/i.test(line)).at(-1);
    return last === undefined ? "" : `: ${last.slice(0, 400)}`;
  } catch {
    return "";
  }
}
