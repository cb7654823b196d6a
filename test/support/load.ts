/**
 * The load generator (load-generator.ts) as a process of its own, so that it keeps time while the test works.
 * Run by itself it takes its options as JSON in its first argument, says "ready", and at the end of its stdin
 * prints its report as one line of JSON.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LoadGenerator, type LoadOptions, type LoadReport } from "./load-generator.ts";

export interface RunningLoad {
  /** Waits for the answers under way. @throws if the generator died */
  stop(): Promise<LoadReport>;
}

export async function startLoad(options: LoadOptions): Promise<RunningLoad> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(options)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await Promise.race([once(child.stdout, "data"), closed]);
  return {
    stop: async () => {
      child.stdin.end();
      await closed;
      const line = output.trim().split("\n").at(-1) ?? "";
      if (!line.startsWith("{")) throw new Error(`the load generator ended without a report: ${output}`);
      return JSON.parse(line) as LoadReport;
    },
  };
}

/** All failures of a report, of every kind. */
export function failedRequests(report: LoadReport): number {
  const kinds = Object.values(report.kinds);
  return kinds.flatMap(({ failed }) => Object.values(failed)).reduce((sum, count) => sum + count, 0);
}

if (import.meta.main) {
  const generator = new LoadGenerator(JSON.parse(process.argv[2] ?? "") as LoadOptions);
  generator.start();
  process.stdout.write("ready\n");
  // The test that started it may be killed: then its end of the pipe closes too.
  process.stdin.resume().once("end", async () => {
    process.stdout.write(`${JSON.stringify(await generator.stop())}\n`);
    process.exit();
  });
}
