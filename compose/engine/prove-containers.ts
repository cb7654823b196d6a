/** After `up`: every container of a project against the file from which it was made (container-proof.ts). */
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { containerDifferences, differenceText, type RunnableImage } from "./container-proof.ts";
import { composeCall, connect, connectionError, type Engine } from "./engine.ts";
import { engineError } from "./error.ts";
import { runCall } from "./run-call.ts";

export interface ComposeProject {
  readonly name: string;
  /** Absolute path of the rendered file. */
  readonly file: string;
  readonly directory: string;
}

/**
 * `images` are those that `loadImages` proved, by reference.
 * @throws ENGINE_CONTAINER_DIFFERS with every difference, ENGINE_CALL_FAILED if Compose cannot read the file,
 * and what `connectionError` makes of an engine that does not answer
 */
export async function proveContainers(
  engine: Engine,
  project: ComposeProject,
  images: ReadonlyMap<string, RunnableImage>,
): Promise<void> {
  const call = composeCall(engine, project, ["config", "--format", "json"]);
  const [{ status, stdout, stderr }, inspected] = await Promise.all([
    runCall(call, { timeoutMs: 30_000 }),
    inspectAll(engine, project.name),
  ]);
  if (status !== 0) {
    throw engineError("ENGINE_CALL_FAILED", `compose config: exit ${status}: ${stderr.trim().slice(-500)}`);
  }
  const model = parseModel(stdout);
  const differences = containerDifferences(model, inspected, images);
  if (differences.length === 0) return;
  throw engineError(
    "ENGINE_CONTAINER_DIFFERS",
    `project ${JSON.stringify(project.name)}: ${differences.map(differenceText).join("; ")}`,
    { hints: ["sealift status", "sealift recover"] },
  );
}

/** Compose writes each dollar of a value twice, as in a file that it would read again. */
function parseModel(text: string): unknown {
  try {
    return JSON.parse(text, (_, value: unknown) =>
      typeof value === "string" ? value.replaceAll("$$", () => "$") : value,
    );
  } catch (cause) {
    throw engineError("ENGINE_CALL_FAILED", `compose config: ${reasonOf(cause)}`, { cause });
  }
}

async function inspectAll(engine: Engine, project: string): Promise<unknown[]> {
  try {
    const docker = await connect(engine);
    const filters = { label: [`com.docker.compose.project=${project}`] };
    const found = await docker.listContainers({ all: true, filters });
    return await Promise.all(found.map((container) => docker.getContainer(container.Id).inspect()));
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}
