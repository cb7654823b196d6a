/**
 * What is done when the database does not let the gateway in: a server that is started anew is waited for, and
 * a password that is being rotated is tried in its other value.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode } from "@sealift/service-kit/log.ts";
import { readSecretValues, SettingsError } from "@sealift/service-kit/settings.ts";
import pg from "pg";

const INVALID_PASSWORD = "28P01";
/** Longer than a server takes to be started anew. */
const HOLD_MS = 10_000;
const RETRY_MS = 100;

export interface HoldOptions {
  readonly holdMs?: number;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

/** Lets questions wait for a database that went away just now, and none for one that has been away for long. */
export class Hold {
  readonly #holdMs: number;
  readonly #now: () => number;
  #awaySince: number | undefined;

  constructor({ holdMs = HOLD_MS, now = () => performance.now() }: HoldOptions = {}) {
    this.#holdMs = holdMs;
    this.#now = now;
  }

  /** `work` may be done again when the database went away in its middle. Rejects as `work` did last. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        const result = await work();
        this.#awaySince = undefined;
        return result;
      } catch (cause) {
        if (!isAway(cause)) throw cause;
        this.#awaySince ??= this.#now();
        if (this.#now() - this.#awaySince >= this.#holdMs) throw cause;
      }
      await sleep(RETRY_MS);
    }
  }
}

/** Whether nobody answered, or a server that ends or begins: class 57P of SQLSTATE. */
function isAway(cause: unknown): boolean {
  if (cause instanceof SettingsError) return false;
  return !(cause instanceof pg.DatabaseError) || errorCode(cause).startsWith("57P");
}

/** The password in a file, which may hold two: the database takes one of them, and soon the other. */
export class Passwords {
  readonly #path: string;
  #turn = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** The one that was taken last. @throws SettingsError, or what reading throws */
  async current(): Promise<string> {
    const values = await readSecretValues(this.#path);
    return values[this.#turn % values.length] as string;
  }

  /** `work` connects first: it is done once more, with the other password, if this one was refused. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn;
    try {
      return await work();
    } catch (cause) {
      if (errorCode(cause) !== INVALID_PASSWORD) throw cause;
      // Of several that were refused at once, one turns it.
      if (this.#turn === turn) this.#turn += 1;
      return work();
    }
  }
}
