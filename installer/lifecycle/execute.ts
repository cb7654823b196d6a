/**
 * Runs an operation's steps, and after a crash ends it: before its commit step backwards, after it
 * forwards. Whatever happens there is one open journal at most, and it goes only when the ledger has it.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Clock } from "../site/clock.ts";
import { type Disk, removeDurably, renameDurably, writeWhole } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import { lifecycleError } from "./error.ts";
import {
  Journal,
  type JournalContent,
  type JournalRecord,
  type OperationResult,
  readJournal,
  readJournalBytes,
  readRecords,
} from "./journal.ts";
import { appendEntry, readLedger } from "./ledger.ts";
import { hintsOf, type OperationDirection, probeOf, Standing, unknownOutcome } from "./standing.ts";
import type { OperationKind, Parameters, Step } from "./step.ts";

/** What every operation stands on. The caller holds the site's lock. */
export interface Ground {
  readonly paths: StatePaths;
  readonly disk: Disk;
  readonly clock: Clock;
}

const REASON_MAX_LENGTH = 1000;

export function openJournalPath(paths: StatePaths): string {
  return join(paths.journal, "open");
}

/** @throws JOURNAL_INCOMPLETE if an operation has not ended | JOURNAL_DAMAGED */
export function requireNoOpenJournal(paths: StatePaths): void {
  const open = readJournal(openJournalPath(paths));
  if (!open) return;
  const { operation, time } = open.begin;
  throw lifecycleError("JOURNAL_INCOMPLETE", `${operation} of ${time} did not end, its outcome is unknown`, {
    hints: ["run `sealift recover` before any other command"],
  });
}

/**
 * Does what `parameters` say. Resolves when it is committed, complete, and in the ledger.
 * `authorization` is the ledger entry that allows it.
 * @throws OPERATION_FAILED (the old state is back) | OPERATION_UNKNOWN (recover must end it) |
 * JOURNAL_INCOMPLETE | STATE_WRITE_FAILED and STATE_DISK_FULL (nothing began)
 */
export async function execute<Context>(
  ground: Ground,
  kind: OperationKind<Context>,
  context: Context,
  parameters: Parameters,
  authorization: Digest,
): Promise<void> {
  const { paths, disk } = ground;
  const steps = checkedSteps(kind.steps(context, parameters));
  requireNoOpenJournal(paths);
  // Left by a crash before the first record was whole: nothing had begun.
  if (existsSync(openJournalPath(paths))) removeDurably(disk, openJournalPath(paths));
  const journal = Journal.begin(disk, openJournalPath(paths), {
    type: "begin",
    schemaVersion: 1,
    id: randomBytes(16).toString("hex"),
    operation: kind.name,
    parameters,
    steps: steps.map(({ name }) => name),
    authorization,
    time: now(ground),
  });
  const run = new Run(ground, journal, kind, steps);
  try {
    await run.forward();
  } finally {
    run.close();
  }
}

export interface Recovery {
  /** Of the operation that was open; undefined if there was none. */
  readonly operation: string | undefined;
  readonly result: OperationResult | undefined;
  /** The journal's last record was torn. */
  readonly tornBytes: number;
}

export interface RecoverOptions {
  /** Go on with what is whole of a damaged journal. It is kept beside the others. */
  readonly isDamageAccepted?: boolean;
}

/**
 * Ends the operation that a crash left open; nothing if there is none. May be killed and run again. Of a damaged
 * journal the commit step is asked, and every step counts as begun: taking back what never was is as harmless as
 * doing once more what is done. @throws OPERATION_UNKNOWN if that cannot be decided or done now, with the journal
 * still open | JOURNAL_DAMAGED
 */
export async function recover<Context>(
  ground: Ground,
  kinds: ReadonlyMap<string, OperationKind<Context>>,
  context: Context,
  { isDamageAccepted = false }: RecoverOptions = {},
): Promise<Recovery> {
  const { paths, disk } = ground;
  const path = openJournalPath(paths);
  const bytes = readJournalBytes(path);
  const { content, damage } = bytes ? readRecords(bytes) : { content: undefined, damage: undefined };
  // Without its first record nobody knows what it was about.
  if (damage && (!isDamageAccepted || !content)) throw damage;
  if (!content) {
    if (existsSync(path)) removeDurably(disk, path);
    return { operation: undefined, result: undefined, tornBytes: 0 };
  }
  const { operation } = content.begin;
  const { tornBytes } = content;
  const last = content.records.at(-1);
  if (last?.type === "end") {
    closeInLedger(ground, content, last.result, kinds.get(operation));
    return { operation, result: last.result, tornBytes };
  }
  const { kind, steps } = openOperation(kinds, context, content);
  // Before the damaged end is cut off: a recover that is killed and run again must still know of it.
  const kept = keptDamage(paths, content);
  if (damage && bytes) writeWhole(disk, kept, bytes);
  const run = new Run(ground, Journal.reopen(disk, path, content), kind, steps, content);
  try {
    return { operation, result: await run.recover(existsSync(kept)), tornBytes };
  } finally {
    run.close();
  }
}

export interface RecoveryPlan {
  readonly operation: string;
  /** When it began. */
  readonly time: string;
  readonly direction: OperationDirection;
  /** In the order in which they would be taken back, or done. */
  readonly steps: readonly Step[];
}

/**
 * What `recover` would do now; undefined if nothing is open. Asks the commit step where the journal does not say
 * how that ended, and changes nothing. @throws as `recover`
 */
export async function planRecovery<Context>(
  paths: StatePaths,
  kinds: ReadonlyMap<string, OperationKind<Context>>,
  context: Context,
  { isDamageAccepted = false }: RecoverOptions = {},
): Promise<RecoveryPlan | undefined> {
  const bytes = readJournalBytes(openJournalPath(paths));
  const { content, damage } = bytes ? readRecords(bytes) : { content: undefined, damage: undefined };
  if (damage && (!isDamageAccepted || !content)) throw damage;
  if (!content) return undefined;
  const { operation, time } = content.begin;
  const end = content.records.at(-1);
  if (end?.type === "end") {
    return { operation, time, direction: end.result === "committed" ? "forward" : "back", steps: [] };
  }
  const { steps } = openOperation(kinds, context, content);
  const standing = new Standing(operation, steps, content);
  const last = standing.last(damage !== undefined || existsSync(keptDamage(paths, content)));
  const direction = (await standing.isCommitted(last)) ? "forward" : "back";
  return { operation, time, direction, steps: direction === "forward" ? standing.toDo() : standing.toUndo(last) };
}

/** What a journal that was damaged held, for evidence, and as a sign that it was. */
function keptDamage(paths: StatePaths, { begin }: JournalContent): string {
  return join(paths.journal, `${begin.id}.damaged`);
}

/** @throws OPERATION_UNKNOWN if this version does not know it, or knows it otherwise */
function openOperation<Context>(
  kinds: ReadonlyMap<string, OperationKind<Context>>,
  context: Context,
  { begin }: JournalContent,
): { readonly kind: OperationKind<Context>; readonly steps: readonly Step[] } {
  const { operation, parameters, steps: names } = begin;
  const kind = kinds.get(operation);
  const steps = kind?.steps(context, parameters);
  if (!kind || !steps || steps.map(({ name }) => name).join() !== names.join()) {
    throw lifecycleError("OPERATION_UNKNOWN", `the open operation ${operation} is not one that this version knows`, {
      hints: ["run `sealift recover` of the version that began it"],
    });
  }
  return { kind, steps: checkedSteps(steps) };
}

function checkedSteps(steps: readonly Step[]): readonly Step[] {
  if (new Set(steps.map(({ name }) => name)).size !== steps.length || steps.filter((s) => s.isCommit).length !== 1) {
    throw new TypeError("an operation's steps have distinct names, and one of them commits");
  }
  return steps;
}

function now({ clock }: Ground): string {
  return clock().now.toISOString();
}

/** The journal has its end: the ledger gets its digest, then it is put away. Each part may have happened before. */
function closeInLedger(
  ground: Ground,
  content: JournalContent,
  result: OperationResult,
  kind: Pick<OperationKind<never>, "facts"> | undefined,
): void {
  const { paths, disk, clock } = ground;
  const { id, operation, authorization, parameters } = content.begin;
  let ledger = readLedger(paths.ledger);
  if (!ledger.entries.some(({ type, data }) => type === "operation" && data["id"] === id)) {
    const facts = result === "committed" ? kind?.facts?.(parameters) : {};
    const data = { ...facts, id, operation, authorization, result, journal: content.digest };
    ledger = appendEntry(disk, paths.ledger, "operation", data, clock());
  }
  renameDurably(disk, openJournalPath(paths), join(paths.journal, `${id}.journal`));
}

class Run {
  readonly #ground: Ground;
  #journal: Journal;
  readonly #operation: string;
  readonly #kind: Pick<OperationKind<never>, "facts">;
  readonly #steps: readonly Step[];
  readonly #standing: Standing;

  constructor(
    ground: Ground,
    journal: Journal,
    kind: Pick<OperationKind<never>, "name" | "facts">,
    steps: readonly Step[],
    before?: JournalContent,
  ) {
    this.#ground = ground;
    this.#journal = journal;
    this.#operation = kind.name;
    this.#kind = kind;
    this.#steps = steps;
    this.#standing = new Standing(kind.name, steps, before);
  }

  #write(record: JournalRecord): void {
    this.#journal.append(record);
  }

  /** Intent, act, outcome. Throws what the step or the journal throws. */
  async #act(step: Step): Promise<void> {
    this.#write({ type: "intent", step: step.name, intent: step.intent, time: now(this.#ground) });
    this.#standing.states.set(step.name, "intent");
    await step.do();
    this.#write({ type: "outcome", step: step.name, outcome: "done", time: now(this.#ground) });
    this.#standing.states.set(step.name, "done");
  }

  async forward(): Promise<void> {
    const commit = this.#steps.findIndex((step) => step.isCommit);
    for (const [index, step] of this.#steps.slice(0, commit + 1).entries()) {
      try {
        await this.#act(step);
      } catch (cause) {
        await this.#failed(step, index, cause);
        break;
      }
    }
    await this.#complete();
  }

  /** Returns if the commit happened all the same; else the old state is back or nobody knows. */
  async #failed(step: Step, index: number, cause: unknown): Promise<void> {
    const why = `${this.#operation}: step ${index + 1} of ${this.#steps.length} ${JSON.stringify(step.name)}: ${codedReason(cause)}`;
    if (step.isCommit && this.#standing.states.has(step.name) && (await probeOf(step)) !== "not-done") {
      // It may have happened, and is perhaps not yet durable: recover looks again, with a new journal handle.
      throw unknownOutcome(why, cause);
    }
    const reason = reasonOf(cause).slice(0, REASON_MAX_LENGTH);
    const isRecorded = this.#tryWrite({
      type: "outcome",
      step: step.name,
      outcome: "failed",
      reason,
      time: now(this.#ground),
    });
    await this.#back(index, why, cause, isRecorded);
    const hints = [...hintsOf(cause), "the old state is in place; nothing was changed"];
    throw lifecycleError("OPERATION_FAILED", why, { cause, hints });
  }

  /** Takes back the steps from `last` down. */
  async #back(last: number, why: string, cause: unknown, isRecorded = true): Promise<void> {
    let isComplete = isRecorded;
    for (const step of this.#standing.toUndo(last)) {
      try {
        await step.undo();
      } catch (undoCause) {
        const text = `${why}; taking back ${JSON.stringify(step.name)}: ${codedReason(undoCause)}`;
        throw unknownOutcome(text, undoCause);
      }
      // A full disk may keep the journal from hearing of it; recover takes back once more then.
      isComplete =
        this.#tryWrite({ type: "outcome", step: step.name, outcome: "undone", time: now(this.#ground) }) && isComplete;
    }
    if (!isComplete) throw unknownOutcome(`${why}; all was taken back, but the journal could not be written`, cause);
    this.#end("restored", why, cause);
  }

  /** A handle that failed takes no more, so once more with a new one, behind what the disk really holds. */
  #tryWrite(record: JournalRecord): boolean {
    try {
      this.#write(record);
      return true;
    } catch {
      return this.#tryWriteAnew(record);
    }
  }

  #tryWriteAnew(record: JournalRecord): boolean {
    const { paths, disk } = this.#ground;
    try {
      const content = readJournal(openJournalPath(paths));
      if (!content) return false;
      const anew = Journal.reopen(disk, openJournalPath(paths), content);
      this.#journal.close();
      this.#journal = anew;
      this.#write(record);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.#journal.close();
  }

  /** From the commit on: what is not recorded as done is done, again if need be. */
  async #complete(): Promise<void> {
    for (const step of this.#standing.toDo()) {
      try {
        await this.#act(step);
      } catch (cause) {
        throw unknownOutcome(
          `${this.#operation}: committed, but step ${JSON.stringify(step.name)}: ${codedReason(cause)}`,
          cause,
        );
      }
    }
    this.#end("committed", `${this.#operation}: committed`, undefined);
  }

  #end(result: OperationResult, why: string, cause: unknown): void {
    try {
      this.#write({ type: "end", result, time: now(this.#ground) });
      const content = readJournal(openJournalPath(this.#ground.paths));
      if (content?.records.at(-1)?.type !== "end") throw new TypeError("the journal has not kept its end");
      closeInLedger(this.#ground, content, result, this.#kind);
    } catch (endCause) {
      throw unknownOutcome(`${why}; its end: ${reasonOf(endCause)}`, cause ?? endCause);
    }
  }

  /** `isAllBegun`: the journal does not say how far it came. */
  async recover(isAllBegun: boolean): Promise<OperationResult> {
    const last = this.#standing.last(isAllBegun);
    const why = `recover: ${this.#operation}`;
    const isForward = await this.#standing.isCommitted(last);
    const direction = isForward ? "forward" : "back";
    try {
      this.#write({ type: "recover", direction, time: now(this.#ground) });
    } catch (cause) {
      throw unknownOutcome(`${why}: ${reasonOf(cause)}`, cause);
    }
    if (isForward) {
      await this.#complete();
      return "committed";
    }
    await this.#back(last, why, undefined);
    return "restored";
  }
}

/** What a step says is wrong keeps its own code and its own advice. */
function codedReason(cause: unknown): string {
  return cause instanceof SealiftError ? `${cause.code}: ${cause.message}` : reasonOf(cause);
}
