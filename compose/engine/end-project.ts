/** Ends the containers of a Compose project in their order, and tells which had to be killed. */
import { setTimeout as sleep } from "node:timers/promises";
import type Docker from "dockerode";
import { connect, connectionError, type Engine } from "./engine.ts";
import type { ComposeProject } from "./prove-containers.ts";
import { readComposeFile } from "./start-waves.ts";

const PROJECT_LABEL = "com.docker.compose.project";
const SERVICE_LABEL = "com.docker.compose.service";
/** Of a process that SIGKILL ended: 128 and the signal's number. */
const KILLED_EXIT = 137;
/** What the engine may take to kill one that did not end, and to take note of it. */
const KILL_MAX_S = 60;
const TELL_MS = 1_000;
/** As an engine answers for a container that is gone, or not running. */
const QUIET = [304, 404];

interface Running {
  readonly id: string;
  readonly service: string;
}

export interface EndRun {
  /** Told every second who has not ended, and how many seconds those have left. */
  readonly onWaiting?: (services: readonly string[], secondsLeft: number) => void;
}

/**
 * Sends each container the signal that its image or file names, those first on which no other depends in the
 * project's file (the label that Compose has for it is empty on containers that were started one by one), and
 * waits for them; one that has not ended after `seconds` is killed. The containers stay. Returns the services
 * that were killed. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | ENGINE_CALL_FAILED
 */
export async function endProject(
  engine: Pick<Engine, "socketPath">,
  project: ComposeProject,
  seconds: number,
  { onWaiting = () => undefined }: EndRun = {},
): Promise<string[]> {
  const { services } = readComposeFile(project.file);
  try {
    const docker = await connect(engine, 1000 * (seconds + KILL_MAX_S));
    const killed: string[] = [];
    for (let left = await running(docker, project.name); left.length > 0; ) {
      const needed = new Set(left.flatMap(({ service }) => Object.keys(services[service]?.depends_on ?? {})));
      const free = left.filter(({ service }) => !needed.has(service));
      // In a circle there is no order.
      const wave = free.length > 0 ? free : left;
      killed.push(...(await endWave(docker, wave, seconds, onWaiting)));
      left = left.filter((one) => !wave.includes(one));
    }
    return killed.sort();
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

async function running(docker: Docker, project: string): Promise<Running[]> {
  const found = await docker.listContainers({ filters: { label: [`${PROJECT_LABEL}=${project}`] } });
  return found.map(({ Id, Labels }) => ({ id: Id, service: Labels[SERVICE_LABEL] ?? "" }));
}

async function endWave(
  docker: Docker,
  wave: readonly Running[],
  seconds: number,
  onWaiting: NonNullable<EndRun["onWaiting"]>,
): Promise<string[]> {
  const started = performance.now();
  const waiting = new Set(wave);
  const killed: string[] = [];
  const all = Promise.all(
    wave.map(async (one) => {
      if (await end(docker, one.id, seconds)) killed.push(one.service);
      waiting.delete(one);
    }),
  );
  const isOver = all.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([isOver, sleep(TELL_MS, false)]))) {
    const left = Math.max(0, Math.round(seconds - (performance.now() - started) / 1000));
    onWaiting([...waiting].map(({ service }) => service).sort(), left);
  }
  await all;
  return killed;
}

/** Returns whether it had to be killed. */
async function end(docker: Docker, id: string, seconds: number): Promise<boolean> {
  const container = docker.getContainer(id);
  try {
    await container.stop({ t: seconds });
    const { State } = await container.inspect();
    return State.ExitCode === KILLED_EXIT && !State.OOMKilled;
  } catch (cause) {
    if (QUIET.includes((cause as { readonly statusCode?: number }).statusCode ?? 0)) return false;
    throw cause;
  }
}
