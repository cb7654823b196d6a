import type { StepReport } from "../lifecycle/deploy-context.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs `work` to its end: a signal is answered with `why`, and stops nothing. */
export async function unstopped<Value>(
  report: Pick<StepReport, "detail">,
  why: string,
  work: () => Promise<Value>,
): Promise<Value> {
  const onSignal = (): void => report.detail(why);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    return await work();
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}
