/** The commit, and what follows it. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { downProject, runTask } from "../../../compose/engine/project.ts";
import { readDeployments, writeDeployments } from "../../site/deployment.ts";
import { removeTree } from "../../site/disk.ts";
import { forgetCertificate } from "../certificate-change.ts";
import { colourProject } from "../deploy-context.ts";
import { endReported } from "../end-reported.ts";
import type { NewStep } from "../reported-step.ts";
import { forgetRotation } from "../rotation.ts";
import { type Deploying, STOP_SECONDS } from "./deploying.ts";

const CREDENTIALS_MAX_SECONDS = 120;

export function commit({ context, parameters }: Deploying): NewStep {
  const { paths, disk } = context;
  const { before, after, to } = parameters;
  return {
    name: "commit",
    intent: `record ${to.version} as installed`,
    isCommit: true,
    do: async () => writeDeployments(disk, paths, after),
    undo: async () => {
      if (readDeployments(paths).current?.id === to.id) writeDeployments(disk, paths, before);
    },
    probe: async () => (readDeployments(paths).current?.id === to.id ? "done" : "not-done"),
  };
}

export function drain({ context, parameters }: Deploying): NewStep {
  const { current } = parameters.before;
  const { drainSeconds } = parameters;
  return {
    name: "drain",
    intent: `let ${current?.version} in ${current?.colour} end its requests (at most ${drainSeconds} s)`,
    do: async () => {
      if (!current) return;
      context.report.detail("open requests end; new ones go to the other colour");
      const engine = await context.engine();
      const project = colourProject(context, current);
      await endReported(context.report, engine, project, drainSeconds);
      await downProject(engine, project, { stopSeconds: STOP_SECONDS });
    },
  };
}

export function credentials(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "credentials",
    intent: "make the first credentials",
    do: () =>
      deploying.withNext(async ({ rules }) => {
        if (rules.tasks.credentials === undefined) return;
        const project = colourProject(context, parameters.to);
        const task = rules.tasks.credentials;
        context.showOnce((await runTask(await context.engine(), project, task, CREDENTIALS_MAX_SECONDS)).trim());
      }),
  };
}

/** Files of deployments to which nobody can return any more. */
export function tidy({ context, parameters }: Deploying): NewStep {
  const { paths, disk } = context;
  const kept = [parameters.after.current, parameters.after.previous].flatMap((one) => one?.id ?? []);
  return {
    name: "tidy",
    intent: "remove the files of older deployments",
    do: async () => {
      forgetCertificate(context);
      forgetRotation(context);
      for (const id of readdirSync(join(paths.directory, "deployments"))) {
        if (!kept.includes(id)) removeTree(disk, join(paths.directory, "deployments", id));
      }
    },
  };
}
