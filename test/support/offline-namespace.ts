/** A network namespace with nothing but its own loopback interface, in which a test runs programs. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { peer } from "./peers.ts";

const DEADLINE_MS = 60_000;

export interface Ran {
  /** Undefined if a signal or the deadline ended it. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a program to its end, 60 s at most. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"], timeout: DEADLINE_MS });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? undefined, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

export interface OfflineNamespace {
  run(program: string, args: readonly string[], options?: RunOptions): Promise<Ran>;
  /** Starts a program that stays; it is stopped with the namespace. */
  start(program: string, args: readonly string[], options?: RunOptions): ChildProcessWithoutNullStreams;
  close(): Promise<void>;
}

const isRoot = process.getuid?.() === 0;

/** For the `skip` option of a test: false if this machine lets the user make a network namespace. */
export function skipWithoutNamespace(): string | false {
  if (peer("ip") === undefined) return "ip (iproute2) is not here; sh test/support/peers.sh brings it";
  const works = spawnSync("unshare", [...(isRoot ? [] : ["-r"]), "-n", "true"]);
  return works.status === 0 ? false : "this machine gives the user no network namespace (unshare -n)";
}

/** Made anew and empty; `close` stops what `start` started and gives the namespace up. */
export async function offlineNamespace(): Promise<OfflineNamespace> {
  // It lives as long as `cat`, which ends with our end of the pipe, however this process ends.
  const keeper = spawn("unshare", [
    ...(isRoot ? [] : ["-r"]),
    ...["-n", "sh", "-c", `"${peer("ip")}" link set lo up && echo up && exec cat`],
  ]);
  const [first] = (await Promise.race([once(keeper.stdout, "data"), once(keeper, "close")])) as [Buffer | number];
  if (!Buffer.isBuffer(first)) throw new Error("no network namespace");
  const enter = ["-t", String(keeper.pid), ...(isRoot ? [] : ["-U", "--preserve-credentials"]), "-n", "--"];
  const started: ChildProcessWithoutNullStreams[] = [];
  return {
    run: (program, args, options) => run("nsenter", [...enter, program, ...args], options),
    start: (program, args, options = {}) => {
      const child = spawn("nsenter", [...enter, program, ...args], options);
      started.push(child);
      return child;
    },
    close: async () => {
      for (const child of started) await stop(child);
      keeper.stdin.end();
      await ended(keeper);
    },
  };
}

/** Ends a program with SIGTERM, after 10 s with SIGKILL. */
export async function stop(child: ChildProcessWithoutNullStreams): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await ended(child);
  clearTimeout(timer);
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
