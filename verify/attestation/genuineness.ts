/** The findings of one evidence's own checks, in one form for every kind of machine. */
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import {
  type AttestationCheck,
  type AttestationFinding,
  attestationFailed,
  attestationPassed,
  attestationUnchecked,
} from "./attestation-verdict.ts";

export class Genuineness {
  readonly #found: AttestationFinding[] = [];

  /** What `look` tells beside its message, or null if it threw a coded error: then the check has failed. */
  check<T>(name: AttestationCheck, look: () => readonly [message: string, value: T]): T | null {
    try {
      const [message, value] = look();
      this.add(attestationPassed(name, message));
      return value;
    } catch (cause) {
      if (!(cause instanceof SealiftError)) throw cause;
      this.add(attestationFailed(name, cause.code, cause.message));
      return null;
    }
  }

  add(finding: AttestationFinding): void {
    this.#found.push(finding);
  }

  get hasFailed(): boolean {
    return this.#found.some(({ status }) => status === "fail");
  }

  /** One for each of `names` but `evidence`, in their order; those that nobody came to are not checked, for `reason`. */
  findings(names: readonly AttestationCheck[], reason: string): AttestationFinding[] {
    return names
      .filter((name) => name !== "evidence")
      .map((name) => this.#found.find(({ check }) => check === name) ?? attestationUnchecked(name, reason));
  }
}
