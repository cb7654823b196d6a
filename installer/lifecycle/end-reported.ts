/** Containers end, and whoever waits is told of those that do not. */

import { endProject } from "../../compose/engine/end-project.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import type { ComposeProject } from "../../compose/engine/prove-containers.ts";
import type { StepReport } from "./deploy-context.ts";

/** Of `endProject`: who is still at work goes into the details, who had to be killed is remarked. */
export async function endReported(
  report: Pick<StepReport, "detail" | "remark">,
  engine: Pick<Engine, "socketPath">,
  project: ComposeProject,
  seconds: number,
): Promise<void> {
  const onWaiting = (services: readonly string[], left: number): void =>
    report.detail(`${services.join(", ")} still at work; killed in ${left} s`);
  for (const service of await endProject(engine, project, seconds, { onWaiting })) {
    report.remark(`${service} did not end within ${seconds} s and was killed`);
  }
}
