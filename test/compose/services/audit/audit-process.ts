/** The audit service as a process of its own, which can be killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const MAIN = join(import.meta.dirname, "../../../../compose/services/audit/src/main.ts");

export interface AuditProcess {
  readonly pid: number;
  /** For health; undefined until it listens. */
  readonly adminPort: number | undefined;
  /** Of the listener for appends; undefined until it has the log. */
  readonly port: number | undefined;
  readonly hasEnded: boolean;
  /** What it logged, one JSON object each. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  /** Resolves when it has ended, to its exit code. */
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

/**
 * What is started with `all` is killed by `killAll`, whatever became of the test. `wrapper` is a command
 * that ends by becoming the one behind it.
 */
export function startAuditProcess(
  environment: Readonly<Record<string, string>>,
  all: Set<ChildProcess>,
  wrapper: readonly string[] = [],
): AuditProcess {
  const [program = "", ...args] = [...wrapper, process.execPath, MAIN];
  const child = spawn(program, args, { env: { ...environment }, stdio: ["ignore", "pipe", "inherit"] });
  all.add(child);
  const logged: Record<string, unknown>[] = [];
  const ended = once(child, "close").then(([code]) => {
    all.delete(child);
    return code as number | null;
  });
  createInterface({ input: child.stdout }).on("line", (line) => logged.push(JSON.parse(line)));
  const listening = (withTls: boolean): number | undefined =>
    logged.find(({ event, tls }) => event === "listening" && tls === withTls)?.["port"] as number | undefined;
  return {
    pid: child.pid ?? 0,
    get adminPort() {
      return listening(false);
    },
    get port() {
      return logged.some(({ event }) => event === "log-opened") ? listening(true) : undefined;
    },
    get hasEnded() {
      return !all.has(child);
    },
    logged,
    kill(signal) {
      child.kill(signal);
      return ended;
    },
  };
}

export function killAll(all: ReadonlySet<ChildProcess>): void {
  for (const child of all) child.kill("SIGKILL");
}
