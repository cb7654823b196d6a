/** How much may be under way at once: requests of a key, of all, and the bytes that they hold in memory. */
export interface RoomLimits {
  readonly requestsMax: number;
  readonly requestsMaxOfKey: number;
  readonly bytesMax: number;
}

export interface Place {
  /** Whether there is room for so many bytes more; they are given back with the place. */
  reserve(bytes: number): boolean;
  /** Once. */
  readonly leave: () => void;
}

export class RequestRoom {
  readonly #limits: RoomLimits;
  readonly #ofKey = new Map<string, number>();
  #requests = 0;
  #bytes = 0;

  constructor(limits: RoomLimits) {
    this.#limits = limits;
  }

  get requests(): number {
    return this.#requests;
  }

  enter(key: string): Place | "full" | "key-full" {
    const { requestsMax, requestsMaxOfKey, bytesMax } = this.#limits;
    const ofKey = this.#ofKey.get(key) ?? 0;
    if (ofKey >= requestsMaxOfKey) return "key-full";
    if (this.#requests >= requestsMax) return "full";
    this.#ofKey.set(key, ofKey + 1);
    this.#requests += 1;
    let held = 0;
    return {
      reserve: (bytes) => {
        if (this.#bytes + bytes > bytesMax) return false;
        this.#bytes += bytes;
        held += bytes;
        return true;
      },
      leave: () => {
        this.#bytes -= held;
        this.#requests -= 1;
        const left = (this.#ofKey.get(key) ?? 1) - 1;
        if (left === 0) this.#ofKey.delete(key);
        else this.#ofKey.set(key, left);
      },
    };
  }
}
