/** An operation's steps as a list that moves in place on a terminal. */
import { stripVTControlCharacters, styleText } from "node:util";
import { Listr, ListrLogger, PRESET_TIMER, ProcessOutput, type SimpleRenderer } from "listr2";
import { plain } from "../../bundles/model/plain-text.ts";
import type { OperationReport } from "./step-report.ts";
import type { Terminal } from "./terminal.ts";

/** A line of the list; it ends when `settle` is called. */
interface Line {
  readonly title: string;
  readonly ended: Promise<void>;
  settle(failure?: Error): void;
  /** Set when the list has come to it. */
  task?: { title: string | unknown[] | null; output: string };
}

type ListrOf = Listr<unknown, "default", typeof SimpleRenderer>;

/** Indentation, the mark before a line, and room for the cursor. */
const MARGIN = 6;

/**
 * listr2 runs tasks, and here something else runs the steps: each line is a task that waits for word of its
 * step. Steps that were announced form one list; one that was not is a list of its own, behind it. Its own
 * handling of Ctrl-C, which ends the process, stays off.
 */
export class LiveSteps implements OperationReport {
  readonly #terminal: Terminal;
  readonly #planned = new Map<string, Line>();
  #list: ListrOf | undefined;
  #current: Line | undefined;
  #isGoingBack = false;
  /** Lists are shown one after the other. */
  #shown: Promise<void> = Promise.resolve();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  plan(steps: readonly Readonly<Record<"name" | "intent", string>>[]): void {
    for (const { name, intent } of steps) this.#planned.set(name, newLine(plain(intent)));
    this.#list = this.#show([...this.#planned.values()], "forward");
  }

  begin(name: string, intent: string, direction: "forward" | "back" = "forward"): void {
    const planned = direction === "forward" ? this.#planned.get(name) : undefined;
    if (planned) {
      this.#current = planned;
      return;
    }
    this.#abandonPlan();
    if (direction === "back" && !this.#isGoingBack) {
      this.#isGoingBack = true;
      this.#then(async () => this.#terminal.note("Going back to the old state:"));
    }
    this.#current = newLine(plain(intent));
    this.#show([this.#current], direction);
  }

  detail(text: string): void {
    if (!this.#current?.task) return;
    this.#current.task.output = cut(plain(stripVTControlCharacters(text)));
  }

  end(name: string, outcome: "done" | "failed" | "undone", reason?: string): void {
    const line = this.#current;
    this.#current = undefined;
    if (!line) return;
    if (outcome === "undone" && line.task) line.task.title = line.title.replace(/^take back/, "taken back");
    if (outcome !== "failed") {
      line.settle();
      return;
    }
    if (this.#planned.get(name) === line) this.#hideWhatIsNotBegun(line);
    line.settle(new Error(styleText("red", reason === undefined ? line.title : `${line.title}: ${plain(reason)}`)));
  }

  stopping(signal: string): void {
    const { task, title } = this.#current ?? {};
    const text = `${signal}: stopping; the old state comes back`;
    if (task) task.title = `${title}  (${text})`;
    else this.#then(async () => this.#terminal.note(text));
  }

  async close(): Promise<void> {
    this.#current?.settle(new Error(this.#current.title));
    this.#abandonPlan();
    await this.#shown;
  }

  /** What was announced and not begun will not happen. */
  #abandonPlan(): void {
    const open = [...this.#planned.values()];
    this.#planned.clear();
    if (!this.#list?.tasks.some((task) => !task.hasFinalized())) return;
    this.#hideWhatIsNotBegun();
    for (const line of open) line.settle();
  }

  #hideWhatIsNotBegun(except?: Line): void {
    const titles = [...this.#planned.values()].filter((line) => line !== except).map(({ title }) => title);
    for (const task of this.#list?.tasks ?? []) {
      if (!task.hasFinalized() && titles.includes(task.title ?? "")) task.title$ = "";
    }
  }

  #show(lines: readonly Line[], direction: "forward" | "back"): ListrOf {
    const list: ListrOf = new Listr(
      lines.map((line) => ({
        title: line.title,
        task: (_context, task): Promise<void> => {
          line.task = task;
          return line.ended;
        },
      })),
      {
        renderer: "default",
        fallbackRendererCondition: false,
        registerSignalListeners: false,
        rendererOptions: {
          logger: new ListrLogger({
            useIcons: true,
            toStderr: [],
            processOutput: new ProcessOutput(process.stderr, process.stderr, { leaveEmptyLine: false }),
          }),
          timer: PRESET_TIMER,
          ...(direction === "back" ? BACK : FORWARD),
        },
      },
    );
    this.#then(async () => {
      await list.run().catch(() => {});
    });
    return list;
  }

  #then(work: () => Promise<void>): void {
    this.#shown = this.#shown.then(work);
  }
}

const FORWARD = { icon: { WAITING: "·" } };

/** What is taken back is no success of what was asked for, so it gets no green mark. */
const BACK = {
  icon: { COMPLETED: "←" },
  color: { COMPLETED: (text?: string): string => styleText("yellow", text ?? "") },
};

function newLine(title: string): Line {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Nobody may be listening yet.
  promise.catch(() => {});
  return { title, ended: promise, settle: (failure) => (failure ? reject(failure) : resolve()) };
}

/** A detail changes many times in a second; wrapped lines would make the screen jump. */
function cut(text: string): string {
  const width = Math.max(20, (process.stderr.columns || 80) - MARGIN);
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
