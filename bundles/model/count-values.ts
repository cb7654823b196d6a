/** JSON that is small on the medium can be a hundred times as large in memory. */

/**
 * Whether the JSON in `bytes` may hold more than `max` values, before it is parsed: counts what opens or
 * separates them, also within strings, so it errs towards refusing. Linear in time, nothing in memory.
 */
export function hasMoreValues(bytes: Uint8Array, max: number): boolean {
  const json = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (const opening of [",", "[", "{"]) {
    for (let at = json.indexOf(opening); at >= 0 && count <= max; at = json.indexOf(opening, at + 1)) count += 1;
  }
  return count > max;
}
