/**
 * Which principals were used, for as long as one could be used again: in two sets, of which the older one is
 * dropped when all in it have ended. In memory, so after a start nothing is known of what was used before it:
 * until that has ended, what was signed before the start is not taken.
 */
import { PRINCIPAL_GOOD_MS, PrincipalRefused, type VerifiedPrincipal } from "./principal.ts";

/** In each set; 10,000 a second. Each costs about a hundred bytes. */
const SPENT_MAX = 262_144;

export interface SpentPrincipalsOptions {
  readonly max?: number;
  /** Milliseconds of the clock that principals are signed by. */
  readonly now?: () => number;
  /** Milliseconds since whenever; never set. */
  readonly uptime?: () => number;
}

export class SpentPrincipals {
  readonly #max: number;
  readonly #uptime: () => number;
  readonly #startedAt: number;
  readonly #strictUntil: number;
  #current = new Set<string>();
  #older = new Set<string>();
  #turnAt: number;

  constructor({ max = SPENT_MAX, now = Date.now, uptime = () => performance.now() }: SpentPrincipalsOptions = {}) {
    this.#max = max;
    this.#uptime = uptime;
    this.#startedAt = now();
    this.#strictUntil = uptime() + PRINCIPAL_GOOD_MS;
    this.#turnAt = this.#strictUntil;
  }

  /** @throws PrincipalRefused: replayed, or busy, or expired if it is from before the start */
  requireUnspent({ id, issuedAt }: VerifiedPrincipal): void {
    this.#turn();
    if (this.#current.has(id) || this.#older.has(id)) throw new PrincipalRefused("replayed");
    if (issuedAt < this.#startedAt && this.#uptime() < this.#strictUntil) throw new PrincipalRefused("expired");
    if (this.#current.size >= this.#max) throw new PrincipalRefused("busy");
  }

  spend({ id }: VerifiedPrincipal): void {
    this.#turn();
    this.#current.add(id);
  }

  #turn(): void {
    const now = this.#uptime();
    if (now < this.#turnAt) return;
    // After a long silence what was the newer set has ended too.
    this.#older = now < this.#turnAt + PRINCIPAL_GOOD_MS ? this.#current : new Set();
    this.#current = new Set();
    this.#turnAt = now + PRINCIPAL_GOOD_MS;
  }
}
