/** A directory that asks another one at most once in a few seconds for each key that it found there. */
import type { KeyDirectory, Principal } from "./principal.ts";

export interface KeyCacheOptions {
  /** So long a revoked key may go on working. */
  readonly ttlMs: number;
  readonly max: number;
  readonly now?: () => number;
}

/** Keys that are nobody's are not kept: there are too many of them. */
export function cacheKeys(
  directory: KeyDirectory,
  { ttlMs, max, now = () => performance.now() }: KeyCacheOptions,
): KeyDirectory {
  const found = new Map<string, { readonly principal: Principal; readonly until: number }>();
  const asking = new Map<string, Promise<Principal | undefined>>();
  const ask = async (id: string, prefix: string, presented: Buffer): Promise<Principal | undefined> => {
    // Counted from before the question: a key revoked while it is answered must not live longer.
    const until = now() + ttlMs;
    try {
      const principal = await directory.login(prefix, presented);
      found.delete(id);
      if (principal) {
        if (found.size >= max) found.delete(found.keys().next().value ?? "");
        found.set(id, { principal, until });
      }
      return principal;
    } finally {
      asking.delete(id);
    }
  };
  return {
    login(prefix, presented) {
      // A message authentication code: nobody without the pepper can choose what it begins with.
      const id = presented.toString("base64");
      const kept = found.get(id);
      if (kept && now() < kept.until) return Promise.resolve(kept.principal);
      const under = asking.get(id);
      if (under) return under;
      const asked = ask(id, prefix, presented);
      asking.set(id, asked);
      return asked;
    },
  };
}
