/** A bundle as the bytes of its tar, whatever it lies in. */
import { fileOrder, groupBlobs, readLayoutIndex, readRelease } from "./contents.ts";
import { layoutError } from "./error.ts";
import type { Extent, Layout, Store } from "./layout.ts";
import { readAt } from "./read-at.ts";
import { readSignatureObjects } from "./signature-object.ts";
import { paddedSize, renderEnd, renderHeader } from "./tar-format.ts";

const CHUNK_BYTES = 1024 * 1024;

export interface TarBytes {
  readonly size: number;
  /** From the first byte to the last; a chunk is good until the next one is asked for. @throws LAYOUT_TRUNCATED */
  chunks(): Generator<Buffer>;
}

/**
 * The one tar of the bundle in `store`, read in place. Of a directory it is put together, in the canonical order.
 * @throws LAYOUT_FOREIGN_FILE if a directory holds what no tar of this release does, and what reading the release throws
 */
export function tarBytes(store: Store, layout: Layout): TarBytes {
  const pieces = store.kind === "directory" ? piecesOf(layout) : store.files.map(({ fd, size }) => extent(fd, size));
  return {
    size: pieces.reduce((sum, piece) => sum + piece.length, 0),
    *chunks() {
      for (const piece of pieces) yield* Buffer.isBuffer(piece) ? [piece] : bytesOf(piece);
    },
  };
}

function extent(fd: number, length: number): Extent {
  return { fd, position: 0, length };
}

function piecesOf(layout: Layout): (Buffer | Extent)[] {
  const { release, others } = readLayoutIndex(layout);
  const order = fileOrder(groupBlobs(readRelease(layout, release), readSignatureObjects(layout, others)));
  const known = new Set(order);
  const foreign = layout.files.find(({ name }) => !known.has(name));
  if (foreign) {
    throw layoutError("LAYOUT_FOREIGN_FILE", `bundle: ${JSON.stringify(foreign.name)} is not part of the release`);
  }
  const files = order.flatMap((name) => {
    const file = layout.file(name);
    return file
      ? [renderHeader(name, file.size), ...file.extents, Buffer.alloc(paddedSize(file.size) - file.size)]
      : [];
  });
  return [...files, renderEnd()];
}

function* bytesOf({ fd, position, length }: Extent): Generator<Buffer> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, length));
  for (let done = 0; done < length; ) {
    const wanted = chunk.subarray(0, Math.min(chunk.length, length - done));
    if (readAt(fd, wanted, position + done) !== wanted.length) {
      throw layoutError("LAYOUT_TRUNCATED", `bundle ends early, at byte ${position + done}`);
    }
    done += wanted.length;
    yield wanted;
  }
}
