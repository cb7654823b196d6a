/** Steps that bring up the colour to which clients shall go. */
import { loadImages } from "../../../compose/engine/load-images.ts";
import { awaitHealthy, downProject, startProject } from "../../../compose/engine/project.ts";
import { proveContainers } from "../../../compose/engine/prove-containers.ts";
import { askCanary } from "../canary.ts";
import { baseProject, colourProject } from "../deploy-context.ts";
import { keepLogs } from "../failed-logs.ts";
import type { NewStep } from "../reported-step.ts";
import { servicesOffDatabase } from "./data.ts";
import { type Deploying, START_SECONDS, STOP_SECONDS } from "./deploying.ts";

export function start(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  const project = colourProject(context, to);
  return {
    name: "start",
    intent: `start ${to.version} in ${to.colour}`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        deploying.rendered(to, "containers");
        await deploying.awaitBase();
        // They are compared with the release while they come up; the gate asks whether they work.
        const run = { ...deploying.run, started: servicesOffDatabase(deploying, rules) };
        await startProject(await context.engine(), project, START_SECONDS, run);
      }),
    undo: async () => {
      const engine = await context.engine();
      await keepLogs(context, engine, project.name, to.id);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS });
    },
  };
}

export function prove(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "prove",
    intent: "compare the containers with the release",
    do: () =>
      deploying.withNext(async ({ layout, release }) => {
        const engine = await context.engine();
        const loaded = await loadImages(engine, layout, release);
        const images = new Map(loaded.map((image) => [image.reference, image]));
        const projects = [baseProject(context, parameters.to), colourProject(context, parameters.to)];
        await Promise.all(projects.map((project) => proveContainers(engine, project, images)));
      }),
  };
}

export function gate(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  return {
    name: "gate",
    intent: `ask ${to.version} whether all of it works`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const engine = await context.engine();
        const { name } = colourProject(context, to);
        await awaitHealthy(engine, name, START_SECONDS, deploying.run);
        await askCanary(engine, name, rules, to.version, context.signal);
        // Asked once more: one without a health check may have ended since.
        await deploying.awaitBase();
        await awaitHealthy(engine, name, START_SECONDS, deploying.run);
      }),
  };
}
