import { sbomError } from "../error.ts";

/** Of the largest images known a tenth; a document that names more is larger than any that is read. */
const CANDIDATES_MAX = 1_000_000;

/**
 * Counts the packages that are looked at to find out which one satisfies which dependency. An image may be made so
 * that each of its packages offers what each needs: a few kilobytes of a database are then gigabytes of an SBOM.
 */
export class DependencyCount {
  #candidates = 0;

  /** @throws SBOM_TOO_LARGE */
  add(candidates: number): void {
    this.#candidates += candidates;
    if (this.#candidates > CANDIDATES_MAX) {
      throw sbomError(
        "SBOM_TOO_LARGE",
        `packages satisfy each other's dependencies in more than ${CANDIDATES_MAX} ways`,
      );
    }
  }
}
