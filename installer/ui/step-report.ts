/** The steps of an operation for the person who waits: one line for each, with its time. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { StepReport } from "../lifecycle/deploy-context.ts";
import type { Progress, Terminal } from "./terminal.ts";

export function stepReport(terminal: Terminal): StepReport {
  let progress: Progress | undefined;
  return {
    begin: (_name, intent) => {
      progress = terminal.progress(plain(intent));
    },
    detail: (text) => progress?.update(text),
    end: (_name, outcome) => {
      progress?.done(outcome);
      progress = undefined;
    },
  };
}
