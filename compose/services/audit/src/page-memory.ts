/**
 * Memory that begins where a page of the machine does, as O_DIRECT wants it. Of all that Node gives only
 * WebAssembly's does, and a buffer that can grow, which is slow to write to.
 */
const PAGE_BYTES = 64 * 1024;

export class PageMemory {
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  #bytes = Buffer.from(this.#memory.buffer);

  /** The first `size` bytes, with whatever was written to them before. What was taken earlier must no longer be used. */
  take(size: number): Buffer {
    const missing = size - this.#bytes.length;
    if (missing > 0) {
      this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
      this.#bytes = Buffer.from(this.#memory.buffer);
    }
    return this.#bytes.subarray(0, size);
  }
}
