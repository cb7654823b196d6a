/** Steps about images and the base services, which both colours share. */
import type { ApplianceRules } from "../../../bundles/model/appliance-rules.ts";
import {
  downProject,
  type ProjectRun,
  restartServices,
  startProject,
  upProject,
} from "../../../compose/engine/project.ts";
import { parseComposeFile, startWaves } from "../../../compose/engine/start-waves.ts";
import type { Deployment } from "../../site/deployment.ts";
import { baseProject } from "../deploy-context.ts";
import { keepLogs } from "../failed-logs.ts";
import { removeSwitch, writeSwitch } from "../front.ts";
import type { NewStep } from "../reported-step.ts";
import { beginRotation, forgetRotation, type Rotation, restoreRotation, settleRotation } from "../rotation.ts";
import { type Deploying, START_SECONDS, STOP_SECONDS } from "./deploying.ts";

export function load(deploying: Deploying): NewStep {
  return {
    name: "load",
    intent: "load the images into the engine",
    do: () => deploying.load(),
    // Images are left in the engine: they change nothing, the next try needs them, and `prune` removes them.
  };
}

/** Nothing runs yet: what starts first waits for no image but its own. */
export function loadFirst(deploying: Deploying): NewStep {
  return {
    name: "load-first",
    intent: "load the images of what starts first",
    do: () => deploying.withNext(async ({ rules }) => deploying.load({ among: servicesFirst(deploying, rules) })),
  };
}

/** The database and what it depends on: all else waits for it. All base services, if there is none. */
function servicesFirst(deploying: Deploying, { database }: ApplianceRules): readonly string[] {
  const file = parseComposeFile(deploying.rendered(deploying.parameters.to, "base"));
  return startWaves(file, database && [database.service]).flat();
}

/** The base services come up while images are loaded: first of the other base services, then all. */
export function firstBase(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { disk, paths } = context;
  const { to, hasOldVolumes } = parameters;
  const project = baseProject(context, to);
  // Whether the services work is asked by the first step that needs them.
  const startBase = async (run: ProjectRun): Promise<void> =>
    startProject(await context.engine(), project, START_SECONDS, { ...deploying.run, ...run });
  return {
    name: "base",
    intent: "start the base services, and load the other images meanwhile",
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const first = servicesFirst(deploying, rules);
        writeSwitch(disk, paths, to.colour);
        await bothOrNone(
          context.signal,
          (signal) => startBase({ signal, services: first }),
          (signal) => deploying.load({ signal, among: rules.base }),
        );
        await bothOrNone(
          context.signal,
          (signal) => startBase({ signal, started: first }),
          (signal) => deploying.load({ signal }),
        );
      }),
    undo: async () => {
      const engine = await context.engine();
      await keepLogs(context, engine, project.name, to.id);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS, volumes: !hasOldVolumes });
      removeSwitch(disk, paths);
    },
  };
}

/** Of two works neither goes on after the other has failed; ends when both have. @throws what failed first */
async function bothOrNone(
  signal: AbortSignal | undefined,
  ...works: readonly ((signal: AbortSignal) => Promise<void>)[]
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]);
  const failures: unknown[] = [];
  const stopOther = (cause: unknown): void => {
    failures.push(cause);
    stop.abort();
  };
  await Promise.all(works.map((work) => work(either).catch(stopOther)));
  if (failures.length > 0) throw failures[0];
}

export function nextBase(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { before, to } = parameters;
  return {
    name: "base",
    intent: "replace the base services that change",
    do: async () => {
      deploying.rendered(to, "base");
      await startProject(await context.engine(), baseProject(context, to), START_SECONDS, deploying.run);
    },
    undo: async () => {
      if (before.current) await upProject(await context.engine(), baseProject(context, before.current), START_SECONDS);
    },
  };
}

export function rotate(deploying: Deploying, rotation: Rotation): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "rotate",
    intent: `make other ${rotation.wish}; the old ones still count`,
    do: () =>
      deploying.withNext(async ({ template }) => {
        beginRotation(context, template, rotation);
        await restartBase(deploying, parameters.to, rotation.between);
      }),
    undo: async () => {
      const { current } = parameters.before;
      // Whether they heard of the new ones already nobody knows.
      if (restoreRotation(context, rotation) && current) await restartBase(deploying, current, rotation.between);
      forgetRotation(context);
    },
  };
}

export function settle(deploying: Deploying, rotation: Rotation): NewStep {
  return {
    name: "settle",
    intent: `let the old ${rotation.wish} count no more`,
    do: async () => {
      settleRotation(deploying.context, rotation);
      await restartBase(deploying, deploying.parameters.to, rotation.after);
    },
  };
}

async function restartBase({ context }: Deploying, of: Deployment, services: readonly string[]): Promise<void> {
  await restartServices(await context.engine(), baseProject(context, of).name, services, START_SECONDS);
}
