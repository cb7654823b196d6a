/**
 * Errors that reach a person: a permanent code, one sentence, and the next command to type.
 *
 * Each directory declares its own codes once, in its `error.ts`, with `errorArea`. A code is
 * `AREA_CONDITION`, never renamed and never reused, and has a heading in runbooks/errors.md
 * (test/errors.test.ts compares the two). A refusal by a check is a `Finding`
 * (verify/verdict.ts), not an exception: throw only when the caller cannot go on.
 */

/** The exit codes of CLI.md; 0 is success and so is not an error's. */
export type ExitCode = 1 | 2 | 3 | 4 | 5 | 6;

export interface ErrorDetails {
  /** Lines that tell the operator what to type next. */
  readonly hints?: readonly string[];
  readonly cause?: unknown;
}

/** `message` is lower case, without a full stop, subject first: `got X, want Y`. Never holds a secret. */
export class SealiftError extends Error {
  readonly code: string;
  readonly exit: ExitCode;
  readonly hints: readonly string[];

  constructor(code: string, exit: ExitCode, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = "SealiftError";
    this.code = code;
    this.exit = exit;
    this.hints = details.hints ?? [];
  }
}

export interface ErrorArea<Code extends string> {
  (code: Code, message: string, details?: ErrorDetails): SealiftError;
  readonly codes: Readonly<Record<Code, ExitCode>>;
}

/** Declares one directory's codes with the exit code of each, and returns the maker of its errors. */
export function errorArea<const Codes extends Record<string, ExitCode>>(codes: Codes): ErrorArea<keyof Codes & string> {
  const make = (code: keyof Codes & string, message: string, details?: ErrorDetails): SealiftError =>
    new SealiftError(code, codes[code] as ExitCode, message, details);
  return Object.assign(make, { codes });
}

/** The text of anything thrown, for the end of a message. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
