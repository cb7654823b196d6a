/**
 * How many refusals are recorded one by one. Whoever has no key, or more requests than the key allows, could
 * otherwise fill the log's disk; what is left out is counted in the next record.
 */
import type { TokenBuckets } from "./token-buckets.ts";

export class RefusalThrottle {
  readonly #buckets: TokenBuckets;
  #unrecorded = 0;

  constructor(buckets: TokenBuckets) {
    this.#buckets = buckets;
  }

  /** How many were left out since the last record, of whatever name; undefined if this one is left out too. */
  admit(name: string): number | undefined {
    if (this.#buckets.take(name) > 0) {
      this.#unrecorded += 1;
      return undefined;
    }
    const unrecorded = this.#unrecorded;
    this.#unrecorded = 0;
    return unrecorded;
  }
}
