/** A verb that changes a site, while it runs: where it is, and what is done to it there. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { CommandResult } from "./command-line.ts";
import type { RunningSite } from "./running-site.ts";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
const PRELOAD = new URL("./kill-preload.ts", import.meta.url).href;
const POLL_MS = 10;

export class RunningOperation {
  readonly ended: Promise<CommandResult & { readonly signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  readonly #journal: string;
  #hasEnded = false;

  /** With the operator's signature. It pauses when `pauseStep` begins, until `resume`. */
  constructor(site: RunningSite, args: readonly string[], pauseStep?: string) {
    this.#journal = join(site.site.state, "journal/open");
    const child = spawn(process.execPath, ["--import", PRELOAD, MAIN, ...site.signed(...args)], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...(pauseStep !== undefined && { SEALIFT_TEST_PAUSE_STEP: pauseStep }) },
    });
    this.#child = child;
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        output[name] += text;
      });
    }
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject).once("close", (exit, signal) => {
        this.#hasEnded = true;
        resolve({ exit, signal, ...output });
      });
    });
  }

  /** Waits until `step` has begun, and `delayMs` more. @throws AssertionError if it ends before */
  async reached(step: string, delayMs = 0): Promise<void> {
    const wanted = `"step":${JSON.stringify(step)},`;
    await this.#until(() => existsSync(this.#journal) && readFileSync(this.#journal, "utf8").includes(wanted), step);
    await sleep(delayMs);
  }

  /** Waits until it has paused. @throws AssertionError if it ends before */
  async paused(): Promise<void> {
    const stat = `/proc/${this.#child.pid}/stat`;
    await this.#until(() => existsSync(stat) && readFileSync(stat, "utf8").includes(") T "), "its pause");
  }

  resume(): void {
    this.signal("SIGCONT");
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    while (!condition()) {
      if (this.#hasEnded) {
        const { stdout, stderr } = await this.ended;
        assert.fail(`it ended before ${what}\n${stdout}${stderr}`);
      }
      await sleep(POLL_MS);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}
