/** A step that tells a person what it does, and heeds the wish to stop. */
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { DeployContext } from "./deploy-context.ts";
import type { Step } from "./step.ts";

/** A step may have nothing to take back, and nothing that recover could ask. */
export type NewStep = Omit<Step, "undo" | "probe"> & Partial<Pick<Step, "undo" | "probe">>;

/** Tells the report what goes on. `mayStop`: a step does not begin any more when the operator wants to stop. */
export function reported({ report, signal }: DeployContext, step: NewStep, mayStop: boolean): Step {
  let isUndone = false;
  const tell = async (work: () => Promise<void>, outcome: "done" | "undone"): Promise<void> => {
    if (outcome === "done") report.begin(step.name, step.intent, "forward");
    else report.begin(step.name, `take back: ${step.intent}`, "back");
    try {
      await work();
      report.end(step.name, outcome);
    } catch (cause) {
      report.end(step.name, "failed", mayStop && !isUndone && signal?.aborted ? "stopped" : reasonOf(cause));
      throw cause;
    }
  };
  return {
    name: step.name,
    intent: step.intent,
    ...(step.isCommit && { isCommit: true as const }),
    do: () =>
      tell(async () => {
        if (mayStop) signal?.throwIfAborted();
        await step.do();
      }, "done"),
    undo: async () => {
      isUndone = true;
      if (step.undo) await tell(step.undo, "undone");
    },
    probe: step.probe ?? (async () => "unknown"),
  };
}
