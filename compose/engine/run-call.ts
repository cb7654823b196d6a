/** Runs a command that is data, with exactly the environment it names, a time limit and bounded output. */
import { spawn } from "node:child_process";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { ToolCall } from "./engine.ts";
import { engineError } from "./error.ts";

export interface CallResult {
  readonly status: number;
  readonly stdout: string;
  /** The last part, if there was more than `maxBytes`. */
  readonly stderr: string;
}

export interface CallOptions {
  readonly timeoutMs: number;
  /** More stdout than this is an error. 4 MiB if absent. */
  readonly maxBytes?: number;
  /** Told each line that goes to stderr, for progress. */
  readonly onLine?: (line: string) => void;
  /** When it aborts, the process group is killed and the call fails. */
  readonly signal?: AbortSignal | undefined;
  /** Open files that take the place of an empty stdin and a collected stdout. */
  readonly stdinFd?: number;
  readonly stdoutFd?: number;
}

/** For what a killed command wrote before its end. */
const LAST_WORDS_MS = 1_000;

/**
 * A non-zero status is the caller's to judge.
 * @throws ENGINE_CALL_FAILED if it cannot be started, talks too much, is killed or takes too long. When it
 * takes too long its whole process group is killed.
 */
export async function runCall(call: ToolCall, options: CallOptions): Promise<CallResult> {
  const { maxBytes = 4 * 1024 * 1024 } = options;
  const what = `${call.file} ${call.args.slice(0, 12).join(" ")}`;
  const fail = (problem: string, cause?: unknown): Error =>
    engineError("ENGINE_CALL_FAILED", `${what}: ${problem}`, { cause });
  // Its own process group, so that its helpers die with it.
  const child = spawn(call.file, call.args, {
    env: { ...call.env },
    cwd: "/",
    stdio: [options.stdinFd ?? "ignore", options.stdoutFd ?? "pipe", "pipe"],
    detached: true,
  });
  const kill = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended by itself meanwhile.
    }
    // A helper that has left the group may hold the output open for ever.
    setTimeout(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, LAST_WORDS_MS).unref();
  };
  let stdout = "";
  let stderr = "";
  let pending = "";
  let problem: string | undefined;
  const timer = setTimeout(() => {
    problem = `no end after ${options.timeoutMs} ms`;
    kill();
  }, options.timeoutMs);
  const onAbort = (): void => {
    problem = "stopped";
    kill();
  };
  options.signal?.addEventListener("abort", onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk;
    if (stdout.length <= maxBytes) return;
    problem = `more than ${maxBytes} characters of output`;
    stdout = "";
    kill();
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    stderr = (stderr + chunk).slice(-maxBytes);
    const lines = (pending + chunk).split(/\r?\n/);
    pending = (lines.pop() ?? "").slice(-maxBytes);
    for (const line of lines) if (line !== "") options.onLine?.(line);
  });
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once("error", (cause) => reject(fail(reasonOf(cause), cause)));
      child.once("close", (code, signal) => {
        if (problem !== undefined) reject(fail(problem));
        else if (code === null) reject(fail(`ended by ${signal}`));
        else resolve(code);
      });
    });
    return { status, stdout, stderr };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}
