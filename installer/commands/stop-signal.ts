/** Work that a signal ends early, cleaning up after itself. */
import type { Terminal } from "../ui/terminal.ts";

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** Gives `work` a signal that aborts when a person stops the verb. Returns its exit code, or 128+n if it ended for that. */
export async function withStopSignal(
  terminal: Pick<Terminal, "note">,
  outcome: string,
  work: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  let caught: keyof typeof SIGNALS | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    caught ??= signal as keyof typeof SIGNALS;
    stop.abort();
  };
  for (const signal of Object.keys(SIGNALS)) process.on(signal, onSignal);
  try {
    return await work(stop.signal);
  } catch (cause) {
    const { name, code } = cause as { readonly name?: unknown; readonly code?: unknown };
    if (caught === undefined || (name !== "AbortError" && code !== "OPERATION_FAILED")) throw cause;
    terminal.note(`stopped; ${outcome}`);
    return 128 + SIGNALS[caught];
  } finally {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, onSignal);
  }
}
