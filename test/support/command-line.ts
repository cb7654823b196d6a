/** Runs `sealift` as a user does: a process of its own, arguments in, exit code and output back. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));

export interface CommandResult {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `environment` is added to this process's own. */
export async function sealift(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  }
  const exit = await new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  return { exit, ...output };
}
