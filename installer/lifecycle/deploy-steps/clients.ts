/** Steps that send clients to the new colour, and watch it. */
import type { Engine } from "../../../compose/engine/engine.ts";
import { containerStates } from "../../../compose/engine/project.ts";
import { projectName } from "../../../compose/render.ts";
import type { Deployment } from "../../site/deployment.ts";
import type { DeployContext } from "../deploy-context.ts";
import { lifecycleError } from "../error.ts";
import { askFront, clientAddress, confirmFront, switchFront } from "../front.ts";
import type { NewStep } from "../reported-step.ts";
import type { Deploying } from "./deploying.ts";

const WATCH_INTERVAL_MS = 500;
/** An answer through the front that takes longer counts as none while the new colour is watched. */
const WATCH_SLOW_MS = 2_000;

export function openFront(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  return {
    name: "front",
    intent: `reach ${parameters.to.version} as clients will`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const target = clientAddress(deploying.rendered(parameters.to, "base"), rules);
        await confirmFront(target, parameters.to, context.signal);
      }),
  };
}

export function turnFront(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { before, to } = parameters;
  const turnTo = (deployment: Deployment, baseOf: Deployment, signal?: AbortSignal): Promise<void> =>
    deploying.withNext(async ({ rules }) => {
      const target = clientAddress(deploying.rendered(baseOf, "base"), rules);
      await switchFront(context, await context.engine(), rules, deployment, target, signal);
    });
  return {
    name: "switch",
    intent: `send clients to ${to.version} in ${to.colour}`,
    do: () => turnTo(to, to, context.signal),
    // The base file of `to` is still in force here: `base` is taken back after this.
    undo: async () => (before.current ? turnTo(before.current, to) : undefined),
  };
}

export function watch(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to, watchSeconds } = parameters;
  return {
    name: "watch",
    intent: `watch ${to.version} for ${watchSeconds} s`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const engine = await context.engine();
        const target = clientAddress(deploying.rendered(to, "base"), rules);
        const end = performance.now() + watchSeconds * 1000;
        while (performance.now() < end) {
          context.signal?.throwIfAborted();
          const started = performance.now();
          await requireWorking(context, engine, to, target);
          context.report.detail(`${Math.max(0, Math.round((end - performance.now()) / 1000))} s to go`);
          await pause(WATCH_INTERVAL_MS - (performance.now() - started));
        }
      }),
  };
}

/** @throws WATCH_FAILED. An error that a client can cause is not looked at: only what is asked here counts. */
async function requireWorking(
  context: DeployContext,
  engine: Engine,
  { version, colour }: Deployment,
  target: Parameters<typeof askFront>[0],
): Promise<void> {
  const bad = (await containerStates(engine, projectName(context.siteId, colour))).find(
    ({ healthy, restarts }) => !healthy || restarts > 0,
  );
  if (bad)
    throw watchFailed(`${bad.service}: ${bad.text}${bad.restarts > 0 ? `, restarted ${bad.restarts} times` : ""}`);
  let answered: Awaited<ReturnType<typeof askFront>>;
  try {
    answered = await askFront(target);
  } catch (cause) {
    throw watchFailed(`the front: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  if (answered.release !== version) throw watchFailed(`the front: release ${JSON.stringify(answered.release)} answers`);
  if (answered.milliseconds > WATCH_SLOW_MS) throw watchFailed(`the front: an answer took ${answered.milliseconds} ms`);
}

function watchFailed(what: string): Error {
  return lifecycleError("WATCH_FAILED", `after the switch: ${what}`);
}

async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
