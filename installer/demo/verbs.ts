/** Runs the verbs as a person would: processes of their own, in the demo's directory. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { demoError } from "./error.ts";
import type { Story } from "./story.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const SAID_MAX_LENGTH = 4000;
const OUTPUT_MAX_LENGTH = 32 * 1024 * 1024;

export interface Ended {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A signal came: what was begun is taken back, and nothing new begins. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`ended by ${signal}`);
    this.name = "Interrupted";
    this.signal = signal;
  }
}

export class Verbs {
  readonly #directory: string;
  readonly #story: Story;
  #running: ChildProcess | undefined;
  #signal: NodeJS.Signals | undefined;

  constructor(directory: string, story: Story) {
    this.#directory = directory;
    this.#story = story;
  }

  /** The running process gets it and ends in order; then `Interrupted` is thrown. */
  interrupt(signal: NodeJS.Signals): void {
    this.#signal ??= signal;
    this.#running?.kill(signal);
  }

  /** @throws Interrupted */
  throwIfInterrupted(): void {
    if (this.#signal !== undefined) throw new Interrupted(this.#signal);
  }

  /**
   * Prints `sealift ARGS`, runs it with --json, and returns its document. An exit code that is not in `exits`
   * is a failure. @throws DEMO_STEP_FAILED | Interrupted
   */
  async sealift(args: readonly string[], exits: readonly number[] = [0]): Promise<unknown> {
    const ended = await this.attempt(args);
    if (exits.includes(ended.exit ?? -1)) return parse(args, ended.stdout);
    throw failed(`sealift ${verbOf(args)}`, ended);
  }

  /** The same, for the caller to judge. @throws Interrupted */
  attempt(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
    const shown = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    this.#story.command([...shown, "sealift", ...args]);
    return this.#run(process.execPath, [...process.execArgv, MAIN, ...args, "--json"], environment);
  }

  /** Prints and runs a program of the host. @throws DEMO_STEP_FAILED | Interrupted */
  async program(file: string, args: readonly string[]): Promise<string> {
    this.#story.command([file, ...args]);
    const ended = await this.#run(file, args, {});
    if (ended.exit === 0) return ended.stdout;
    throw failed(file, ended);
  }

  async #run(file: string, args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Ended> {
    this.throwIfInterrupted();
    const working = this.#story.working();
    // In a session of its own, so that Ctrl-C reaches it from here, once. If the demo itself is killed, the
    // kernel tells the verb to end, and that takes back what it began.
    const child = spawn("setpriv", ["--pdeathsig", "INT", "--", file, ...args], {
      cwd: this.#directory,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", COSIGN_PASSWORD: PASSWORD, ...environment },
    });
    this.#running = child;
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        output[name] = `${output[name]}${text}`.slice(-OUTPUT_MAX_LENGTH);
        const line = text.trim().split("\n").at(-1) ?? "";
        if (name === "stderr" && line !== "") working.update(line);
      });
    }
    try {
      const exit = await new Promise<number | null>((resolve, reject) => {
        child.once("close", resolve).once("error", reject);
      });
      this.throwIfInterrupted();
      return { exit, ...output };
    } catch (cause) {
      if (cause instanceof Interrupted) throw cause;
      throw demoError("DEMO_STEP_FAILED", `${file}: ${reasonOf(cause)}`, { cause });
    } finally {
      this.#running = undefined;
      working.end();
    }
  }
}

/** Of every key file of a demo: they protect nothing. */
export const PASSWORD = "DEMO";

function verbOf(args: readonly string[]): string {
  return args.slice(0, args[1]?.startsWith("-") ? 1 : 2).join(" ");
}

export function failed(what: string, { exit, stdout, stderr }: Ended): Error {
  const said = (stderr.trim() || stdout.trim()).slice(-SAID_MAX_LENGTH);
  const code = /error \[([A-Z0-9_]+)\]/.exec(said)?.[1];
  process.stderr.write(
    `${said
      .split("\n")
      .map((line) => `    | ${plain(line)}`)
      .join("\n")}\n`,
  );
  return demoError("DEMO_STEP_FAILED", `${what}: exit ${exit}${code === undefined ? "" : `, ${code}`}`, {
    hints: ["what it said stands above"],
  });
}

function parse(args: readonly string[], stdout: string): unknown {
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw demoError("DEMO_STEP_FAILED", `sealift ${verbOf(args)}: its output is no JSON document`, { cause });
  }
}
