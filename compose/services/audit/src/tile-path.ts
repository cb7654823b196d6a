/** Where C2SP tlog-tiles puts tiles and entry bundles: `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. */

export const TILE_WIDTH = 256;

/** `entries` is the row of entry bundles; a number is the level of a row of hashes. */
export type TileRow = number | "entries";

/** Tile `index` of `row`; `width` is how many of its 256 places are taken. */
export function tilePath(row: TileRow, index: number, width: number = TILE_WIDTH): string {
  const full = `tile/${row}/${indexPath(index)}`;
  return width === TILE_WIDTH ? full : `${full}.p/${width}`;
}

/** Three digits a directory, all but the last behind an `x`: 1234067 is `x001/x234/067`. */
function indexPath(index: number): string {
  const last = String(index % 1000).padStart(3, "0");
  let path = last;
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, "0")}/${path}`;
  }
  return path;
}

const ENTRY_LENGTH_BYTES = 2;

/** Entries as a bundle holds them: each behind its length, two bytes, the high one first. */
export function encodeEntries(entries: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.allocUnsafe(encodedSize(entries));
  encodeInto(bytes, 0, entries);
  return bytes;
}

/** The same into `bytes` from `start` on; where they end there. */
export function encodeInto(bytes: Buffer, start: number, entries: readonly Uint8Array[]): number {
  let at = start;
  for (const entry of entries) {
    at = bytes.writeUInt16BE(entry.length, at);
    bytes.set(entry, at);
    at += entry.length;
  }
  return at;
}

export function encodedSize(entries: readonly Uint8Array[]): number {
  let size = 0;
  for (const entry of entries) size += ENTRY_LENGTH_BYTES + entry.length;
  return size;
}

/** The entries of a bundle, or undefined unless `bytes` are whole entries to the end. */
export function decodeEntries(bytes: Buffer): Buffer[] | undefined {
  const entries: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + ENTRY_LENGTH_BYTES > bytes.length) return undefined;
    const start = at + ENTRY_LENGTH_BYTES;
    const end = start + bytes.readUInt16BE(at);
    if (end > bytes.length) return undefined;
    entries.push(bytes.subarray(start, end));
    at = end;
  }
  return entries;
}
