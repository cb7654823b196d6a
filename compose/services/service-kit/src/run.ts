/** The life of a service's process: start, wait for a signal to stop, stop, end with a code. */
import { errorCode, type Log } from "./log.ts";
import { SettingsError } from "./settings.ts";

/** sysexits.h: the settings are wrong, and trying again will not help. */
const EX_CONFIG = 78;

export interface RunningService {
  /** Resolves to whether everything under way ended by itself. */
  stop(): Promise<boolean>;
}

/**
 * Runs until SIGTERM or SIGINT. Exit code 0 if every request ended, 1 if some were cut off or the service
 * could not start, 78 if its settings are wrong. A second signal ends at once.
 */
export async function runService(log: Log, start: () => Promise<RunningService>): Promise<void> {
  // A log that nobody reads any more is no reason to drop requests.
  process.stdout.on("error", () => {});
  // Before the start: whoever sees the service listen may ask it to stop at once.
  const stopping = new Promise<NodeJS.Signals>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  try {
    const service = await start();
    const signal = await stopping;
    log("info", "stopping", { signal });
    process.once("SIGTERM", () => process.exit(1));
    process.once("SIGINT", () => process.exit(1));
    process.exitCode = (await service.stop()) ? 0 : 1;
  } catch (cause) {
    const settings = cause instanceof SettingsError;
    log("error", "start-failed", { code: errorCode(cause), ...(settings && { problems: cause.message }) });
    process.exitCode = settings ? EX_CONFIG : 1;
  }
}
