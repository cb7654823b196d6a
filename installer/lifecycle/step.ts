/** An operation as data and functions: what `execute` runs, undoes, and after a crash asks. */

/** What recover may learn about a step that began and whose outcome nobody wrote. */
export type Probe = "done" | "not-done" | "unknown";

export interface Step {
  /** Unique within its operation, e.g. `switch-pointer`. */
  readonly name: string;
  /** What it will do, for the journal and a person's eyes. Never a secret. */
  readonly intent: string;
  /**
   * From this step's completion on the operation goes forward only. Exactly one step of an operation has
   * it, and its `probe` must know: on it depends which way recover goes. It must be atomic.
   */
  readonly isCommit?: true;
  /** MUST be idempotent after the commit: recover may run it again. */
  readonly do: () => Promise<void>;
  /** Takes it back, whole, half done or not begun: MUST be idempotent. Never called after the commit. */
  readonly undo: () => Promise<void>;
  /** Looks, changes nothing. */
  readonly probe: () => Promise<Probe>;
}

/** JSON from which the same steps can be made again after a crash. Never a secret. */
export type Parameters = Readonly<Record<string, unknown>>;

/** A kind of operation. `Context` is what steps act on: the site, its engine. */
export interface OperationKind<Context> {
  /** As in the journal, e.g. `operator-change`. Permanent: a newer Sealift may have to recover it. */
  readonly name: string;
  /** The same steps for the same parameters, always. @throws if the parameters are not of this kind */
  readonly steps: (context: Context, parameters: Parameters) => readonly Step[];
  /** What the ledger shall say of the site once the operation is committed. */
  readonly facts?: (parameters: Parameters) => Parameters;
}
