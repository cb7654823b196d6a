/** How far an operation came, by its journal: which way recover goes, and over which steps. */
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { lifecycleError } from "./error.ts";
import type { JournalContent } from "./journal.ts";
import type { Probe, Step } from "./step.ts";

export type OperationDirection = "forward" | "back";

export class Standing {
  /** What the journal says of each step: the last word. */
  readonly states = new Map<string, "intent" | "done" | "failed" | "undone">();
  readonly #operation: string;
  readonly #steps: readonly Step[];
  readonly #commit: number;
  readonly #isTorn: boolean;
  readonly #direction: OperationDirection | undefined;

  constructor(operation: string, steps: readonly Step[], before?: JournalContent) {
    this.#operation = operation;
    this.#steps = steps;
    this.#commit = steps.findIndex((step) => step.isCommit);
    for (const record of before?.records ?? []) {
      if (record.type === "intent") this.states.set(record.step, "intent");
      if (record.type === "outcome") this.states.set(record.step, record.outcome);
    }
    this.#isTorn = (before?.tornBytes ?? 0) > 0;
    this.#direction = before?.records.findLast((record) => record.type === "recover")?.direction;
  }

  /** The last step that may have begun. `isAllBegun`: the journal does not say how far it came. */
  last(isAllBegun: boolean): number {
    const began = this.#steps.findLastIndex((step) => this.states.has(step.name));
    const end = this.#steps.length - 1;
    // A torn record may have been an intent, and its step may have begun.
    return isAllBegun ? end : Math.min(began + (this.#isTorn ? 1 : 0), end);
  }

  /** @throws OPERATION_UNKNOWN if nobody can tell */
  async isCommitted(last: number): Promise<boolean> {
    if (this.#direction !== undefined) return this.#direction === "forward";
    const step = this.#steps[this.#commit] as Step;
    const state = this.states.get(step.name);
    if (state === "done") return true;
    if (state === "undone" || last < this.#commit) return false;
    const found = await probeOf(step);
    if (found === "unknown") {
      throw unknownOutcome(`${this.#operation}: cannot tell whether ${JSON.stringify(step.name)} happened`, undefined);
    }
    return found === "done";
  }

  /** From the commit on. */
  toDo(): Step[] {
    return this.#steps.slice(this.#commit).filter(({ name }) => this.states.get(name) !== "done");
  }

  /** From `last` down. */
  toUndo(last: number): Step[] {
    const begun = this.#steps.slice(0, last + 1);
    return begun.reverse().filter(({ name }) => this.states.get(name) !== "undone");
  }
}

/** A step that cannot look does not know. */
export async function probeOf(step: Step): Promise<Probe> {
  try {
    return await step.probe();
  } catch {
    return "unknown";
  }
}

export function unknownOutcome(message: string, cause: unknown): Error {
  return lifecycleError("OPERATION_UNKNOWN", message, {
    cause,
    hints: [
      ...hintsOf(cause),
      "put right what the message names (a full disk? an engine that does not run?), then run `sealift recover`",
    ],
  });
}

export function hintsOf(cause: unknown): readonly string[] {
  return cause instanceof SealiftError ? cause.hints : [];
}
