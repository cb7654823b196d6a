/** Rate limits: one token bucket for each name, the least recently used forgotten beyond a number of them. */
export interface TokenBucketOptions {
  /** How many at once. */
  readonly burst: number;
  readonly perSecond: number;
  /** Buckets kept. One that is forgotten comes back full. */
  readonly max: number;
  readonly now?: () => number;
}

interface Bucket {
  tokens: number;
  at: number;
}

export class TokenBuckets {
  readonly #options: Required<TokenBucketOptions>;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: TokenBucketOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  /** Takes a token: 0 if there was one, else in how many seconds there will be. */
  take(name: string): number {
    const bucket = this.#bucket(name);
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return 0;
    }
    return (1 - bucket.tokens) / this.#options.perSecond;
  }

  /** What `take` would say. */
  wait(name: string): number {
    const { tokens } = this.#bucket(name);
    return tokens >= 1 ? 0 : (1 - tokens) / this.#options.perSecond;
  }

  #bucket(name: string): Bucket {
    const { burst, perSecond, max, now } = this.#options;
    const at = now();
    const kept = this.#buckets.get(name);
    const bucket = kept
      ? { tokens: Math.min(burst, kept.tokens + ((at - kept.at) / 1000) * perSecond), at }
      : { tokens: burst, at };
    this.#buckets.delete(name);
    if (this.#buckets.size >= max) this.#buckets.delete(this.#buckets.keys().next().value ?? "");
    this.#buckets.set(name, bucket);
    return bucket;
  }
}
