/** A verb that changes a site, while it runs: where it is, and what is done to it there. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endOf, type ProcessResult, startSealift } from "./command-line.ts";
import type { RunningSite } from "./running-site.ts";

const PRELOAD = new URL("./kill-preload.ts", import.meta.url).href;
const POLL_MS = 10;

export class RunningOperation {
  readonly ended: Promise<ProcessResult>;
  readonly #child: ReturnType<typeof startSealift>;
  readonly #journal: string;
  #hasEnded = false;

  /** With the operator's signature. It pauses when `pauseStep` begins, until `resume`. */
  constructor(site: RunningSite, args: readonly string[], pauseStep?: string) {
    this.#journal = join(site.site.state, "journal/open");
    const environment = pauseStep === undefined ? {} : { SEALIFT_TEST_PAUSE_STEP: pauseStep };
    const all = site.signed(...args);
    this.#child = startSealift(all, environment, ["--import", PRELOAD]);
    this.ended = endOf(this.#child, all).finally(() => {
      this.#hasEnded = true;
    });
    // Whoever waits for a step hears of it there.
    this.ended.catch(() => undefined);
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
