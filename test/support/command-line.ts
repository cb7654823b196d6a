/** Runs `sealift` as a user does: a process of its own, arguments in, exit code and output back. */
import { type ChildProcessByStdio, spawn, spawnSync } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
/** The longest verb takes a minute or two on a busy machine. */
const VERB_MAX_MS = 600_000;

export interface CommandResult {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessResult extends CommandResult {
  readonly signal: NodeJS.Signals | null;
}

/** `environment` is added to this process's own. */
export async function sealift(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  const { exit, stdout, stderr } = await endOf(startSealift(args, environment), args);
  if (args.includes("--json")) assertOneDocument(args, stdout);
  return { exit, stdout, stderr };
}

/** Whatever a test looks at in the document, nothing else may stand beside it. */
function assertOneDocument(args: readonly string[], stdout: string): void {
  try {
    JSON.parse(stdout);
  } catch (cause) {
    throw new Error(`${args.join(" ")}: stdout is not one JSON document:\n${stdout.slice(0, 4_000)}`, { cause });
  }
}

/** `before` are options of Node's own. */
export function startSealift(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  before: readonly string[] = [],
): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(process.execPath, [...before, MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
}

/**
 * What it said, when it has ended and nobody holds its output open any more. A verb that stands still fails its
 * test with what it said until then and what every process was waiting for, instead of standing still with it.
 */
export async function endOf(
  child: ChildProcessByStdio<null, Readable, Readable>,
  args: readonly string[],
  maxMs: number = VERB_MAX_MS,
): Promise<ProcessResult> {
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  }
  const { promise, resolve, reject } = Promise.withResolvers<ProcessResult>();
  const timer = setTimeout(() => {
    const how = child.exitCode === null && child.signalCode === null ? "has not ended" : "has left its output open";
    const said = `${output.stdout}${output.stderr}`.slice(-4_000);
    const processes = spawnSync("ps", ["-e", "-o", "pid,ppid,stat,wchan:24,args"], { encoding: "utf8" }).stdout ?? "";
    reject(new Error(`${args.join(" ")}: ${how} after ${maxMs / 1000} s\n${said}\n${processes.slice(-16_000)}`));
    child.kill("SIGKILL");
    child.stdout.destroy();
    child.stderr.destroy();
  }, maxMs);
  child.once("error", reject).once("close", (exit, signal) => resolve({ exit, signal, ...output }));
  return promise.finally(() => clearTimeout(timer));
}
