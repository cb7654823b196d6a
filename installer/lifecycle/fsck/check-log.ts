/** What one check of `fsck` has to say: findings, things to do soon, and what it did not check. */
import { type ExitCode, reasonOf, SealiftError } from "../../../bundles/model/sealift-error.ts";
import { systemCode } from "../../site/disk.ts";
import { siteError } from "../../site/error.ts";

/** `unknown`: nobody can say what runs or what was done before `sealift recover`, or a backup, has ended it. */
export type Severity = "degraded" | "mismatch" | "unknown";

export interface FsckFinding {
  readonly check: string;
  /** A path within the state directory, or what of the site or the engine it is about. */
  readonly subject: string;
  /** Of runbooks/errors.md. */
  readonly code: string;
  readonly severity: Severity;
  readonly message: string;
  /** What to type next. */
  readonly hints: readonly string[];
}

export interface FsckCheckResult {
  readonly check: string;
  readonly status: "pass" | "fail" | "not-checked";
  /** Why it, or a part of it, was not checked. */
  readonly reason?: string;
}

/** Of one check. A state directory that somebody filled on purpose must not fill a terminal. */
export const FINDINGS_MAX = 100;

const SEVERITIES: Readonly<Record<ExitCode, Severity>> = {
  1: "unknown",
  // Whoever wrote what cannot be read was not Sealift.
  2: "mismatch",
  3: "mismatch",
  4: "degraded",
  5: "degraded",
  6: "unknown",
};

export class CheckLog {
  readonly check: string;
  readonly findings: FsckFinding[] = [];
  /** Findings beyond FINDINGS_MAX. */
  omitted = 0;
  /** What an operator should do soon, one sentence each; nothing is wrong yet. */
  readonly warnings: string[] = [];
  readonly #notChecked: string[] = [];
  #passed = false;

  constructor(check: string) {
    this.check = check;
  }

  find(subject: string, error: SealiftError): void {
    if (this.findings.length === FINDINGS_MAX) {
      this.omitted += 1;
      return;
    }
    const { code, exit, message } = error;
    const hints = error.hints.length > 0 ? error.hints : [hintFor(code)];
    this.findings.push({ check: this.check, subject, code, severity: SEVERITIES[exit], message, hints });
  }

  warn(sentence: string): void {
    this.warnings.push(sentence);
  }

  /** Something at least was looked at. */
  looked(): void {
    this.#passed = true;
  }

  notChecked(reason: string): void {
    this.#notChecked.push(reason);
  }

  /** What `work` returns; undefined if it refuses, which becomes a finding about `subject`. */
  attempt<Value>(subject: string, work: () => Value): Value | undefined {
    try {
      const value = work();
      this.looked();
      return value;
    } catch (cause) {
      this.find(subject, asFinding(cause));
      return undefined;
    }
  }

  async attemptAsync<Value>(subject: string, work: () => Promise<Value>): Promise<Value | undefined> {
    try {
      const value = await work();
      this.looked();
      return value;
    } catch (cause) {
      this.find(subject, asFinding(cause));
      return undefined;
    }
  }

  result(): FsckCheckResult {
    const { check } = this;
    const reason = this.#notChecked.length > 0 ? { reason: this.#notChecked.join("; ") } : {};
    if (this.findings.length > 0) return { check, status: "fail", ...reason };
    return { check, status: this.#passed ? "pass" : "not-checked", ...reason };
  }
}

/** Where the part of Sealift that refused leaves it to its caller. */
function hintFor(code: string): string {
  if (code.startsWith("ENGINE_")) return "sealift doctor";
  if (code.startsWith("AUDIT_")) return "keep a copy of the log as evidence; sealift audit verify says more";
  return "keep a copy of the state directory as evidence; what is in it comes back from a backup";
}

/** A refusal of ours, or what the host's file system said. @throws anything else: that is a defect of Sealift's */
function asFinding(cause: unknown): SealiftError {
  if (cause instanceof SealiftError) return cause;
  if (systemCode(cause) === undefined) throw cause;
  return siteError("STATE_UNREADABLE", reasonOf(cause), { cause });
}
