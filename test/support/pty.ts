/** `sealift` at a terminal, as a person has it: through a pseudo-terminal that script(1) of util-linux makes. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));

export const KEYS = {
  enter: "\r",
  down: "\x1b[B",
  tab: "\t",
  interrupt: "\x03",
  endOfFile: "\x04",
  eraseLine: "\x15",
} as const;

/** For the `skip` option of a test. */
export function skipWithoutPty(): string | false {
  const { status } = spawnSync("script", ["--version"], { stdio: "ignore" });
  return status === 0 ? false : "script(1) of util-linux is missing: there is no terminal to test at";
}

export interface PtyOptions {
  readonly columns?: number;
  readonly directory?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

/** A person at a terminal: reads what appears and presses keys. */
export class Pty {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<number | null>;
  #raw = "";
  /** What was read already. */
  #seen = 0;

  constructor(args: readonly string[], { columns = 80, directory, environment }: PtyOptions = {}) {
    const words = [process.execPath, MAIN, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const command = `stty cols ${columns} rows 50; exec ${words.join(" ")}`;
    this.#child = spawn("script", ["--quiet", "--flush", "--return", "--command", command, "/dev/null"], {
      // A person's terminal is no CI's: with CI set, Node shows no colours.
      env: { ...process.env, CI: undefined, TERM: "xterm", SSH_AUTH_SOCK: "", ...environment },
      ...(directory !== undefined && { cwd: directory }),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#raw += text;
      });
    }
    // It may have ended when the next key comes.
    this.#child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve) => this.#child.once("close", resolve));
  }

  /** The numbers of every colour and weight that was switched on. */
  get colours(): string[] {
    return this.#raw.split("\x1b[").flatMap((part) => /^((?:[1-8]|[349][0-7]))m/.exec(part)?.[1] ?? []);
  }

  /** All that appeared, as text; what was written over is in it too. */
  get text(): string {
    return stripVTControlCharacters(this.#raw);
  }

  /** Waits until `pattern` appears behind what was waited for before. */
  async sees(pattern: RegExp, seconds = 60): Promise<void> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const { text } = this;
      const found = new RegExp(pattern, pattern.flags.replace("g", "")).exec(text.slice(this.#seen));
      if (found) {
        this.#seen += found.index + found[0].length;
        return;
      }
      if (Date.now() > deadline || this.#child.exitCode !== null) {
        // Left running, it would hold the site's lock against the next test.
        this.#child.kill("SIGKILL");
        throw new Error(
          `${pattern} does not appear in\n${text.slice(this.#seen)}\nafter\n${text.slice(0, this.#seen)}`,
        );
      }
      await sleep(50);
    }
  }

  async press(...keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      // A person is slower than a prompt that draws itself; without a pause keys before it are thrown away.
      await sleep(300);
      this.#child.stdin.write(key);
    }
  }

  /** The exit code of the verb. */
  async ends(seconds = 90): Promise<number | null> {
    const late = sleep(seconds * 1000, undefined, { ref: false }).then(() => {
      throw new Error(`no end after ${seconds} s\n${this.text}`);
    });
    return Promise.race([this.#ended, late]);
  }

  /** The terminal is gone, as when the network drops. The verb gets SIGHUP and nobody to talk to. */
  async vanish(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}
