/** An operation's steps as a list that moves in place on a terminal. */
import { stripVTControlCharacters, styleText } from "node:util";
import { Listr, ListrLogger, PRESET_TIMER, ProcessOutput } from "listr2";
import { plain } from "../../bundles/model/plain-text.ts";
import type { OperationReport } from "./step-report.ts";
import type { Terminal } from "./terminal.ts";

type Direction = "forward" | "back";

/** Indentation, the mark before a line, and room for the cursor. */
const MARGIN = 6;

/**
 * listr2 runs tasks, and here something else runs the steps: each line is a task that waits for word of its
 * step. Steps that were announced form one list; one that was not is a list of its own, behind it.
 */
export class LiveSteps implements OperationReport {
  readonly #terminal: Terminal;
  /** Those that were announced, as long as that list is on the screen. */
  #planned: ReadonlyMap<string, Line> = new Map();
  #current: Line | undefined;
  readonly remarks: string[] = [];
  #isGoingBack = false;
  /** Lists are shown one after the other. */
  #shown: Promise<void> = Promise.resolve();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  plan(steps: readonly Readonly<Record<"name" | "intent", string>>[]): void {
    this.#planned = new Map(steps.map(({ name, intent }) => [name, new Line(plain(intent))]));
    this.#show([...this.#planned.values()], "forward");
  }

  begin(name: string, intent: string, direction: Direction): void {
    const planned = direction === "forward" ? this.#planned.get(name) : undefined;
    this.#current = planned ?? new Line(plain(intent));
    if (planned) return;
    this.#dropPlan();
    if (direction === "back" && !this.#isGoingBack) {
      this.#isGoingBack = true;
      this.#then(async () => this.#terminal.note("Going back to the old state:"));
    }
    this.#show([this.#current], direction);
  }

  detail(text: string): void {
    this.#current?.detail(cut(plain(stripVTControlCharacters(text))));
  }

  remark(text: string): void {
    if (!this.remarks.includes(text)) this.remarks.push(text);
  }

  end(_name: string, outcome: "done" | "failed" | "undone", reason?: string): void {
    const line = this.#current;
    this.#current = undefined;
    if (!line) return;
    if (outcome !== "failed") {
      line.rename(outcome === "undone" ? line.intent.replace(/^take back/, "taken back") : line.intent);
      line.done();
      return;
    }
    line.failed(reason === undefined ? line.intent : `${line.intent}: ${plain(reason)}`);
    this.#dropPlan();
  }

  stopping(signal: string): void {
    const line = this.#current;
    if (line) line.rename(`${line.intent} (${signal}: stopping)`);
    else this.#then(async () => this.#terminal.note(`${signal}: stopping`));
  }

  async close(): Promise<void> {
    this.#current?.failed(`${this.#current.intent}: no word of its end`);
    this.#dropPlan();
    await this.#shown;
  }

  /** What was announced and not begun will not happen: it goes from the screen, and its list can end. */
  #dropPlan(): void {
    for (const line of this.#planned.values()) line.drop();
    this.#planned = new Map();
  }

  #show(lines: readonly Line[], direction: Direction): void {
    this.#then(async () => {
      const shown = lines.filter(({ isDropped }) => !isDropped);
      const list = new Listr(
        shown.map((line) => ({ title: line.intent, task: () => line.ended })),
        {
          renderer: "default",
          fallbackRendererCondition: false,
          // Ours stop the operation in order; that of listr2 ends the process.
          registerSignalListeners: false,
          rendererOptions: { ...STYLES[direction], timer: PRESET_TIMER, logger: stderrLogger() },
        },
      );
      for (const [i, line] of shown.entries()) line.showAs(list.tasks[i] as Shown);
      // A step's failure reaches the verb by itself.
      await list.run().catch(() => {});
    });
  }

  #then(work: () => Promise<void>): void {
    this.#shown = this.#shown.then(work);
  }
}

/** It takes the stream's `write` as it finds it, so it must not be made while another list is shown. */
function stderrLogger(): ListrLogger {
  const processOutput = new ProcessOutput(process.stderr, process.stderr, { leaveEmptyLine: false });
  return new ListrLogger({ useIcons: true, toStderr: [], processOutput });
}

/** What is taken back is no success of what was asked for, so it gets no green mark. */
const STYLES = {
  forward: { icon: { WAITING: "·" } },
  back: { icon: { COMPLETED: "←" }, color: { COMPLETED: (text?: string) => styleText("yellow", text ?? "") } },
};

/** What a task of listr2 lets us do. */
interface Shown {
  title$: string;
  output$: string;
}

/** A step on the screen, or about to be. */
class Line {
  readonly intent: string;
  readonly #end = Promise.withResolvers<void>();
  #title: string;
  #task: Shown | undefined;
  #isEnded = false;
  #isDropped = false;

  constructor(intent: string) {
    this.intent = intent;
    this.#title = intent;
    // Nobody may be listening yet.
    this.#end.promise.catch(() => {});
  }

  get isDropped(): boolean {
    return this.#isDropped;
  }

  get ended(): Promise<void> {
    return this.#end.promise;
  }

  showAs(task: Shown): void {
    this.#task = task;
    task.title$ = this.#title;
  }

  rename(title: string): void {
    this.#title = title;
    if (this.#task) this.#task.title$ = title;
  }

  detail(text: string): void {
    if (this.#task) this.#task.output$ = text;
  }

  done(): void {
    this.#isEnded = true;
    this.#end.resolve();
  }

  failed(text: string): void {
    this.#isEnded = true;
    this.#end.reject(new Error(styleText("red", text)));
  }

  /** Without an end of its own it goes from the screen: listr2 shows nothing for an empty title. */
  drop(): void {
    if (this.#isEnded) return;
    this.#isDropped = true;
    this.rename("");
    this.done();
  }
}

/** A detail changes many times in a second; wrapped lines would make the screen jump. */
function cut(text: string): string {
  const width = Math.max(20, (process.stderr.columns || 80) - MARGIN);
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
