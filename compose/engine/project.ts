/**
 * A Compose project on an engine: up, down, stop, one task, and what its containers are doing. The file is
 * rendered already; nothing is built or pulled here.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { composeCall, connect, connectionError, dockerCall, type Engine, type ToolCall } from "./engine.ts";
import { engineError } from "./error.ts";
import type { ComposeProject } from "./prove-containers.ts";
import { type CallResult, runCall } from "./run-call.ts";
import { readComposeFile, startWaves } from "./start-waves.ts";

export const SITE_LABEL = "sealift.site";
const SERVICE_LABEL = "com.docker.compose.service";
const PROJECT_LABEL = "com.docker.compose.project";
const ONE_OFF_LABEL = "com.docker.compose.oneoff";
/** Beyond the time that Compose itself was given. */
const MARGIN_MS = 60_000;
const REASON_MAX_LENGTH = 2000;
const LAST_WORDS_MAX_LENGTH = 800;
/** Of util-linux, as flock is. */
const SETPRIV = "/usr/bin/setpriv";
const DOWN_ATTEMPTS = 5;
/** Between two looks at containers that are waited for. */
const LOOK_MS = 100;

export interface ProjectRun {
  readonly signal?: AbortSignal | undefined;
  /** What Compose says it is doing. */
  readonly onLine?: (line: string) => void;
  /** Of `upProject` and `startProject`: only these and what they depend on; all but tasks if absent. */
  readonly services?: readonly string[];
  /** Of `startProject`: these were started just now, from the same file. */
  readonly started?: readonly string[];
  /** Of `runTask`: what its program gets in place of the file's `command`. Never a secret. */
  readonly taskArguments?: readonly string[];
  /** Of `runTask`: it changes nothing, so one that is under way goes on beside it. */
  readonly isLook?: boolean;
}

/**
 * Starts every service, or those of `run.services`, and waits until each with a health check is healthy and
 * each other runs. Containers of services that the file no longer has are removed.
 * @throws as `startProject` and `awaitHealthy`
 */
export async function upProject(
  engine: Engine,
  project: ComposeProject,
  waitSeconds: number,
  run: ProjectRun = {},
): Promise<void> {
  await startProject(engine, project, waitSeconds, run);
  await awaitHealthy(engine, project.name, waitSeconds, run);
}

/**
 * As `upProject`, but only services on whose health another of them depends are waited for. Compose itself
 * looks twice a second, and first after half of one, so it is given those that may start at once, in turn.
 * @throws ENGINE_UNHEALTHY with what the containers say | ENGINE_CALL_FAILED
 */
export async function startProject(
  engine: Engine,
  project: ComposeProject,
  waitSeconds: number,
  run: ProjectRun = {},
): Promise<void> {
  await removeHalfMade(engine, project.name);
  const waves = startWaves(readComposeFile(project.file), run.services);
  for (const [index, services] of waves.entries()) {
    if (index > 0) await awaitHealthy(engine, project.name, waitSeconds, { ...run, services: waves[index - 1] ?? [] });
    const left = services.filter((service) => !run.started?.includes(service));
    if (left.length === 0) continue;
    const orphans = run.services ? [] : ["--remove-orphans"];
    const args = ["up", "--detach", "--no-deps", "--no-build", "--pull", "never", ...orphans, ...left];
    const result = await compose(engine, project, args, waitSeconds * 1000, run);
    if (result.status === 0) continue;
    // Whoever takes this back removes the containers, and with them what they wrote.
    const ended = (await containerStates(engine, project.name)).filter(({ failed }) => failed);
    throw ended.length > 0 ? await unhealthy(engine, project.name, ended) : callFailed("up", result);
  }
}

/**
 * Waits until the project's services, or those of `run.services`, run, and are healthy if they have a health
 * check. Does not wait any longer for one that has ended or is unhealthy.
 * @throws ENGINE_UNHEALTHY with what the containers say
 */
export async function awaitHealthy(
  engine: Engine,
  project: string,
  waitSeconds: number,
  { signal, services }: Pick<ProjectRun, "signal" | "services"> = {},
): Promise<void> {
  const deadline = performance.now() + waitSeconds * 1000;
  for (;;) {
    signal?.throwIfAborted();
    const states = await containerStates(engine, project);
    const bad = states.filter(({ service, healthy }) => !healthy && (services?.includes(service) ?? true));
    if (bad.length === 0) return;
    if (bad.some(({ failed }) => failed) || performance.now() > deadline) throw await unhealthy(engine, project, bad);
    await sleep(LOOK_MS);
  }
}

async function unhealthy(engine: Engine, project: string, bad: readonly ContainerState[]): Promise<Error> {
  const what = await Promise.all(
    bad.map(async ({ id, service, text }) => `${service}: ${text}${await lastWords(engine, id)}`),
  );
  return engineError("ENGINE_UNHEALTHY", `project ${JSON.stringify(project)}: ${what.join("; ")}`);
}

/**
 * Stops and removes the project's containers and its own networks, and with `volumes` its volumes and all
 * that is in them. Nothing if there is none of it. @throws ENGINE_CALL_FAILED
 */
export async function downProject(
  engine: Engine,
  project: ComposeProject,
  options: { readonly stopSeconds: number; readonly volumes?: boolean },
  run: ProjectRun = {},
): Promise<void> {
  const { stopSeconds, volumes = false } = options;
  const args = ["down", "--remove-orphans", "--timeout", String(stopSeconds), ...(volumes ? ["--volumes"] : [])];
  for (let attempt = 1; ; attempt += 1) {
    const result = await compose(engine, project, args, stopSeconds * 1000, run);
    // What a killed Compose asked for last may still be at work in the engine, and make one container more.
    const left = await containerStates(engine, project.name);
    if (result.status === 0 && left.length === 0) return;
    if (result.status !== 0 && attempt === DOWN_ATTEMPTS) throw callFailed("down", result);
    if (attempt === DOWN_ATTEMPTS) {
      const services = left.map(({ service }) => service).join(", ");
      throw engineError("ENGINE_CALL_FAILED", `compose down: containers of ${services} are there again`);
    }
    await sleep(500 * attempt);
  }
}

/**
 * Runs one service to its end in a container of its own, and returns what it wrote to stdout.
 * @throws ENGINE_TASK_FAILED if its exit code is not 0 | ENGINE_CALL_FAILED
 */
export async function runTask(
  engine: Engine,
  project: ComposeProject,
  service: string,
  maxSeconds: number,
  run: ProjectRun = {},
): Promise<string> {
  if (run.isLook !== true) await stopTask(engine, project.name, service);
  const args = ["run", "--rm", "--no-deps", "-T", service, ...(run.taskArguments ?? [])];
  const result = await compose(engine, project, args, maxSeconds * 1000, run);
  if (result.status === 0) return result.stdout;
  // The program's own words are the last lines; before them Compose tells of networks and containers.
  const said = `${result.stdout.trim()}\n${result.stderr.trim()}`.trim().slice(-REASON_MAX_LENGTH);
  throw engineError("ENGINE_TASK_FAILED", `task ${JSON.stringify(service)}: exit code ${result.status}: ${said}`);
}

/** A program inside a running container of `service`. The caller judges the status. @throws ENGINE_CALL_FAILED */
export async function execInService(
  engine: Engine,
  project: ComposeProject,
  service: string,
  command: readonly string[],
  options: Parameters<typeof runCall>[1],
): Promise<CallResult> {
  return runCall(endsWithUs(composeCall(engine, project, ["exec", "-T", service, ...command])), options);
}

export interface ContainerState {
  readonly id: string;
  readonly project: string;
  readonly service: string;
  /** Running, and healthy if it has a health check. */
  readonly healthy: boolean;
  /** It will not become healthy by waiting: it is unhealthy, or has ended for good. */
  readonly failed: boolean;
  readonly restarts: number;
  /** For a person: state, exit code, and the last words of a failing health check. */
  readonly text: string;
  /** Addresses by network. The host reaches them, also those of internal networks. */
  readonly addresses: ReadonlyMap<string, string>;
}

/** The project's containers except one-off ones, by service. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | ENGINE_CALL_FAILED */
export async function containerStates(engine: Engine, project: string): Promise<ContainerState[]> {
  return statesOf(engine, [`${PROJECT_LABEL}=${project}`, `${ONE_OFF_LABEL}=False`]);
}

/** Of every project of a site. */
export async function siteContainers(engine: Engine, siteId: string): Promise<ContainerState[]> {
  return statesOf(engine, [`${SITE_LABEL}=${siteId}`, `${ONE_OFF_LABEL}=False`]);
}

async function statesOf(engine: Engine, label: readonly string[]): Promise<ContainerState[]> {
  try {
    const docker = await connect(engine);
    const found = await docker.listContainers({ all: true, filters: { label: [...label] } });
    const states = await Promise.all(
      found.map(async ({ Id }): Promise<ContainerState[]> => {
        const inspected = await unlessGone(docker.getContainer(Id).inspect());
        if (!inspected) return [];
        const { State, RestartCount, Config, NetworkSettings } = inspected;
        const health = State.Health?.Status;
        const healthy = State.Running && !State.Restarting && (health === undefined || health === "healthy");
        const said = State.Health?.Log?.at(-1)?.Output.trim() ?? "";
        const exit = State.Running ? "" : ` (exit code ${State.ExitCode}${State.OOMKilled ? ", out of memory" : ""})`;
        const state: ContainerState = {
          id: Id,
          project: Config.Labels[PROJECT_LABEL] ?? "",
          service: Config.Labels[SERVICE_LABEL] ?? "",
          healthy,
          failed: health === "unhealthy" || State.Status === "exited" || State.Status === "dead",
          restarts: RestartCount,
          text: `${health ?? State.Status}${exit}${healthy || said === "" ? "" : `: ${said.slice(0, 300)}`}`,
          addresses: new Map(
            Object.entries(NetworkSettings.Networks).flatMap(([name, { IPAddress }]) =>
              IPAddress ? [[name, IPAddress] as const] : [],
            ),
          ),
        };
        return [state];
      }),
    );
    return states.flat().sort((a, b) => (`${a.project}/${a.service}` < `${b.project}/${b.service}` ? -1 : 1));
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** The end of what a container wrote, as the end of a sentence about it; empty if it cannot be had. */
async function lastWords(engine: Engine, id: string): Promise<string> {
  try {
    const call = dockerCall(engine, ["logs", "--tail", "8", id]);
    const { stdout, stderr } = await runCall(call, { timeoutMs: 10_000 });
    const said = `${stdout}${stderr}`.trim().slice(-LAST_WORDS_MAX_LENGTH);
    return said === "" ? "" : `, and wrote ${JSON.stringify(said)}`;
  } catch {
    return "";
  }
}

/** Names of the volumes that carry the site's label. */
export async function siteVolumes(engine: Engine, siteId: string): Promise<string[]> {
  try {
    const docker = await connect(engine);
    const { Volumes } = await docker.listVolumes({ filters: { label: [`${SITE_LABEL}=${siteId}`] } });
    return (Volumes ?? []).map(({ Name }) => Name).sort();
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** Sends a signal to the one container of `service`. @throws ENGINE_CALL_FAILED, also if there is none */
export async function signalService(
  engine: Engine,
  project: string,
  service: string,
  signal: NodeJS.Signals,
): Promise<void> {
  const [container, ...more] = (await containerStates(engine, project)).filter((one) => one.service === service);
  if (!container || more.length > 0) {
    throw engineError("ENGINE_CALL_FAILED", `service ${JSON.stringify(service)} of ${project}: want one container`);
  }
  try {
    const docker = await connect(engine);
    await docker.getContainer(container.id).kill({ signal });
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/**
 * Starts the containers of these services anew, one after the other, as they are: what they have mounted is looked
 * up again. Each has its own time to end, and is waited for. @throws as `startProject` and `awaitHealthy`
 */
export async function restartServices(
  engine: Engine,
  project: string,
  services: readonly string[],
  waitSeconds: number,
): Promise<void> {
  for (const service of services) {
    const found = (await containerStates(engine, project)).filter((one) => one.service === service);
    if (found.length === 0) throw engineError("ENGINE_CALL_FAILED", `service ${service} of ${project}: no container`);
    try {
      const docker = await connect(engine);
      for (const { id } of found) await docker.getContainer(id).restart();
    } catch (cause) {
      throw connectionError(engine.socketPath, cause);
    }
    await awaitHealthy(engine, project, waitSeconds, { services: [service] });
  }
}

async function compose(
  engine: Engine,
  project: ComposeProject,
  args: readonly string[],
  timeoutMs: number,
  run: ProjectRun,
): Promise<CallResult> {
  return runCall(endsWithUs(composeCall(engine, project, args)), {
    timeoutMs: timeoutMs + MARGIN_MS,
    signal: run.signal,
    ...(run.onLine && { onLine: run.onLine }),
  });
}

/** A Compose that went on after a SIGKILL of this process would work against `recover`. */
function endsWithUs({ file, args, env }: ToolCall): ToolCall {
  return { file: SETPRIV, args: ["--pdeathsig", "KILL", file, ...args], env };
}

function callFailed(verb: string, { status, stderr }: CallResult): Error {
  // What went wrong stands among what goes on: " Container x  Creating".
  const lines = stderr.split(/\r?\n/).filter((line) => line.trim() !== "");
  const reasons = lines.filter((line) => !/^\s*(?:Container|Network|Volume) \S+ {2}[A-Z][a-z]+\s*$/.test(line));
  const said = (reasons.length > 0 ? reasons : lines).join("; ").slice(-REASON_MAX_LENGTH);
  return engineError("ENGINE_CALL_FAILED", `compose ${verb}: exit ${status}: ${said}`, { hints: ["sealift doctor"] });
}

/** What a killed Compose left under a temporary name: the next `up` would refuse over it. */
async function removeHalfMade(engine: Engine, project: string): Promise<void> {
  await removeContainers(engine, [`${PROJECT_LABEL}=${project}`], (name) => /^\/?[0-9a-f]{12}_/.test(name));
}

/** Ends a task that a killed run left behind: it may still be at work. @throws ENGINE_CALL_FAILED */
export async function stopTask(engine: Engine, project: string, service: string): Promise<void> {
  const labels = [`${PROJECT_LABEL}=${project}`, `${SERVICE_LABEL}=${service}`, `${ONE_OFF_LABEL}=True`];
  await removeContainers(engine, labels, () => true);
}

async function removeContainers(
  engine: Engine,
  label: readonly string[],
  isMeant: (name: string) => boolean,
): Promise<void> {
  try {
    const docker = await connect(engine);
    for (const { Id, Names } of await docker.listContainers({ all: true, filters: { label: [...label] } })) {
      if (Names.some(isMeant)) await unlessGone(docker.getContainer(Id).remove({ force: true }));
    }
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** A container may end between the list and the question. */
async function unlessGone<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asked;
  } catch (cause) {
    if ((cause as { readonly statusCode?: number }).statusCode === 404) return undefined;
    throw cause;
  }
}
