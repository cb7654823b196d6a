/**
 * The steps of an operation for the person who waits. On a terminal: all of them from the start, a spinner at
 * the one that goes on, what it does just now, and the time that it took. Elsewhere a line for each.
 */
import { plain } from "../../bundles/model/plain-text.ts";
import type { StepReport } from "../lifecycle/deploy-context.ts";
import { LiveSteps } from "./live-steps.ts";
import type { Progress, Terminal } from "./terminal.ts";

type PlannedStep = Readonly<Record<"name" | "intent", string>>;

/** What a verb has to do with a report besides handing it to the steps. */
export interface OperationReport extends StepReport {
  /** The steps to come, in order. Without it each is shown when it begins. */
  plan(steps: readonly PlannedStep[]): void;
  /** The operator has asked to stop, by `signal`. */
  stopping(signal: string): void;
  /** What the steps remarked, in order, each once. */
  readonly remarks: readonly string[];
  /** Leaves the last state on the screen. To be called however the operation ended, before anything else is shown. */
  close(): Promise<void>;
}

export function stepReport(terminal: Terminal): OperationReport {
  return terminal.live ? new LiveSteps(terminal) : plainReport(terminal);
}

const STOPPING = "stopping; the old state comes back, which takes a moment";

function plainReport(terminal: Terminal): OperationReport {
  let progress: Progress | undefined;
  const remarks: string[] = [];
  return {
    remarks,
    remark: (text) => {
      if (!remarks.includes(text)) remarks.push(text);
    },
    plan: () => {},
    begin: (_name, intent) => {
      progress = terminal.progress(plain(intent));
    },
    detail: (text) => progress?.update(text),
    end: (_name, outcome, reason) => {
      progress?.done(reason === undefined ? outcome : `${outcome}: ${reason}`);
      progress = undefined;
    },
    stopping: (signal) => terminal.note(`${signal}: ${STOPPING}`),
    close: async () => {},
  };
}
