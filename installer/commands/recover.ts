import { DEPLOY_KINDS } from "../lifecycle/deploy.ts";
import type { DeployContext } from "../lifecycle/deploy-context.ts";
import { recover as recoverOperation } from "../lifecycle/execute.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { operatorChange } from "../lifecycle/operator-change.ts";
import { pruneKind, uninstallKind } from "../lifecycle/removal.ts";
import { openSite } from "../lifecycle/site.ts";
import type { OperationKind } from "../lifecycle/step.ts";
import { trustChange } from "../lifecycle/trust-change.ts";
import { openState, statePaths } from "../site/state.ts";
import { tidyStore } from "../site/store.ts";
import { showCredentials } from "../ui/show-credentials.ts";
import { stepReport } from "../ui/step-report.ts";
import { type Command, positionals } from "./command.ts";
import { withLazyEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

/** Every operation that may have been cut off. A name is never taken away: an older Sealift may have begun it. */
const KINDS: ReadonlyMap<string, OperationKind<DeployContext>> = new Map(
  [operatorChange, trustChange, ...Object.values(DEPLOY_KINDS), uninstallKind, pruneKind].map((kind) => [
    kind.name,
    kind,
  ]),
);

export const recover: Command = {
  name: "recover",
  summary: "end an operation that was cut off: back before its commit, forward after it",
  usage: "[--state DIR]",
  details: ["needs no authorization: it only ends what was authorized. Run it again if it was cut off itself."],
  options: STATE_OPTION,
  run: async (invocation) => {
    positionals(invocation, "recover");
    const { terminal } = invocation;
    const directory = stateDirectory(invocation);
    openState(directory);
    const lock = acquireLock(statePaths(directory).lock, "recover");
    try {
      const site = openSite(directory);
      tidyStore(site.disk, directory);
      const shown: string[] = [];
      const report = stepReport(terminal);
      const { operation, result, tornBytes } = await withLazyEngine(site, (engine) => {
        const showOnce = (text: string): void => void shown.push(text);
        return recoverOperation(site, KINDS, {
          ...site,
          engine,
          source: undefined,
          report,
          signal: undefined,
          showOnce,
        });
      }).finally(() => report.close());
      if (tornBytes > 0) terminal.note(`note: the journal's last record was torn (${tornBytes} bytes)`);
      if (operation === undefined) terminal.result("nothing to recover");
      else
        terminal.result(
          `${operation}: ${result === "committed" ? "completed" : "taken back, the old state is in place"}`,
        );
      terminal.document({
        operation: operation ?? null,
        result: result ?? null,
        tornBytes,
        abandoned: lock.abandoned ?? null,
        credentials: shown,
      });
      await showCredentials(terminal, shown);
      return 0;
    } finally {
      lock.release();
    }
  },
};
