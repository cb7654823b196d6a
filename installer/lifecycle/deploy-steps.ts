/**
 * The steps of an install, upgrade, rollback and configuration change. They are the same ones; an action
 * leaves out what it does not need. Up to the commit each can be taken back; the commit is one rename; what
 * follows only clears away, and may be done twice.
 */
import type { DeployContext, DeployParameters } from "./deploy-context.ts";
import { firstBase, load, loadFirst, nextBase, rotate, settle } from "./deploy-steps/base.ts";
import { openFront, turnFront, watch } from "./deploy-steps/clients.ts";
import { gate, prove, start } from "./deploy-steps/colour.ts";
import { backup, migrate, rehearsal } from "./deploy-steps/data.ts";
import { Deploying } from "./deploy-steps/deploying.ts";
import { commit, credentials, drain, tidy } from "./deploy-steps/end.ts";
import { certificate, render, secrets, stage } from "./deploy-steps/files.ts";
import { type NewStep, reported } from "./reported-step.ts";
import type { Step } from "./step.ts";

/** The operation's steps, in order. */
export function deploySteps(context: DeployContext, parameters: DeployParameters): readonly Step[] {
  const deploying = new Deploying(context, parameters);
  const { action, parts } = parameters;
  const isInstall = action === "install";
  const steps: (NewStep | false | undefined)[] = [
    parts.stage && stage(deploying),
    secrets(deploying),
    parameters.certificate && certificate(deploying, parameters.certificate),
    render(deploying),
    ...(isInstall ? [loadFirst(deploying), firstBase(deploying)] : [load(deploying)]),
    parts.backup && backup(deploying),
    parts.rehearse && rehearsal(deploying),
    !isInstall && parts.base && nextBase(deploying),
    parameters.rotation && rotate(deploying, parameters.rotation),
    parts.migrate && migrate(deploying),
    start(deploying),
    prove(deploying),
    gate(deploying),
    isInstall ? openFront(deploying) : turnFront(deploying),
    !isInstall && watch(deploying),
    commit(deploying),
    !isInstall && drain(deploying),
    parameters.rotation && settle(deploying, parameters.rotation),
    parts.credentials && credentials(deploying),
    tidy(deploying),
  ];
  const all = steps.filter((step) => step !== false && step !== undefined);
  const commitIndex = all.findIndex((step) => step.isCommit);
  return all.map((step, index) => reported(context, step, index <= commitIndex));
}
