/**
 * From an API key to who holds it. What the database said counts for a few seconds, so that a busy client
 * does not cost a query a request; a key that was revoked works on for that long and no longer.
 */
import { hash } from "node:crypto";
import { proveApiKey } from "./api-key.ts";
import type { Database, Login } from "./database.ts";

export interface Identities {
  /** Undefined for a text that is no key, or one that does not count. Rejects if the database cannot tell. */
  identify(key: string): Promise<Login | undefined>;
}

export interface IdentitiesOptions {
  /** The content of the pepper's file. */
  readonly pepper: string;
  /** How long an answer counts, in milliseconds. */
  readonly keepMs?: number;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

const KEEP_MS = 5_000;
const REMEMBERED_MAX = 10_000;
/** A login is not used up to its last moment, because what is begun with it must also end. */
const EXPIRY_MARGIN_MS = 60_000;

interface Remembered {
  readonly until: number;
  readonly login: Promise<Login | undefined>;
}

export function openIdentities(database: Pick<Database, "login">, options: IdentitiesOptions): Identities {
  const { pepper, keepMs = KEEP_MS, now = () => performance.now() } = options;
  // By hash: keys do not stay in memory for longer than a request. They are random, so a plain one does. The
  // oldest is first.
  const remembered = new Map<string, Remembered>();
  return {
    identify(key) {
      const id = hash("sha256", key, "base64");
      const known = remembered.get(id);
      if (known && known.until > now()) return known.login;
      const proof = proveApiKey(key, pepper);
      if (!proof) return Promise.resolve(undefined);
      const asked = database.login(proof);
      const entry: Remembered = { until: now() + keepMs, login: asked };
      remembered.delete(id);
      remembered.set(id, entry);
      const [oldest] = remembered.keys();
      if (remembered.size > REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
      const forget = (): void => {
        if (remembered.get(id) === entry) remembered.delete(id);
      };
      // A failure is nobody's answer but this one's; neither is a login that is about to end.
      asked.then((login) => {
        if (login && login.expiresAt.getTime() - Date.now() < EXPIRY_MARGIN_MS) forget();
      }, forget);
      return asked;
    },
  };
}
