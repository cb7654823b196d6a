/** Finds this host's engine and its client programs, and refuses what Sealift cannot stand on. */
import { accessSync, constants, mkdirSync, readdirSync } from "node:fs";
import {
  askEngine,
  composeRefusal,
  DEFAULT_SOCKET,
  type Engine,
  type EngineTools,
  localSocket,
} from "../../compose/engine/engine.ts";
import { engineError } from "../../compose/engine/error.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { installerError } from "../error.ts";

/** Where packages put the client. PATH is not asked. */
export const DOCKER_PATHS = ["/usr/bin/docker", "/usr/local/bin/docker"];
/** Where Docker's own and Debian's packages put the plugin. A user's ~/.docker/cli-plugins is not asked. */
export const COMPOSE_PATHS = [
  "/usr/libexec/docker/cli-plugins/docker-compose",
  "/usr/lib/docker/cli-plugins/docker-compose",
  "/usr/local/libexec/docker/cli-plugins/docker-compose",
  "/usr/local/lib/docker/cli-plugins/docker-compose",
];

export interface OpenEngineOptions {
  /** A path or `unix://` and a path; Docker's default if absent. Never taken from the environment. */
  readonly socket?: string;
  /** An empty directory that the caller owns; made if it is not there. */
  readonly configDirectory: string;
  readonly dockerPath?: string;
  readonly composePath?: string;
}

/** The first of `paths` that is an executable file, or undefined. */
export function firstExecutable(paths: readonly string[]): string | undefined {
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The programs, before any of them is run. @throws ENGINE_REMOTE | ENGINE_CLI_MISSING | ENGINE_COMPOSE_MISSING | FILE_WRITE_FAILED */
export function findEngineTools(options: OpenEngineOptions): EngineTools {
  const socketPath = localSocket(options.socket ?? DEFAULT_SOCKET);
  const hints = ["sealift host setup"];
  const dockerPath = options.dockerPath ?? firstExecutable(DOCKER_PATHS);
  if (dockerPath === undefined) {
    throw engineError("ENGINE_CLI_MISSING", `the docker client is at none of ${DOCKER_PATHS.join(", ")}`, { hints });
  }
  const composePath = options.composePath ?? firstExecutable(COMPOSE_PATHS);
  if (composePath === undefined) {
    throw engineError("ENGINE_COMPOSE_MISSING", `the Compose plugin is at none of ${COMPOSE_PATHS.join(", ")}`, {
      hints,
    });
  }
  return { socketPath, dockerPath, composePath, configDirectory: emptyDirectory(options.configDirectory) };
}

function emptyDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const [found] = readdirSync(path);
    if (found === undefined) return path;
    throw new Error(`holds ${JSON.stringify(found)}, want an empty directory`);
  } catch (cause) {
    throw installerError("FILE_WRITE_FAILED", `${JSON.stringify(path)}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * The engine of this host, reachable and supported, with its Compose.
 * @throws the codes of compose/engine/error.ts, each with what to do
 */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const tools = findEngineTools(options);
  const facts = await askEngine(tools.socketPath);
  const refusal = composeRefusal(await composeVersion(tools));
  if (refusal) throw refusal;
  return { ...tools, facts };
}

/** What `docker-compose version --short` prints. @throws ENGINE_CALL_FAILED */
export async function composeVersion(tools: EngineTools): Promise<string> {
  const env = { DOCKER_CONFIG: tools.configDirectory, HOME: tools.configDirectory };
  const { stdout } = await runCall(
    { file: tools.composePath, args: ["version", "--short"], env },
    { timeoutMs: 20_000 },
  );
  return stdout;
}
