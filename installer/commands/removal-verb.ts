/** What uninstall and prune have in common. */
import { plain } from "../../bundles/model/plain-text.ts";
import { spendAuthorization } from "../lifecycle/authorization.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import { execute } from "../lifecycle/execute.ts";
import type { RemovalPlan } from "../lifecycle/removal.ts";
import type { Site } from "../lifecycle/site.ts";
import type { OperationKind } from "../lifecycle/step.ts";
import { stepReport } from "../ui/step-report.ts";
import type { Invocation } from "./command.ts";
import { printPlan } from "./deploy-verb.ts";
import { withLazyEngine } from "./site-engine.ts";
import { obtainAuthorization } from "./site-options.ts";
import { unstopped } from "./unstopped.ts";

const GOES_ON = "what was removed does not come back: it goes on to its end";

/** A signal does not stop it: half a removal is of no use to anybody. */
export async function carryOutRemoval(
  invocation: Invocation,
  site: Site,
  kind: OperationKind<DeployContext>,
  { subject, parameters }: RemovalPlan,
): Promise<number> {
  const { terminal } = invocation;
  if (invocation.options["plan"] === true) {
    printPlan(invocation, site, subject);
    return 0;
  }
  const authorization = await obtainAuthorization(invocation, kind.name, site, subject);
  if (!authorization) return 0;
  const report = stepReport(terminal);
  const work = (): Promise<void> =>
    withLazyEngine(site, async (engine) => {
      const context: DeployContext = {
        ...site,
        engine,
        source: undefined,
        report,
        signal: undefined,
        showOnce: () => {},
      };
      const entry = spendAuthorization(site, authorization);
      await execute(site, kind, context, { ...parameters }, entry);
    });
  await unstopped(report, GOES_ON, work).finally(() => report.close());
  for (const line of subject.details) terminal.result(line);
  for (const remark of report.remarks) terminal.note(`note: ${plain(remark)}`);
  terminal.document({ plan: subject, approvals: authorization.approvals, remarks: report.remarks });
  return 0;
}
