/** What lies in clear while a verb works goes also when a signal ends it. */

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/**
 * Runs `work`; a signal meanwhile sweeps, and ends this process with 128+n. `handOver`, which `work` calls when it
 * begins what must be taken back in order, ends that: from then on somebody else must heed signals.
 */
export async function withSwept<Value>(
  sweep: () => void,
  work: (handOver: () => void) => Promise<Value>,
): Promise<Value> {
  const onSignal = (signal: NodeJS.Signals): void => {
    try {
      sweep();
    } finally {
      process.exit(128 + SIGNALS[signal as keyof typeof SIGNALS]);
    }
  };
  const handOver = (): void => {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, onSignal);
  };
  for (const signal of Object.keys(SIGNALS)) process.on(signal, onSignal);
  try {
    return await work(handOver);
  } finally {
    handOver();
  }
}
