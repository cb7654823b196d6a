/**
 * The growing edge of the tree and the files that it makes: C2SP tlog-tiles. In memory are only the hashes
 * of the last, partial tile of each level and the entries of the last, partial bundle.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "./checkpoint.ts";
import type { NewFile } from "./durable-files.ts";
import { HASH_BYTES, leafHash, rootOf } from "./merkle.ts";
import { decodeEntries, encodeEntries, TILE_WIDTH, tilePath } from "./tile-path.ts";

export interface Leaf {
  readonly entry: Buffer;
  readonly hash: Buffer;
}

export interface Growth {
  readonly tree: TileTree;
  readonly files: readonly NewFile[];
  readonly filled: readonly string[];
}

/** The files of the tree are not what the checkpoint says. */
export class TreeDamagedError extends Error {}

export class TileTree {
  #size: number;
  /** By level: the hashes of the tile that is not full, 0 to 255 of them. */
  readonly #edge: Buffer[][];
  #entries: Buffer[];

  private constructor(size: number, edge: Buffer[][], entries: Buffer[]) {
    this.#size = size;
    this.#edge = edge;
    this.#entries = entries;
  }

  static empty(): TileTree {
    return new TileTree(0, [], []);
  }

  /** The tree that `checkpoint` names, from its files below `root`. @throws TreeDamagedError */
  static async load(root: string, checkpoint: Checkpoint): Promise<TileTree> {
    const { size } = checkpoint;
    const edge: Buffer[][] = [];
    for (let level = 0, tiles = size; tiles > 0; level += 1, tiles = Math.floor(tiles / TILE_WIDTH)) {
      const width = tiles % TILE_WIDTH;
      const bytes =
        width === 0 ? Buffer.alloc(0) : await read(root, tilePath(level, Math.floor(tiles / TILE_WIDTH), width));
      if (bytes.length !== width * HASH_BYTES) throw new TreeDamagedError(`level ${level} ends in a broken tile`);
      edge.push(Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)));
    }
    const width = size % TILE_WIDTH;
    const bundle =
      width === 0 ? Buffer.alloc(0) : await read(root, tilePath("entries", Math.floor(size / TILE_WIDTH), width));
    const entries = decodeEntries(bundle);
    const tree = new TileTree(size, edge, entries ?? []);
    if (!tree.root().equals(checkpoint.root)) throw new TreeDamagedError("the tiles give another root");
    const same = entries?.length === width && entries.every((entry, i) => edge[0]?.[i]?.equals(leafHash(entry)));
    if (!same) throw new TreeDamagedError("the last entry bundle is not what its tile says");
    return tree;
  }

  get size(): number {
    return this.#size;
  }

  root(): Buffer {
    let below: Buffer | undefined;
    for (const hashes of this.#edge) {
      if (hashes.length > 0 || below) below = rootOf(below ? [...hashes, below] : hashes);
    }
    return below ?? rootOf([]);
  }

  /**
   * The tree with `leaves` behind it, and the files that it needs beyond those of this one. None of them is a
   * file of this one: the checkpoint on the disk still needs those whole when the writing is cut. `filled`
   * are the full tiles of which this one has a partial one.
   */
  grow(leaves: readonly Leaf[]): Growth {
    const tree = new TileTree(
      this.#size,
      this.#edge.map((hashes) => [...hashes]),
      [...this.#entries],
    );
    const files: NewFile[] = [];
    for (const leaf of leaves) tree.#add(leaf, files);
    if (leaves.length > 0) tree.#addPartial(files, this.#size);
    const begun = this.#edge.map((_, level) => tilePath(level, Math.floor(this.#size / TILE_WIDTH ** (level + 1))));
    begun.push(tilePath("entries", Math.floor(this.#size / TILE_WIDTH)));
    return { tree, files, filled: begun.filter((path) => files.some((file) => file.path === path)) };
  }

  #add({ entry, hash }: Leaf, files: NewFile[]): void {
    this.#size += 1;
    this.#entries.push(entry);
    if (this.#entries.length === TILE_WIDTH) {
      files.push({ path: tilePath("entries", this.#size / TILE_WIDTH - 1), bytes: encodeEntries(this.#entries) });
      this.#entries = [];
    }
    let carried: Buffer | undefined = hash;
    for (let level = 0, tiles = this.#size; carried; level += 1, tiles /= TILE_WIDTH) {
      const hashes = this.#edge[level] ?? [];
      this.#edge[level] = hashes;
      hashes.push(carried);
      carried = undefined;
      if (hashes.length < TILE_WIDTH) break;
      files.push({ path: tilePath(level, tiles / TILE_WIDTH - 1), bytes: Buffer.concat(hashes) });
      carried = rootOf(hashes);
      hashes.length = 0;
    }
  }

  #addPartial(files: NewFile[], sizeBefore: number): void {
    const bundle = Math.floor(this.#size / TILE_WIDTH);
    if (this.#entries.length > 0) {
      files.push({ path: tilePath("entries", bundle, this.#entries.length), bytes: encodeEntries(this.#entries) });
    }
    for (const [level, hashes] of this.#edge.entries()) {
      const width = TILE_WIDTH ** level;
      const isUnchanged = Math.floor(this.#size / width) === Math.floor(sizeBefore / width);
      if (hashes.length === 0 || isUnchanged) continue;
      const index = Math.floor(this.#size / TILE_WIDTH ** (level + 1));
      files.push({ path: tilePath(level, index, hashes.length), bytes: Buffer.concat(hashes) });
    }
  }
}

async function read(root: string, path: string): Promise<Buffer> {
  try {
    return await readFile(join(root, path));
  } catch (cause) {
    throw new TreeDamagedError(`${path} cannot be read`, { cause });
  }
}
