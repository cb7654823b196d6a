/**
 * The log: entries in, durable and numbered, out to a tree that anybody can check.
 *
 * One writer. What arrives while a write is under way goes into the next one together (group commit); an
 * entry is acknowledged when the write-ahead segment that holds it is on stable storage. The tree's files
 * and the checkpoint follow later and can always be made again from the segments. A checkpoint is signed
 * only for entries that are durable, so there never is a second history.
 *
 * Directory: `checkpoint`, `tile/…` (C2SP tlog-tiles), `segments/<index of the first entry>`,
 * `segments/spare`; after a restore `predecessor` and `epochs/` (epoch.ts). The caller holds the directory's lock.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { type CheckpointSigner, readCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { hostDisk, type LogDisk, replaceFile, syncPath, writeNewFiles } from "./durable-files.ts";
import { leafHash } from "./merkle.ts";
import { PageMemory } from "./page-memory.ts";
import { FRAME_BODY_MAX_BYTES, readSegment, SEGMENT_BYTES, SegmentDamagedError, SegmentWriter } from "./segment.ts";
import { decodeEntries, encodedSize, TILE_WIDTH, tilePath } from "./tile-path.ts";
import { type Leaf, TileTree, TreeDamagedError } from "./tile-tree.ts";

export const ENTRY_MAX_BYTES = 65_535;

export interface AuditLogOptions {
  readonly directory: string;
  readonly signer: CheckpointSigner;
  readonly log: Log;
  /** A checkpoint is made when so many entries wait for one … */
  readonly checkpointEntries?: number;
  /** … and, if any waits, every so many milliseconds. */
  readonly checkpointMs?: number;
  readonly segmentBytes?: number;
  readonly disk?: LogDisk;
}

export interface Appended {
  readonly index: number;
  readonly leafHash: Buffer;
}

/**
 * Why an append was refused. `full`: no room on the disk, may be tried again. `busy`: more waits than can
 * be held, may be tried again. `broken`: a write failed and nobody knows what the disk holds, until a new
 * start has read it. `closed`: this writer is ending.
 */
export type RefusalReason = "full" | "busy" | "broken" | "closed";

export class AppendRefused extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, cause?: unknown) {
    super(`append refused: ${reason}`, { cause });
    this.reason = reason;
  }
}

interface Request {
  readonly leaves: readonly Leaf[];
  readonly bytes: number;
  readonly resolve: (appended: Appended[]) => void;
  readonly reject: (cause: AppendRefused) => void;
}

const CHECKPOINT_ENTRIES = 4096;
const CHECKPOINT_MS = 60_000;
/** So many get into the tree in one go, which takes this thread some 30 ms. */
const INTEGRATION_MAX_ENTRIES = 16_384;
/** Of entries that wait to be written, and of those that wait to get into the tree. */
const QUEUE_MAX_BYTES = 16 * 1024 * 1024;
const PENDING_MAX_BYTES = 16 * 1024 * 1024;
const RETRY_MS = 500;
/** No space, no quota. */
const FULL = ["ENOSPC", "EDQUOT"];
const SEGMENT_NAME = /^\d{16}$/;

export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #disk: LogDisk;
  readonly #segments: string;
  readonly #memory = new PageMemory();
  readonly #queue: Request[] = [];
  #queuedBytes = 0;
  /** Its files are durable; its checkpoint follows. */
  #tree: TileTree;
  #checkpointSize: number;
  /** Full tiles whose partial ones are perhaps still there. */
  readonly #filled: string[] = [];
  /** Durable, and not in the tree yet. */
  readonly #pending: Leaf[] = [];
  #pendingBytes = 0;
  /** The first entries of the segments on the disk, ascending; the last is the one being written. */
  readonly #firsts: number[] = [];
  #segment: SegmentWriter | undefined;
  #spare: Promise<void> | undefined;
  #state: "open" | "full" | "broken" = "open";
  #isClosed = false;
  #writing: Promise<void> | undefined;
  #integrating: Promise<void> | undefined;
  #integrationFailure: unknown;
  #integratedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: AuditLogOptions, tree: TileTree) {
    this.#options = options;
    this.#disk = options.disk ?? hostDisk;
    this.#segments = join(options.directory, "segments");
    this.#tree = tree;
    this.#checkpointSize = tree.size;
  }

  /**
   * Opens the log of `options.directory`, or begins one in an empty directory. Everything durable is in the
   * tree and under a checkpoint when it resolves; a torn last write is cut off.
   * @throws CheckpointError | TreeDamagedError | SegmentDamagedError: it takes no entries before a person has
   *   looked, because going on could hide what was changed.
   */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    const { directory, signer, disk = hostDisk } = options;
    const segments = join(directory, "segments");
    await disk.makeDirectory(segments);
    // Who was here before may not have lived to do it: the checkpoint that is seen here must stay.
    await syncPath(disk, directory);
    const names = (await readdir(segments)).filter((name) => SEGMENT_NAME.test(name)).sort();
    const note = await readFile(join(directory, "checkpoint")).catch((cause) => {
      if (errorCode(cause) !== "ENOENT") throw cause;
    });
    if (!note && (names.length > 0 || (await readdir(directory)).includes("tile"))) {
      throw new TreeDamagedError("there are entries and no checkpoint");
    }
    const tree = note ? await TileTree.load(directory, readCheckpoint(signer, note)) : TileTree.empty();
    const log = new AuditLog(options, tree);
    if (!note) {
      await replaceFile(disk, join(directory, "checkpoint"), signCheckpoint(signer, { size: 0, root: tree.root() }));
    }
    await log.#recover(names);
    await log.#nextSegment();
    log.#timer = setInterval(() => log.#tick(), Math.min(RETRY_MS, options.checkpointMs ?? CHECKPOINT_MS));
    log.#timer.unref();
    return log;
  }

  /** How many entries are durable. */
  get size(): number {
    return this.#tree.size + this.#pending.length;
  }

  get checkpointSize(): number {
    return this.#checkpointSize;
  }

  /** `open` takes entries; else what appends are refused with. `full` ends by itself when there is room. */
  get state(): "open" | "full" | "broken" | "closed" {
    return this.#isClosed ? "closed" : this.#state;
  }

  /**
   * Appends `entries` together, in their order. Resolves when they are on stable storage. Each is 1 to
   * 65,535 bytes. @throws AppendRefused: then none of them was acknowledged, though after `broken` some may
   * turn out to be in the log.
   */
  append(entries: readonly Buffer[]): Promise<Appended[]> {
    const { state } = this;
    if (state !== "open") return Promise.reject(new AppendRefused(state));
    const bytes = encodedSize(entries);
    if (this.#queuedBytes + bytes > QUEUE_MAX_BYTES) return Promise.reject(new AppendRefused("busy"));
    for (const { length } of entries) {
      if (length === 0 || length > ENTRY_MAX_BYTES)
        return Promise.reject(new RangeError(`an entry of ${length} bytes`));
    }
    return this.#enqueue(
      entries.map((entry) => ({ entry, hash: leafHash(entry) })),
      bytes,
    );
  }

  #enqueue(leaves: readonly Leaf[], bytes: number): Promise<Appended[]> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ leaves, bytes, resolve, reject });
      this.#queuedBytes += bytes;
      this.#writing ??= this.#writeQueued();
    });
  }

  async #writeQueued(): Promise<void> {
    while (this.#queue.length > 0) {
      // Who was just answered, or arrives in this turn, may come along.
      await turn();
      const group = this.#takeGroup();
      const leaves = group.flatMap((request) => request.leaves);
      const refused = await this.#write(leaves);
      if (refused) for (const { reject } of group) reject(refused);
      else this.#acknowledge(group);
    }
    // In the same step that found the queue empty: who comes later starts it anew.
    this.#writing = undefined;
  }

  /** As many requests as one write takes, at least one. */
  #takeGroup(): Request[] {
    let count = 0;
    let bytes = 0;
    for (const request of this.#queue) {
      if (count > 0 && bytes + request.bytes > FRAME_BODY_MAX_BYTES) break;
      bytes += request.bytes;
      count += 1;
    }
    this.#queuedBytes -= bytes;
    return this.#queue.splice(0, count);
  }

  async #write(leaves: readonly Leaf[]): Promise<AppendRefused | undefined> {
    const entries = leaves.map(({ entry }) => entry);
    // What was queued before; the disk is not asked for each of them.
    if (this.#state === "broken" || (this.#state === "full" && entries.length > 0)) {
      return new AppendRefused(this.#state);
    }
    try {
      // The tree has fallen behind: who appends waits for it.
      if (this.#pendingBytes > PENDING_MAX_BYTES) await this.checkpoint();
      if (!this.#segment?.hasRoom(entries)) await this.#nextSegment();
    } catch (cause) {
      return this.#stopTaking(FULL.includes(errorCode(cause)) ? "full" : "broken", cause);
    }
    if (this.#state === "full") {
      this.#state = "open";
      this.#options.log("info", "log-has-room", { size: this.size });
    }
    if (entries.length === 0) return undefined;
    try {
      await this.#segment?.write(this.size, entries);
      return undefined;
    } catch (cause) {
      return this.#stopTaking("broken", cause);
    }
  }

  #stopTaking(reason: "full" | "broken", cause: unknown): AppendRefused {
    if (this.#state !== reason) {
      this.#state = reason;
      this.#options.log("error", `log-${reason}`, { code: errorCode(cause), size: this.size });
    }
    return new AppendRefused(reason, cause);
  }

  #acknowledge(group: readonly Request[]): void {
    for (const { leaves, bytes, resolve } of group) {
      const first = this.size;
      this.#pending.push(...leaves);
      this.#pendingBytes += bytes;
      resolve(leaves.map(({ hash }, i) => ({ index: first + i, leafHash: hash })));
    }
    if (this.#pending.length >= this.#checkpointEntries) this.#startIntegration();
  }

  get #checkpointEntries(): number {
    return this.#options.checkpointEntries ?? CHECKPOINT_ENTRIES;
  }

  /** Leaves the segment for a new one, and has the one after it prepared meanwhile. */
  async #nextSegment(): Promise<void> {
    const { segmentBytes = SEGMENT_BYTES } = this.#options;
    const left = this.#segment;
    this.#segment = undefined;
    await left?.close();
    this.#spare ??= this.#prepareSpare();
    try {
      await this.#spare;
      const first = this.size;
      const path = this.#segmentPath(first);
      const place = { disk: this.#disk, memory: this.#memory, spare: this.#sparePath, path, first, size: segmentBytes };
      this.#segment = await SegmentWriter.begin(place);
      this.#firsts.push(first);
    } finally {
      this.#spare = undefined;
    }
    // What was left is the next spare as soon as the tree has its entries.
    if (left) this.#startIntegration();
    else this.#spare = this.#prepareSpare();
  }

  /** Whoever needs it is told of a failure; until then nobody waits for it. */
  #prepareSpare(): Promise<void> {
    const { segmentBytes = SEGMENT_BYTES } = this.#options;
    const prepared = SegmentWriter.prepare(this.#disk, this.#sparePath, segmentBytes);
    prepared.catch(() => {});
    return prepared;
  }

  get #sparePath(): string {
    return join(this.#segments, "spare");
  }

  #segmentPath(first: number): string {
    return join(this.#segments, String(first).padStart(16, "0"));
  }

  #tick(): void {
    // An empty write finds out whether there is room again.
    if (this.#state === "full" && !this.#writing) this.#enqueue([], 0).catch(() => {});
    const due = performance.now() - this.#integratedAt >= (this.#options.checkpointMs ?? CHECKPOINT_MS);
    if (due || this.#state === "full") this.#startIntegration();
  }

  /** At most one integration is under way; a failed one is told in the log and done again later. */
  #startIntegration(): void {
    this.#integrating ??= this.#integrateAll();
  }

  async #integrateAll(): Promise<void> {
    try {
      do await this.#integrate();
      while (this.#pending.length >= this.#checkpointEntries);
    } catch (cause) {
      this.#integrationFailure = cause;
      this.#options.log("error", "checkpoint-failed", { code: errorCode(cause), size: this.#checkpointSize });
    }
    this.#integrating = undefined;
  }

  /** Puts what waits into the tree and signs a checkpoint. Whatever fails, it goes on from there the next time. */
  async #integrate(): Promise<void> {
    const { directory, signer } = this.#options;
    this.#integratedAt = performance.now();
    await this.#growTree();
    const tree = this.#tree;
    if (tree.size > this.#checkpointSize) {
      const note = signCheckpoint(signer, { size: tree.size, root: tree.root() });
      await replaceFile(this.#disk, join(directory, "checkpoint"), note);
      this.#checkpointSize = tree.size;
    }
    await this.#removeObsolete();
  }

  async #growTree(): Promise<void> {
    const leaves = this.#pending.slice(0, INTEGRATION_MAX_ENTRIES);
    if (leaves.length === 0) return;
    const { tree, files, filled } = this.#tree.grow(leaves);
    await writeNewFiles(this.#disk, this.#options.directory, files);
    // Also if its checkpoint then fails: the disk may have it all the same, so these files are not written again.
    this.#tree = tree;
    this.#pending.splice(0, leaves.length);
    this.#pendingBytes -= encodedSize(leaves.map(({ entry }) => entry));
    this.#filled.push(...filled);
  }

  /** Partial tiles whose full tile is there, and segments whose entries all are in the tree. */
  async #removeObsolete(): Promise<void> {
    for (let path = this.#filled[0]; path !== undefined; path = this.#filled[0]) {
      await this.#disk.remove(join(this.#options.directory, `${path}.p`));
      this.#filled.shift();
    }
    for (let next = this.#firsts[1]; next !== undefined && next <= this.#checkpointSize; next = this.#firsts[1]) {
      const path = this.#segmentPath(this.#firsts.shift() as number);
      if (this.#spare) await this.#disk.remove(path);
      else await this.#recycle(path);
    }
  }

  async #recycle(path: string): Promise<void> {
    this.#spare = SegmentWriter.recycle(this.#disk, path, this.#sparePath);
    try {
      await this.#spare;
    } catch (cause) {
      this.#spare = undefined;
      throw cause;
    }
  }

  /** Reads what was durable and not in the tree yet, and puts it there. @throws SegmentDamagedError */
  async #recover(names: readonly string[]): Promise<void> {
    let end = 0;
    for (const name of names) {
      const path = join(this.#segments, name);
      const content = await readSegment(this.#disk, path);
      if (!content) continue;
      const { first, entries } = content;
      if (first !== Number(name) || first < end)
        throw new SegmentDamagedError(`${path}: begins at ${first}, after ${end}`);
      if (first > this.size) throw new SegmentDamagedError(`${path}: entries ${this.size} to ${first} are missing`);
      end = first + entries.length;
      for (const entry of entries.slice(this.size - first)) {
        this.#pending.push({ entry, hash: leafHash(entry) });
        this.#pendingBytes += encodedSize([entry]);
      }
      while (this.#pending.length > 0) await this.#integrate();
    }
    for (const name of names) await this.#disk.remove(join(this.#segments, name));
  }

  /** Resolves when all that is durable now is in the tree under a checkpoint. @throws if that cannot be written */
  async checkpoint(): Promise<void> {
    const wanted = this.size;
    await this.#integrating;
    while (this.#checkpointSize < wanted) {
      this.#integrationFailure = undefined;
      this.#startIntegration();
      await this.#integrating;
      if (this.#integrationFailure) throw this.#integrationFailure;
    }
  }

  /** The last entries of the tree, oldest first: at least `count` if there are so many. */
  async *lastEntries(count: number): AsyncGenerator<{ readonly index: number; readonly entry: Buffer }> {
    const { size } = this.#tree;
    for (let bundle = Math.floor(Math.max(0, size - count) / TILE_WIDTH); bundle * TILE_WIDTH < size; bundle += 1) {
      const width = Math.min(TILE_WIDTH, size - bundle * TILE_WIDTH);
      const bytes = await readFile(join(this.#options.directory, tilePath("entries", bundle, width)));
      const entries = decodeEntries(bytes);
      if (entries?.length !== width) throw new TreeDamagedError(`entry bundle ${bundle} is broken`);
      for (const [i, entry] of entries.entries()) yield { index: bundle * TILE_WIDTH + i, entry };
    }
  }

  /** Ends: what is queued is written, nothing more is taken. Resolves to whether all is under a checkpoint. */
  async close(): Promise<boolean> {
    clearInterval(this.#timer);
    this.#isClosed = true;
    await this.#writing;
    // If it fails, it is in the segments, and the next start does it.
    const isCheckpointed = await this.checkpoint().then(
      () => true,
      () => false,
    );
    await this.#spare?.catch(() => {});
    // Everything in it is on stable storage already.
    await this.#segment?.close().catch(() => {});
    return isCheckpointed;
  }
}
