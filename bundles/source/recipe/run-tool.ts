/** Runs one of the host's own tools (dpkg-deb, gpgv, xz, apt-get, npm) with a bounded output. */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { reasonOf } from "../../model/sealift-error.ts";
import { recipeError } from "./error.ts";

export interface ToolResult {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly cwd?: string;
  /** Where stdout goes instead of memory. */
  readonly toFile?: string;
  /** More output than this is an error. */
  readonly maxBytes: number;
  /** Debian package that has the tool, for the hint. */
  readonly from: string;
}

const STDERR_MAX = 16 * 1024;

/**
 * @throws SOURCE_TOOL_MISSING if it cannot be started; RECIPE_BUILD_FAILED if its output is too long or
 * cannot be written. A non-zero status is the caller's to judge.
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions): Promise<ToolResult> {
  // The tool's words must not depend on who calls: apt and dpkg translate even what scripts read.
  const env = { ...process.env, LC_ALL: "C", LANGUAGE: "C" };
  const child = spawn(tool, args, { stdio: ["ignore", "pipe", "pipe"], env, ...(options.cwd && { cwd: options.cwd }) });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  // Observed below; this only keeps an early failure from being unhandled meanwhile.
  ended.catch(() => {});
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (stderr.length < STDERR_MAX) stderr += text;
  });
  const chunks: Buffer[] = [];
  try {
    let size = 0;
    const bounded = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        size += chunk.length;
        if (size > options.maxBytes) done(new Error(`more than ${options.maxBytes} bytes of output`));
        else done(null, chunk);
      },
    });
    if (options.toFile !== undefined) {
      await pipeline(child.stdout, bounded, createWriteStream(options.toFile));
    } else {
      await pipeline(child.stdout, bounded, async (source: AsyncIterable<Buffer>) => {
        for await (const chunk of source) chunks.push(chunk);
      });
    }
    return { status: await ended, stdout: Buffer.concat(chunks), stderr };
  } catch (cause) {
    child.kill("SIGKILL");
    const missing = await ended.then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === "ENOENT" || error.code === "EACCES",
    );
    if (missing) {
      throw recipeError("SOURCE_TOOL_MISSING", `${tool} is not on this machine`, {
        cause,
        hints: [`apt-get install ${options.from}`],
      });
    }
    throw recipeError("RECIPE_BUILD_FAILED", `${tool}: ${reasonOf(cause)}`, { cause });
  }
}
