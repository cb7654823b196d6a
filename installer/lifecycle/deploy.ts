/** The operations that move a site between releases and configurations, as `execute` and `recover` know them. */
import { DEPLOY_ACTIONS, type DeployAction, type DeployContext, parseDeployParameters } from "./deploy-context.ts";
import { deploySteps } from "./deploy-steps.ts";
import type { OperationKind } from "./step.ts";

function kindOf(action: DeployAction): OperationKind<DeployContext> {
  return {
    name: action,
    steps: (context, parameters) => deploySteps(context, parseDeployParameters(parameters)),
    facts: (parameters) => {
      const { after, rotation } = parseDeployParameters(parameters);
      return { deployments: after, ...(rotation && { rotated: rotation.wish }) };
    },
  };
}

export const DEPLOY_KINDS: Readonly<Record<DeployAction, OperationKind<DeployContext>>> = Object.fromEntries(
  DEPLOY_ACTIONS.map((action) => [action, kindOf(action)]),
) as Record<DeployAction, OperationKind<DeployContext>>;
