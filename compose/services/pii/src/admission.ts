/** How much may be under way at once, by the bytes of the bodies: what is over it is told to come back. */
export class Admission {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Undefined if there is no room; else to be called once the work is done. */
  enter(bytes: number): (() => void) | undefined {
    if (this.#bytes + bytes > this.#maxBytes) return undefined;
    this.#bytes += bytes;
    return () => {
      this.#bytes -= bytes;
    };
  }
}
